-- Daily sums of the receipts, kept up by the worker, so that usage is quick to tell whatever the number of receipts.
--
-- What is summed already is told by a position in the log, one for each lane: a lane posts one batch at a time, under its
-- lock, until commit, so within a lane the order of batches is the order of commits.  (Between lanes it is not, and neither
-- is the order of sequences or times.)  A batch that is visible has all earlier ones of its lane before it.

create table metering.usage_daily (
    project_id uuid not null,
    day date not null,                        -- of the settlement, in UTC
    key_id uuid not null,
    model text not null,
    modality text not null,
    requests bigint not null,                 -- those that ended: receipts of phase 1
    receipts bigint not null,                 -- with those of late settlements
    failed bigint not null,
    consumed_utok bigint not null,
    charged_utok bigint not null,
    shortfall_utok bigint not null,
    engine_ms bigint not null,
    primary key (project_id, day, key_id, model, modality)
) with (fillfactor = 80);

create table metering.usage_positions (
    lane smallint primary key,
    folded bigint not null default 0,         -- the last batch whose receipts are in the sums
    reconciled bigint not null default 0      -- the last batch that was compared with its receipts
) with (fillfactor = 50);
insert into metering.usage_positions (lane) select generate_series(0, 63);

-- Who wrote a receipt: the process whose connection says so when it is opened.  See metering/tally.py.
alter table metering.receipts add column settled_by uuid default nullif(current_setting('taximeter.process_id', true), '')::uuid;

create table metering.process_usage (
    process_id uuid primary key,
    receipts bigint not null,
    charged_utok bigint not null
) with (fillfactor = 50);

-- Adds the receipts of the next batches to the sums: at most so many rows of the log in each lane, whole batches always.
-- Returns how far it came, in batches: 0 when nothing is left; null when another process is at it.
create function metering.fold_usage(p_rows int) returns bigint
language plpgsql security definer set search_path = pg_catalog, metering
-- As in ledger.post: what is new is found by the log's index, whatever the statistics make of it.
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set jit = off
as $$
declare
    v_lanes smallint[]; v_after bigint[]; v_upto bigint[];
begin
    if not pg_try_advisory_xact_lock(7467, 0) then
        return null;
    end if;
    -- A statement of its own: it sees what the lock's previous holder committed.
    select array_agg(p.lane), array_agg(p.folded), array_agg(n.batch)
    into v_lanes, v_after, v_upto
    from metering.usage_positions p
    join ledger.accounts a on a.id = 1100 + p.lane and a.id between 1100 and 1163 and a.version > 0  -- A lane without a charge or a hold has no receipt.
    cross join lateral (
        select max(x.batch) as batch
        from (select t.batch from ledger.transfers t where t.lane = p.lane and t.batch > p.folded and t.leg = 0 order by t.batch limit p_rows) x
    ) n
    where n.batch is not null;
    if v_lanes is null then
        return 0;
    end if;

    with fresh as materialized (
        select r.project_id, r.settled_at, r.key_id, r.model, r.modality, r.phase, r.outcome, r.consumed_utok, r.charged_utok, r.shortfall_utok,
               r.engine_ms, r.settled_by
        from unnest(v_lanes, v_after, v_upto) w (lane, after, upto)
        cross join lateral (
            select t.id, t.phase from ledger.transfers t
            where t.lane = w.lane and t.batch > w.after and t.batch <= w.upto and t.leg = 0 and t.phase > 0
            offset 0
        ) t
        cross join lateral (select * from metering.receipts x where x.id = t.id and x.phase = t.phase offset 0) r
    ),
    by_day as (
        insert into metering.usage_daily as d (
            project_id, day, key_id, model, modality, requests, receipts, failed, consumed_utok, charged_utok, shortfall_utok, engine_ms
        )
        select f.project_id, (f.settled_at at time zone 'UTC')::date, f.key_id, f.model, f.modality,
               count(*) filter (where f.phase = 1), count(*), count(*) filter (where f.outcome = 'failed'),
               sum(f.consumed_utok), sum(f.charged_utok), sum(f.shortfall_utok), sum(f.engine_ms)
        from fresh f
        group by 1, 2, 3, 4, 5
        on conflict (project_id, day, key_id, model, modality) do update
        set requests = d.requests + excluded.requests, receipts = d.receipts + excluded.receipts, failed = d.failed + excluded.failed,
            consumed_utok = d.consumed_utok + excluded.consumed_utok, charged_utok = d.charged_utok + excluded.charged_utok,
            shortfall_utok = d.shortfall_utok + excluded.shortfall_utok, engine_ms = d.engine_ms + excluded.engine_ms
    ),
    by_process as (
        insert into metering.process_usage as p (process_id, receipts, charged_utok)
        select f.settled_by, count(*), sum(f.charged_utok) from fresh f where f.settled_by is not null group by 1
        on conflict (process_id) do update
        set receipts = p.receipts + excluded.receipts, charged_utok = p.charged_utok + excluded.charged_utok
    )
    update metering.usage_positions p
    set folded = u.upto
    from unnest(v_lanes, v_upto) u (lane, upto)
    where p.lane = u.lane;

    return (select sum(u.upto - u.after) from unnest(v_upto, v_after) u (upto, after));
end
$$;

-- Receipts that are not in the sums yet.  In one statement with the sums, both together are all there are: a stable function
-- sees what the statement sees that calls it.
create function metering.receipts_not_folded() returns table (
    id uuid, phase smallint, project_id uuid, key_id uuid, model text, modality text, outcome text, consumed_utok bigint, charged_utok bigint,
    shortfall_utok bigint, engine_ms bigint, settled_at timestamptz, settled_by uuid
)
language sql stable
set enable_seqscan = off
set jit = off
as $$
    select r.id, r.phase, r.project_id, r.key_id, r.model, r.modality, r.outcome, r.consumed_utok, r.charged_utok, r.shortfall_utok, r.engine_ms,
           r.settled_at, r.settled_by
    from metering.usage_positions p
    join ledger.accounts a on a.id = 1100 + p.lane and a.id between 1100 and 1163 and a.version > 0
    cross join lateral (
        select t.id, t.phase from ledger.transfers t where t.lane = p.lane and t.batch > p.folded and t.leg = 0 and t.phase > 0 offset 0
    ) t
    cross join lateral (select * from metering.receipts x where x.id = t.id and x.phase = t.phase offset 0) r
$$;

create trigger no_truncate before truncate on metering.usage_daily for each statement execute function ledger.refuse_rewrite();

revoke all on function metering.fold_usage, metering.receipts_not_folded from public;
grant select on metering.usage_daily, metering.usage_positions, metering.process_usage to taximeter_app;
grant update (reconciled) on metering.usage_positions to taximeter_app;
grant execute on function metering.fold_usage, metering.receipts_not_folded to taximeter_app;
