-- metering.post as before, and holds on an engine's queue take a place in it:
--   fact {"queue": {"pool", "slots", "bounds", "tenant", "weight", "amount", "rank", "long_s", "deadline"?}, ...}   with a hold
-- An applied hold is followed by a note, kind 32: its place among those who wait (0: it may run), and after how many milliseconds it
-- can expect to run (-1: nobody knows).  A hold with a job takes no place: jobs are claimed in their order.
-- Whatever ends a hold frees its place, by its id.  Who is granted one meanwhile is told on the channel taximeter_places.

alter function metering.post(
    smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[], jsonb[]
) rename to post_unqueued;
revoke all on function metering.post_unqueued from public, taximeter_app;

create function metering.post_queued(
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
    v_pools text[]; v_pool text; v_id uuid; v_granted uuid[] := '{}';
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
    v_pools := array(
        select f #>> '{queue,pool}' from unnest(p_facts) f where f ? 'queue'
        union select x.pool from admission.places x where x.id = any (p_ids)
        union select j.pool from jobs.jobs j
        where j.id = any (array(select u.id from unnest(p_ids, p_facts) u (id, fact) where u.fact ? 'job')) and j.pool is not null
    );
    perform from admission.pools where name = any (v_pools) order by name for update;
    -- As the last process says that knows: one that was started with another number says so too.
    update admission.pools p
    set slots = q.slots, bounds = q.bounds
    from (
        select distinct on (f #>> '{queue,pool}') f #>> '{queue,pool}' as pool, (f #>> '{queue,slots}')::int as slots,
               array(select b::int from jsonb_array_elements_text(f #> '{queue,bounds}') b) as bounds
        from unnest(p_facts) f where f ? 'queue'
    ) q
    where p.name = any (v_pools) and p.name = q.pool and (p.slots, p.bounds) is distinct from (q.slots, q.bounds);

    select array_agg(r.pos), array_agg(r.status), array_agg(r.total), array_agg(r.available)
    into r_pos, r_status, r_total, r_available
    from metering.post_unqueued(
        p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
        p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
    ) r;
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

-- What these holds took: places in queues, and of limits.  By indexes, however empty the tables were when this was planned.
create function metering.took(p_ids uuid[], out placed boolean, out limited boolean)
language plpgsql stable
set enable_seqscan = off
as $$
begin
    select exists (select from admission.places x where x.id = any (p_ids)),
           exists (select from admission.running a where a.request_id = any (p_ids))
               or exists (select from admission.taken a where a.request_id = any (p_ids))
    into placed, limited;
end
$$;

-- The outermost layer looks once at everything, so that a batch that has nothing for any layer goes past all of them: what is not used
-- costs one look at the facts, and one at three indexes when something ends.
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
    v_asks boolean; v_queue boolean; v_end boolean; v_job boolean;
    v_placed boolean := false; v_limited boolean := false;
begin
    select bool_or(o.fact ?| array['take', 'budgets', 'quote', 'idempotency']), bool_or(o.fact ? 'queue'), bool_or(o.kind <> 1),
           bool_or(o.fact ? 'job')
    into v_asks, v_queue, v_end, v_job
    from unnest(p_kinds, p_facts) o (kind, fact);
    if v_end then
        -- An end frees by its id alone what its hold took.  First the lane: another backend may be posting that hold.
        perform pg_advisory_xact_lock(7466, p_lane);
        select * into v_placed, v_limited from metering.took(p_ids);
    end if;
    if v_queue or v_placed or v_end and v_job then
        return query select * from metering.post_queued(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    elsif v_asks or v_limited then
        return query select * from metering.post_unqueued(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    else
        return query select * from metering.post_facts(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    end if;
end
$$;

revoke all on function metering.post, metering.post_queued, metering.took from public;
grant execute on function metering.post to taximeter_app;
