-- Starts the job of an approval: the decision, the hold and the job's row are one transaction.  So of any number of operators one
-- starts it, nobody declines what has begun, and a process that dies in between has done all of it or nothing.
--
-- Nothing of a hold that is refused stays, its refusal in the log included: the approval goes on waiting, and may be approved again.
-- Status 23: somebody else has decided, or its time is over.
create function metering.submit_approved(
    p_operator text, p_reason text,
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
as $$
#variable_conflict use_column
declare
    r_pos int[]; r_status smallint[]; r_total bigint[]; r_available bigint[];
    v_held boolean;
begin
    assert cardinality(p_ids) = 1 and p_kinds[1] = 1, 'one hold';
    -- As in ledger.post, and before the row: whoever ends or deletes the job waits here too.
    perform pg_advisory_xact_lock(7466, p_lane);
    begin
        update admission.approvals a
        set state = 'approved', operator = p_operator, reason = p_reason, problem = null, decided_at = clock_timestamp()
        where a.id = p_ids[1] and a.is_job and a.state = 'pending' and a.expires_at > clock_timestamp() and a.maximum_utok = p_amounts[1];
        if not found then
            return query select 1, 23::smallint, 0::bigint, 0::bigint;
            return;
        end if;
        select array_agg(r.pos), array_agg(r.status), array_agg(r.total), array_agg(r.available), bool_or(r.status = 0)
        into r_pos, r_status, r_total, r_available, v_held
        from metering.post(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        ) r;
        if not v_held then
            raise exception 'not held' using errcode = 'TX023';
        end if;
    exception when sqlstate 'TX023' then
        null;  -- What was written in this block is not; what the variables say still is.
    end;
    return query select * from unnest(r_pos, r_status, r_total, r_available);
end
$$;

-- Approved requests that were used: what they have become stays known when their quotes are forgotten.  Returns how many.
create function metering.note_used_approvals(p_limit int) returns int
language sql security definer set search_path = pg_catalog, metering as $$
    with used as (
        update admission.approvals a
        set state = 'used'
        where a.id in (
            select x.id from admission.approvals x
            join metering.quote_uses u on u.quote_id = x.quote_id
            where x.state = 'approved' and not metering.is_released(u.request_id)
                and not exists (select from ledger.holds h where h.id = u.request_id)
            limit p_limit
        )
        returning 1
    )
    select count(*)::int from used
$$;

revoke all on function metering.submit_approved, metering.note_used_approvals from public;
grant execute on function metering.submit_approved, metering.note_used_approvals to taximeter_app;
