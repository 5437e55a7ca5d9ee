-- What is borne by who runs the engine (a line of the receipt below 0) is consumed and never charged: no factor applies to it, so the surge
-- has brought nothing in there.  As in 0124 otherwise.

create or replace function admission.fold_surge(p_rows int) returns table (
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
    select q.model, q.fare -> 'factors', r.work, (r.consumed_utok + coalesce(b.utok, 0))::bigint, (q.fare ->> 'maximum_utok')::bigint
    from unnest(v_lanes, v_after, v_upto) w (lane, after, upto)
    cross join lateral (
        select t.id, t.phase from ledger.transfers t
        where t.lane = w.lane and t.batch > w.after and t.batch <= w.upto and t.leg = 0 and t.phase > 0
        offset 0
    ) t
    cross join lateral (select * from metering.receipts x where x.id = t.id and x.phase = t.phase offset 0) r
    cross join lateral (select * from metering.requests x where x.id = t.id offset 0) q
    left join lateral (
        select (m.line ->> 'tokens')::numeric * 1000000 as utok
        from jsonb_array_elements(r.detail -> 'multipliers') m (line)
        where m.line ->> 'name' = 'borne'
    ) b on true
    where q.fare -> 'factors' -> 'fixed' @> '[{"name": "surge"}]' and r.charged_utok > 0;
end
$$;
