-- What the surge has brought in: the receipts whose fare had such a factor, each read once.  As in 0090, a lane's batches commit in order.

create table admission.surge_positions (
    lane smallint primary key check (lane between 0 and 63),
    folded bigint not null check (folded >= 0)
) with (fillfactor = 50);

-- The receipts of the next batches that had a surge in their fare, at most so many rows of the log in each lane, whole batches always;
-- the positions move in the same transaction.  A lane that is looked at for the first time begins with what comes next.
create function admission.fold_surge(p_rows int) returns table (
    model text, factors jsonb, work jsonb, consumed_utok bigint, maximum_utok bigint
)
language plpgsql security definer set search_path = pg_catalog, admission
set plan_cache_mode = force_custom_plan
set enable_seqscan = off
set jit = off
as $$
#variable_conflict use_column
declare
    v_lanes smallint[]; v_after bigint[]; v_upto bigint[];
begin
    insert into admission.surge_positions (lane, folded)
    select l.lane, coalesce((select max(t.batch) from ledger.transfers t where t.lane = l.lane), 0)
    from generate_series(0, 63) l (lane)
    where not exists (select from admission.surge_positions)
    on conflict (lane) do nothing;

    select array_agg(p.lane), array_agg(p.folded), array_agg(n.batch)
    into v_lanes, v_after, v_upto
    from admission.surge_positions p
    join ledger.accounts a on a.id = 1100 + p.lane and a.id between 1100 and 1163 and a.version > 0
    cross join lateral (
        select max(x.batch) as batch
        from (select t.batch from ledger.transfers t where t.lane = p.lane and t.batch > p.folded and t.leg = 0 order by t.batch limit p_rows) x
    ) n
    where n.batch is not null;
    if v_lanes is null then
        return;
    end if;

    update admission.surge_positions p
    set folded = u.upto
    from unnest(v_lanes, v_upto) u (lane, upto)
    where p.lane = u.lane;

    return query
    select q.model, q.fare -> 'factors', r.work, r.consumed_utok, (q.fare ->> 'maximum_utok')::bigint
    from unnest(v_lanes, v_after, v_upto) w (lane, after, upto)
    cross join lateral (
        select t.id, t.phase from ledger.transfers t
        where t.lane = w.lane and t.batch > w.after and t.batch <= w.upto and t.leg = 0 and t.phase > 0
        offset 0
    ) t
    cross join lateral (select * from metering.receipts x where x.id = t.id and x.phase = t.phase offset 0) r
    cross join lateral (select * from metering.requests x where x.id = t.id offset 0) q
    where q.fare -> 'factors' -> 'fixed' @> '[{"name": "surge"}]' and r.charged_utok > 0;
end
$$;

-- Open requests by model: those that run or wait, and of the cheap tiers, counted apart, those that run.  Cheap tiers give way to
-- everything else: they must neither raise a price that others pay, nor keep one up that keeps them waiting.
create function admission.open_requests() returns table (model text, open bigint, cheap bigint)
language sql stable security definer set search_path = pg_catalog, admission as $$
    select q.model, count(*) filter (where not c.is_cheap), count(*) filter (where c.is_cheap and (j.id is null or j.state = 'in_progress'))
    from (select distinct x.id from ledger.holds x where x.expires_at > clock_timestamp()) h
    join metering.requests q on q.id = h.id
    left join jobs.jobs j on j.id = h.id
    cross join lateral (select coalesce(q.fare ->> 'service_tier', '') in ('batch', 'flex') as is_cheap) c
    group by q.model
$$;

revoke all on function admission.fold_surge, admission.open_requests from public;
grant execute on function admission.fold_surge, admission.open_requests to taximeter_app;
grant select on admission.surge_positions to taximeter_app;
