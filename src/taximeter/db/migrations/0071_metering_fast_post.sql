-- metering.post_facts as before, with less to do per call: a statement runs when a fact asks for it, plans are made once, and
-- every table is read by the batch's own ids.

create or replace function metering.post_facts(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    r_pos int[]; r_status smallint[]; r_total bigint[]; r_available bigint[];
    v_request boolean; v_receipt boolean; v_job boolean;
begin
    select array_agg(r.pos order by r.pos), array_agg(r.status order by r.pos), array_agg(r.total order by r.pos),
           array_agg(r.available order by r.pos)
    into r_pos, r_status, r_total, r_available
    from ledger.post(
        p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
        p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades
    ) r;
    select coalesce(bool_or(f ? 'request'), false), coalesce(bool_or(f ? 'receipt'), false), coalesce(bool_or(f ? 'job'), false)
    into v_request, v_receipt, v_job
    from unnest(p_facts) f;

    if v_request then
        insert into metering.requests (
            id, project_id, key_id, process_id, model, modality, rate_card, tariff, multiplier, held_utok, fare, end_user
        )
        select o.id, q.project_id, q.key_id, q.process_id, q.model, q.modality, q.rate_card, q.tariff, q.multiplier, o.total, q.fare, q.end_user
        from unnest(p_ids, p_kinds, p_facts, r_status, r_total) o (id, kind, fact, status, total)
        cross join lateral jsonb_to_record(o.fact -> 'request') q (
            project_id uuid, key_id uuid, process_id uuid, model text, modality text, rate_card text, tariff text, multiplier text,
            fare jsonb, end_user text
        )
        where o.kind = 1 and o.status = 0 and o.fact ? 'request';
    end if;

    if v_job then
        insert into jobs.jobs (id, project_id, kind, payload)
        select o.id, q.project_id, q.kind, q.payload
        from unnest(p_ids, p_kinds, p_facts, r_status) o (id, kind, fact, status)
        cross join lateral jsonb_to_record(o.fact -> 'job') q (project_id uuid, kind text, payload jsonb)
        where o.kind = 1 and o.status = 0 and o.fact ? 'job';
    end if;

    if v_receipt then
        insert into metering.receipts (
            id, phase, project_id, key_id, model, modality, outcome, reason, work, measured, consumed_utok, charged_utok,
            shortfall_utok, lines, detail, engine_ms
        )
        select o.id, case when o.status = 9 then 2 else 1 end, m.project_id, m.key_id, m.model, m.modality, q.outcome, q.reason,
               q.work, q.measured, q.consumed_utok, o.total, case when o.kind = 2 then o.amount - o.total else 0 end,
               q.lines, q.detail, q.engine_ms
        from unnest(p_ids, p_kinds, p_amounts, p_facts, r_status, r_total) o (id, kind, amount, fact, status, total)
        cross join lateral (
            select x.project_id, x.key_id, x.model, x.modality from metering.requests x where x.id = o.id limit 1
        ) m
        cross join lateral jsonb_to_record(o.fact -> 'receipt') q (
            outcome text, reason text, work jsonb, measured boolean, consumed_utok bigint, lines jsonb, detail jsonb, engine_ms bigint
        )
        where o.kind in (2, 3, 4) and o.status in (0, 9) and o.fact ? 'receipt';
    end if;

    if v_job then
        update jobs.jobs j
        set state = q.state, progress = case when q.state = 'completed' then 100 else j.progress end, lease_until = null,
            error_code = q.error_code, error_message = q.error_message, object_key = q.object_key, object_bytes = q.object_bytes,
            result = q.result, completed_at = clock_timestamp(),
            expires_at = case when q.state = 'completed' then clock_timestamp() + make_interval(secs => q.keep_s) end
        from unnest(p_ids, p_kinds, p_facts, r_status) o (id, kind, fact, status)
        cross join lateral jsonb_to_record(o.fact -> 'job') q (
            state text, error_code text, error_message text, object_key text, object_bytes bigint, result jsonb, keep_s int
        )
        where j.id = any (p_ids) and j.id = o.id and o.kind in (2, 3, 4) and o.status = 0 and o.fact ? 'job'
            and j.state in ('queued', 'in_progress');
    end if;

    return query select * from unnest(r_pos, r_status, r_total, r_available);
end
$$;
