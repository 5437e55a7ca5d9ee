-- Requests and their receipts: what was offered, what was measured, what was charged.  Both are append-only.

create schema metering;

create table metering.processes (
    id uuid primary key,
    kind text not null,
    started_at timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp()
);

create table metering.requests (
    id uuid primary key,                      -- also the id of the hold
    project_id uuid not null,
    key_id uuid not null,
    process_id uuid,                          -- who runs it; null for jobs, whose lease tells
    model text not null,
    modality text not null,
    rate_card text not null,
    tariff text not null,
    multiplier text not null,
    held_utok bigint not null check (held_utok >= 0),
    fare jsonb not null,                      -- the quote it was held for: work and Tokens, expected and maximum
    end_user text,
    created_at timestamptz not null default clock_timestamp()
);
create index requests_by_project on metering.requests (project_id, id desc);
create index requests_by_process on metering.requests (process_id) where process_id is not null;

create table metering.receipts (
    id uuid not null references metering.requests (id),
    phase smallint not null,                  -- 1 the resolution of the hold; 2 a settlement after expiry or void
    project_id uuid not null,
    key_id uuid not null,
    model text not null,
    modality text not null,
    outcome text not null check (outcome in ('completed', 'truncated', 'disconnected', 'cancelled', 'failed', 'expired')),
    reason text,
    work jsonb not null,
    measured boolean not null,
    consumed_utok bigint not null check (consumed_utok >= 0),
    charged_utok bigint not null check (charged_utok >= 0),
    shortfall_utok bigint not null default 0 check (shortfall_utok >= 0),
    lines jsonb not null,
    detail jsonb not null,
    engine_ms bigint not null check (engine_ms >= 0),
    settled_at timestamptz not null default clock_timestamp(),
    primary key (id, phase)
);
create index receipts_by_project on metering.receipts (project_id, settled_at);

create trigger append_only before update or delete on metering.requests for each row execute function ledger.refuse_rewrite();
create trigger append_only before update or delete on metering.receipts for each row execute function ledger.refuse_rewrite();
create trigger append_only_truncate before truncate on metering.requests for each statement execute function ledger.refuse_rewrite();
create trigger append_only_truncate before truncate on metering.receipts for each statement execute function ledger.refuse_rewrite();

-- Posts a batch and writes, in the same transaction, what belongs to each group that was applied:
--   fact {"request": {...}, "job": {...}}   with a hold
--   fact {"receipt": {...}, "job": {...}}   with a resolution
-- The receipt's charge is what the ledger took, not what the caller asked for.
create function metering.post(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer set search_path = pg_catalog, metering as $$
#variable_conflict use_column
declare
    r_pos int[]; r_status smallint[]; r_total bigint[]; r_available bigint[];
begin
    select array_agg(r.pos order by r.pos), array_agg(r.status order by r.pos), array_agg(r.total order by r.pos),
           array_agg(r.available order by r.pos)
    into r_pos, r_status, r_total, r_available
    from ledger.post(
        p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
        p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades
    ) r;

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

    insert into jobs.jobs (id, project_id, kind, payload)
    select o.id, q.project_id, q.kind, q.payload
    from unnest(p_ids, p_kinds, p_facts, r_status) o (id, kind, fact, status)
    cross join lateral jsonb_to_record(o.fact -> 'job') q (project_id uuid, kind text, payload jsonb)
    where o.kind = 1 and o.status = 0 and o.fact ? 'job';

    insert into metering.receipts (
        id, phase, project_id, key_id, model, modality, outcome, reason, work, measured, consumed_utok, charged_utok,
        shortfall_utok, lines, detail, engine_ms
    )
    select o.id, case when o.status = 9 then 2 else 1 end, m.project_id, m.key_id, m.model, m.modality, q.outcome, q.reason,
           q.work, q.measured, q.consumed_utok, o.total, case when o.kind = 2 then o.amount - o.total else 0 end,
           q.lines, q.detail, q.engine_ms
    from unnest(p_ids, p_kinds, p_amounts, p_facts, r_status, r_total) o (id, kind, amount, fact, status, total)
    join metering.requests m on m.id = o.id
    cross join lateral jsonb_to_record(o.fact -> 'receipt') q (
        outcome text, reason text, work jsonb, measured boolean, consumed_utok bigint, lines jsonb, detail jsonb, engine_ms bigint
    )
    where o.kind in (2, 3, 4) and o.status in (0, 9) and o.fact ? 'receipt';

    update jobs.jobs j
    set state = q.state, progress = case when q.state = 'completed' then 100 else j.progress end, lease_until = null,
        error_code = q.error_code, error_message = q.error_message, object_key = q.object_key, object_bytes = q.object_bytes,
        result = q.result, completed_at = clock_timestamp(),
        expires_at = case when q.state = 'completed' then clock_timestamp() + make_interval(secs => q.keep_s) end
    from unnest(p_ids, p_kinds, p_facts, r_status) o (id, kind, fact, status)
    cross join lateral jsonb_to_record(o.fact -> 'job') q (
        state text, error_code text, error_message text, object_key text, object_bytes bigint, result jsonb, keep_s int
    )
    where j.id = o.id and o.kind in (2, 3, 4) and o.status = 0 and o.fact ? 'job' and j.state in ('queued', 'in_progress');

    return query select * from unnest(r_pos, r_status, r_total, r_available);
end
$$;

revoke all on function metering.post from public;
grant usage on schema metering to taximeter_app;
grant select on metering.requests, metering.receipts to taximeter_app;
grant select, insert, update, delete on metering.processes to taximeter_app;
grant execute on function metering.post to taximeter_app;
