-- Handing slots over.  Who has had the engine's last byte gives its slot to the next one at once, in a transaction of its own that
-- waits for no disk, and then posts what it consumed.  And a pool may have some requests more than its engine has slots (ahead):
-- they wait in the engine's own queue, so that no slot stands empty between two of them (admission.fill_pool in 0149).

alter table admission.pools
    add column ahead int not null default 0 constraint pools_ahead_check check (ahead >= 0),
    add column has_jobs boolean not null default false;    -- a worker claims from it, or did
update admission.pools p set has_jobs = true where exists (select from jobs.jobs j where j.pool = p.name);

create index places_running on admission.places (pool) where granted_at is not null;

-- As before, with those ahead.  A pool is locked when the ledger is through, so that others wait for less.  One that has jobs is locked
-- before, by every batch that names it: who claims a job locks its pool and then its row.
create or replace function metering.post_queued(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_jobs text[]; v_first text[]; v_pools text[]; v_pool text; v_begins boolean; v_id uuid;
    r_pos int[]; r_status smallint[]; r_total bigint[]; r_available bigint[];
    v_ids uuid[]; v_used bigint[];
    o record;
begin
    perform pg_advisory_xact_lock(7466, p_lane);
    insert into admission.pools (name, bounds)
    select distinct on (f #>> '{queue,pool}') f #>> '{queue,pool}', array(select b::int from jsonb_array_elements_text(f #> '{queue,bounds}') b)
    from unnest(p_facts) f where f ? 'queue'
    order by f #>> '{queue,pool}'
    on conflict (name) do nothing;
    v_jobs := array(
        select f #>> '{queue,pool}' from unnest(p_facts) f where f ? 'queue' and f ? 'job'
        union select j.pool from jobs.jobs j
        where j.id = any (array(select u.id from unnest(p_ids, p_facts) u (id, fact) where u.fact ? 'job')) and j.pool is not null
    );
    v_pools := array(
        select f #>> '{queue,pool}' from unnest(p_facts) f where f ? 'queue'
        union select x.pool from admission.places x where x.id = any (p_ids)
        union select unnest(v_jobs)
    );
    -- The first job of a pool waits for batches that know it without jobs, and would lock it when they have locked the ledger.
    select bool_or(name = any (v_jobs)) into v_begins from admission.pools where name = any (v_pools) and not has_jobs;
    if v_begins then
        perform pg_advisory_xact_lock(7472, 0);
    elsif not v_begins then
        perform pg_advisory_xact_lock_shared(7472, 0);
    end if;
    v_first := array(select name from admission.pools where name = any (v_pools) and has_jobs union select unnest(v_jobs));
    perform from admission.pools where name = any (v_first) order by name for update;
    update admission.pools set has_jobs = true where name = any (v_jobs) and not has_jobs;

    select array_agg(r.pos), array_agg(r.status), array_agg(r.total), array_agg(r.available)
    into r_pos, r_status, r_total, r_available
    from metering.post_unqueued(
        p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
        p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
    ) r;

    perform from admission.pools where name = any (v_pools) order by name for update;
    -- As the last process says that knows: one that was started with another number says so too.
    update admission.pools p
    set slots = q.slots, ahead = q.ahead, bounds = q.bounds
    from (
        select distinct on (f #>> '{queue,pool}') f #>> '{queue,pool}' as pool, (f #>> '{queue,slots}')::int as slots,
               coalesce((f #>> '{queue,ahead}')::int, 0) as ahead,
               array(select b::int from jsonb_array_elements_text(f #> '{queue,bounds}') b) as bounds
        from unnest(p_facts) f where f ? 'queue'
    ) q
    where p.name = any (v_pools) and p.name = q.pool and (p.slots, p.ahead, p.bounds) is distinct from (q.slots, q.ahead, q.bounds);

    return query select * from unnest(r_pos, r_status, r_total, r_available);

    -- What has ended goes first: whoever comes in this batch may have its slot.
    select array_agg(p_ids[r.i]), array_agg(
        case when p_kinds[r.i] = 2 and r.status in (0, 2, 9) then coalesce((p_facts[r.i] #>> '{receipt,consumed_utok}')::bigint, r.total) end
    )
    into v_ids, v_used
    from unnest(r_pos, r_status, r_total) r (i, status, total)
    where p_kinds[r.i] in (2, 3, 4) and r.status in (0, 2, 5, 6, 9);
    if v_ids is not null then
        perform admission.leave_pools(v_ids, v_used);
        if exists (select from unnest(p_facts) f where f ? 'job') then
            perform admission.leave_jobs(v_ids, v_used);
        end if;
    end if;
    for o in
        select p_ids[r.i] as id, p_facts[r.i] as fact
        from unnest(r_pos, r_status) r (i, status)
        where p_kinds[r.i] = 1 and r.status = 0 and p_facts[r.i] ? 'queue'
        order by r.i
    loop
        if o.fact ? 'job' then
            perform admission.join_job(o.id, o.fact -> 'queue');
        else
            perform admission.join_pool(o.id, o.fact -> 'queue');
        end if;
    end loop;

    foreach v_pool in array v_pools loop
        foreach v_id in array admission.fill_pool(v_pool) loop
            if v_id <> all (p_ids) then
                perform pg_notify('taximeter_places', v_id::text);
            end if;
        end loop;
    end loop;

    -- To a hold that was sent again, too: its first answer was lost, and its place may be granted since.
    return query
    with waiting as materialized (
        select t.id, t.place, t.wait_ms
        from (select distinct w.pool from admission.places w where w.id = any (p_ids) and w.granted_at is null) w
        cross join lateral admission.pool_standings(w.pool) t
    )
    select r.i, 132::smallint, coalesce(s.place, 0)::bigint, case when x.granted_at is null then coalesce(s.wait_ms, -1) else 0 end
    from unnest(r_pos, r_status) r (i, status)
    join admission.places x on x.id = p_ids[r.i]
    left join waiting s on s.id = x.id
    where x.id = any (p_ids) and p_kinds[r.i] = 1 and r.status in (0, 2);
end
$$;

-- The engine is through with these: their slots go to the next ones, who are told and answered.  As p_used of admission.leave_pools.
-- Should the database crash before this is on disk, the settlement that follows frees the place; once that is on disk, so is this.
create function admission.hand_over(p_ids uuid[], p_used bigint[]) returns setof uuid
language plpgsql security definer
set search_path = pg_catalog, admission
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_pools text[];
    v_pool text;
    v_id uuid;
begin
    perform set_config('synchronous_commit', 'off', true);
    v_pools := array(select distinct x.pool from admission.places x where x.id = any (p_ids));
    -- In the order of metering.post_queued, and not while it changes.
    perform pg_advisory_xact_lock_shared(7472, 0);
    perform from admission.pools where name = any (v_pools) order by not has_jobs, name for update;
    perform admission.leave_pools(p_ids, p_used);
    foreach v_pool in array v_pools loop
        foreach v_id in array admission.fill_pool(v_pool) loop
            perform pg_notify('taximeter_places', v_id::text);
            return next v_id;
        end loop;
    end loop;
end
$$;

-- As before, but in the order in which metering.post_queued locks pools: all of them stay locked to the end.
create or replace function admission.tend_pools(p_ids uuid[]) returns table (id uuid, granted_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, admission as $$
#variable_conflict use_column
declare
    v_pool text;
    v_gone uuid[];
    v_id uuid;
begin
    perform pg_advisory_xact_lock_shared(7472, 0);
    for v_pool in select name from admission.pools where waiting > 0 or running > 0 order by not has_jobs, name loop
        perform from admission.pools where name = v_pool for update;
        select array_agg(x.id) into v_gone
        from admission.places x
        where x.pool = v_pool and x.joined_at < clock_timestamp() - interval '10 seconds'
            and not exists (select from ledger.holds h where h.id = x.id);
        if v_gone is not null then
            perform admission.leave_pools(v_gone, array_fill(null::bigint, array[cardinality(v_gone)]));
        end if;
        foreach v_id in array admission.fill_pool(v_pool) loop
            perform pg_notify('taximeter_places', v_id::text);
        end loop;
        delete from admission.pool_tenants t using admission.pools p
        where p.name = v_pool and t.pool = v_pool and t.waiting = 0 and t.tag <= p.virtual
            and not exists (select from admission.places x where x.pool = v_pool and x.tenant = t.tenant);
    end loop;
    return query select x.id, x.granted_at from admission.places x where x.id = any (p_ids);
end
$$;

revoke all on function admission.hand_over from public;
grant execute on function admission.hand_over to taximeter_app;
