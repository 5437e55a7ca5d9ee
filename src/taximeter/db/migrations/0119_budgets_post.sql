-- metering.post as before, and budgets whose period is over are rolled in the transaction of the first hold or settlement on them:
--   fact {"budgets": [ids], ...}    with a hold: those that it has legs on
--   fact {"budgets": true, ...}     with a settlement: its hold has such legs
-- So nothing waits for a worker, and what a settlement charges counts in the period in which it is posted.

alter function metering.post(
    smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[], jsonb[]
) rename to post_in_period;
revoke all on function metering.post_in_period from public, taximeter_app;

-- The budgets of a batch that have to be rolled first; null: none, as nearly always.
create function metering.due_budgets(p_ids uuid[], p_kinds smallint[], p_facts jsonb[]) returns uuid[]
language plpgsql security definer
set search_path = pg_catalog, metering
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_named uuid[]; v_settled uuid[]; v_accounts bigint[]; v_open uuid[]; v_due uuid[];
begin
    select array_agg(distinct n.id::uuid) into v_named
    from unnest(p_kinds, p_facts) o (kind, fact)
    cross join lateral jsonb_array_elements_text(case when o.kind = 1 then o.fact -> 'budgets' end) n (id)
    where o.fact ? 'budgets';
    select array_agg(o.id) into v_settled from unnest(p_ids, p_kinds, p_facts) o (id, kind, fact) where o.kind = 2 and o.fact ? 'budgets';
    if v_settled is not null then
        select array_agg(h.debit), array_agg(distinct h.id) into v_accounts, v_open from ledger.holds h where h.id = any (v_settled) and not h.cascade;
        if cardinality(v_settled) > coalesce(cardinality(v_open), 0) then
            -- Late: the hold was released before, and the log knows its legs.
            select v_accounts || array_agg(t.debit) into v_accounts
            from ledger.transfers t
            where t.id = any (v_settled) and t.phase = 0 and t.kind = 1 and not t.cascade;
        end if;
        select v_named || array_agg(b.id) into v_named from admission.budgets b where b.account = any (v_accounts);
    end if;
    if v_named is not null then
        select array_agg(b.id) into v_due
        from admission.budgets b
        where b.id = any (v_named) and b.removed_at is null and (b.rolls_at <= clock_timestamp() or b.unaligned);
    end if;
    return v_due;
end
$$;

create function metering.post(
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
    v_due uuid[];
begin
    if exists (select from unnest(p_facts) f where f ? 'budgets') then
        -- The ledger's lock, before the first look at the clock: what is posted below is posted in the period that is looked up here.
        perform pg_advisory_xact_lock(7466, p_lane);
        v_due := metering.due_budgets(p_ids, p_kinds, p_facts);
        if v_due is not null then
            -- Another lane's batch that rolls nothing locks its buckets first and then the accounts: so does this one.
            perform from admission.buckets b
            where b.id = any (
                array(select (q ->> 'bucket')::uuid from unnest(p_facts) f cross join lateral jsonb_array_elements(f -> 'take') q)
                || array(select u.id from admission.taken t cross join lateral unnest(t.buckets) u (id) where t.request_id = any (p_ids))
            )
            order by b.id for update;
            -- A budget of an organisation is on several lanes.  All budgets of the batch are locked at once, in their order: what is
            -- posted below locks them again together.
            perform admission.roll_budgets(
                p_lane, v_due,
                p_leg_debits || array(select h.debit from ledger.holds h where h.id = any (p_ids) and not h.cascade)
            );
        end if;
    end if;
    return query select * from metering.post_in_period(
        p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
        p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
    );
end
$$;

revoke all on function metering.post, metering.due_budgets from public;
grant execute on function metering.post to taximeter_app;
