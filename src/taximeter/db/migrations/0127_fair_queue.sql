-- The fair queue.  Each engine with a number of slots is a pool; a request that holds its maximum takes a place in it, running or
-- waiting.  Places are granted by class, then to the tenant with the lowest tag: the virtual Tokens that he was given, divided by
-- his weight.  The rule stands in words and in Python in taximeter/admission/fairness/rules.py; a test compares the two.
--
-- Who changes a pool, or anything in it, has locked its row before.

create table admission.pools (
    name text primary key,                    -- the engine
    slots int constraint pools_have_slots check (slots > 0),  -- requests it works on at once; null: as many as come
    bounds int[] not null,                    -- seconds after which who waits in class 1, 2, 3 goes up one class
    virtual bigint not null default 0,        -- the tag of whom was granted last, or a higher one before
    highest bigint not null default 0,        -- no tag is above it
    running int not null default 0,
    running_long int not null default 0,
    waiting int not null default 0,
    served_utok bigint not null default 0,    -- a moving sum of what was consumed, and of the slots' time it took
    served_ms bigint not null default 0,
    constraint pools_count_up check (running >= 0 and running_long between 0 and running and waiting >= 0)
) with (fillfactor = 50);

create table admission.pool_tenants (
    pool text not null,
    tenant uuid not null,
    tag bigint not null,                      -- where his next request starts, in virtual Tokens
    waiting int not null default 0 constraint pool_tenants_count_up check (waiting >= 0),
    primary key (pool, tenant)
) with (fillfactor = 50);
create index pool_tenants_waiting on admission.pool_tenants (pool) where waiting > 0;

create table admission.places (
    id uuid primary key,                      -- the hold's
    pool text not null,
    tenant uuid not null,
    class smallint not null constraint places_class_check check (class between 0 and 3),
    amount_utok bigint not null constraint places_amount_check check (amount_utok > 0),  -- what it is expected to consume
    weight int not null constraint places_weight_check check (weight > 0),
    cost bigint not null,                     -- the amount divided by the weight
    long boolean not null,                    -- may not take the last slot
    urgent_at timestamptz,                    -- from then on it must not wait any more
    promote_at timestamptz,                   -- when it leaves its class for a higher one
    joined_at timestamptz not null default clock_timestamp(),
    granted_at timestamptz                    -- null: it waits
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0);
create index places_waiting on admission.places (pool, tenant, class, id) where granted_at is null;
create index places_to_promote on admission.places (pool, promote_at) where granted_at is null and promote_at is not null;

-- What a slot is taken to do while nothing is known of it: by its definition a Token is a quarter of a second of the reference GPU.
create function admission.pool_rate(p_served_utok bigint, p_served_ms bigint) returns bigint language sql immutable as $$
    select case when p_served_ms > 0 then greatest(1, div(p_served_utok::numeric * 1000, p_served_ms))::bigint end
$$;

-- When who is in a class now goes up one.
create function admission.leaves_class_at(p_class int, p_bounds int[], p_from timestamptz, p_urgent timestamptz) returns timestamptz
language sql immutable as $$
    select case when p_class > 0 then least(p_from + make_interval(secs => p_bounds[p_class]), p_urgent) end
$$;

-- A tenant comes to a pool, or back to it: no credit for the time when he wanted nothing.
create function admission.raise_tag(p_pool text, p_tenant uuid, p_waiting int) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    v_virtual bigint;
begin
    -- A pool where nobody is begins anew: whoever was served last owes nothing for it.
    update admission.pools set virtual = greatest(virtual, highest) where name = p_pool and running = 0 and waiting = 0 and virtual < highest;
    update admission.pools set waiting = waiting + p_waiting where name = p_pool returning virtual into v_virtual;
    insert into admission.pool_tenants (pool, tenant, tag, waiting) values (p_pool, p_tenant, v_virtual, p_waiting)
    on conflict (pool, tenant) do update
    set tag = case when pool_tenants.waiting = 0 then greatest(pool_tenants.tag, excluded.tag) else pool_tenants.tag end,
        waiting = pool_tenants.waiting + p_waiting;
end
$$;

-- A tenant is given something: his tag moves on by its cost, and virtual time to where he was.
create function admission.advance(p_pool text, p_tenant uuid, p_cost bigint, p_waiting int) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    v_tag bigint;
begin
    update admission.pool_tenants set tag = tag + p_cost, waiting = waiting - p_waiting
    where pool = p_pool and tenant = p_tenant
    returning tag into v_tag;
    update admission.pools set virtual = greatest(virtual, v_tag - p_cost), highest = greatest(highest, v_tag) where name = p_pool;
end
$$;

-- What was given turned out to be less or more than expected.
create function admission.correct(p_pool text, p_tenant uuid, p_cost bigint) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    v_tag bigint;
begin
    update admission.pool_tenants set tag = greatest(0, tag + p_cost) where pool = p_pool and tenant = p_tenant returning tag into v_tag;
    update admission.pools set highest = v_tag where name = p_pool and highest < v_tag;
end
$$;

-- A hold takes a place: queue is {"pool", "tenant", "weight", "amount", "rank", "long_s", "deadline"?}.
create function admission.join_pool(p_id uuid, p_queue jsonb) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    q record;
    v_pool admission.pools;
    v_rate bigint;
    v_urgent timestamptz;
begin
    select * into q from jsonb_to_record(p_queue) x (pool text, tenant uuid, weight int, amount bigint, rank int, long_s int, deadline timestamptz);
    select * into v_pool from admission.pools where name = q.pool;
    v_rate := coalesce(admission.pool_rate(v_pool.served_utok, v_pool.served_ms), 4000000);
    v_urgent := q.deadline - make_interval(secs => q.amount / v_rate);
    perform admission.raise_tag(q.pool, q.tenant, 1);
    insert into admission.places (id, pool, tenant, class, amount_utok, weight, cost, long, urgent_at, promote_at)
    values (
        p_id, q.pool, q.tenant, q.rank, q.amount, q.weight, greatest(1, q.amount / q.weight), q.amount / v_rate >= q.long_s, v_urgent,
        admission.leaves_class_at(q.rank, v_pool.bounds, clock_timestamp(), v_urgent)
    );
end
$$;

-- Grants places while there are slots, and answers whose.
create function admission.fill_pool(p_pool text) returns uuid[]
language plpgsql set search_path = pg_catalog, admission
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_pool admission.pools;
    v_granted uuid[] := '{}';
    v_risen int;
    p record;
begin
    select * into v_pool from admission.pools where name = p_pool;
    if v_pool.waiting = 0 or v_pool.running >= v_pool.slots then
        return v_granted;
    end if;
    -- One class at a time, and at once to the highest when a deadline leaves no more time.  What a tenant did not get while others
    -- were to go first is no credit against them: beyond one request he starts there as if he came now.
    loop
        with up as (
            update admission.places
            set class = case when urgent_at <= v_now then 0 else class - 1 end,
                promote_at = admission.leaves_class_at(
                    case when urgent_at <= v_now then 0 else class - 1 end, v_pool.bounds, least(promote_at, v_now), urgent_at
                )
            where pool = p_pool and granted_at is null and promote_at <= v_now
            returning tenant, cost
        ),
        lifted as (
            update admission.pool_tenants t set tag = greatest(t.tag, v_pool.virtual - u.cost)
            from (select tenant, max(cost) as cost from up group by tenant) u
            where t.pool = p_pool and t.tenant = u.tenant
        )
        select count(*) into v_risen from up;
        exit when v_risen = 0;
    end loop;

    while v_pool.waiting > 0 and v_pool.running < coalesce(v_pool.slots, v_pool.running + 1) loop
        select w.* into p
        from admission.pool_tenants t
        cross join lateral (
            select x.* from admission.places x
            where x.pool = p_pool and x.tenant = t.tenant and x.granted_at is null
                and (not x.long or v_pool.slots is null or v_pool.slots = 1 or v_pool.running_long < v_pool.slots - 1)
            order by x.class, x.id
            limit 1
        ) w
        where t.pool = p_pool and t.waiting > 0
        order by w.class, t.tag, w.id
        limit 1;
        exit when not found;
        update admission.places set granted_at = v_now, promote_at = null where id = p.id;
        perform admission.advance(p_pool, p.tenant, p.cost, 1);
        update admission.pools
        set running = running + 1, running_long = running_long + p.long::int, waiting = waiting - 1
        where name = p_pool
        returning * into v_pool;
        v_granted := v_granted || p.id;
    end loop;
    return v_granted;
end
$$;

-- The places of requests that have ended: used is what each consumed, null when it was not settled.  What was not settled is
-- counted by the time that it had its slot: who leaves again and again gets no more of an engine than who stays.
create function admission.leave_pools(p_ids uuid[], p_used bigint[]) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    p record;
    v_ms bigint;
    v_used bigint;
begin
    for p in
        delete from admission.places x
        using unnest(p_ids, p_used) u (id, used)
        where x.id = any (p_ids) and x.id = u.id
        returning x.*, u.used
    loop
        if p.granted_at is null then
            update admission.pools set waiting = waiting - 1 where name = p.pool;
            update admission.pool_tenants set waiting = waiting - 1 where pool = p.pool and tenant = p.tenant;
            continue;
        end if;
        v_ms := greatest(1, extract(epoch from clock_timestamp() - p.granted_at) * 1000);
        v_used := p.used;
        if v_used is null then
            select least(p.amount_utok, div(v_ms::numeric * coalesce(admission.pool_rate(served_utok, served_ms), 4000000), 1000))
            into v_used
            from admission.pools where name = p.pool;
        end if;
        perform admission.correct(p.pool, p.tenant, v_used / p.weight - p.cost);
        update admission.pools
        set running = running - 1, running_long = running_long - p.long::int,
            served_utok = case when p.used is null then served_utok else served_utok - served_utok / 32 + p.used end,
            served_ms = case when p.used is null then served_ms else served_ms - served_ms / 32 + v_ms end
        where name = p.pool;
    end loop;
end
$$;

-- Who waits in a pool, in the order in which places will be granted as things stand, and after how many milliseconds each can
-- expect his; null while nothing is known of the pool's pace.
create function admission.pool_standings(p_pool text) returns table (id uuid, class smallint, place int, wait_ms bigint)
language sql stable set search_path = pg_catalog, admission as $$
    select s.id, s.class, s.place::int,
           ((s.ahead_utok + r.left_utok) * 1000 / nullif(r.rate * coalesce(r.slots, 1), 0))::bigint
    from (
        select o.id, o.class, row_number() over w as place, sum(o.amount_utok) over w - o.amount_utok as ahead_utok
        from (
            select x.id, x.class, x.amount_utok, t.tag + sum(x.cost) over (partition by x.tenant order by x.class, x.id) - x.cost as tag
            from admission.places x
            join admission.pool_tenants t on t.pool = x.pool and t.tenant = x.tenant
            where x.pool = p_pool and x.granted_at is null
        ) o
        window w as (order by o.class, o.tag, o.id)
    ) s
    cross join (
        select p.slots, admission.pool_rate(p.served_utok, p.served_ms) as rate, (
            select coalesce(sum(greatest(0, x.amount_utok
                - extract(epoch from clock_timestamp() - x.granted_at) * admission.pool_rate(p.served_utok, p.served_ms))), 0)
            from admission.places x where x.pool = p_pool and x.granted_at is not null
        ) as left_utok
        from admission.pools p where p.name = p_pool
    ) r
$$;

-- The safety net: grants what a lost chance has left, frees the places of holds that are gone, forgets tenants who want nothing,
-- and answers which of these ids still have a place, and since when it is granted.
create function admission.tend_pools(p_ids uuid[]) returns table (id uuid, granted_at timestamptz)
language plpgsql security definer set search_path = pg_catalog, admission as $$
#variable_conflict use_column
declare
    v_pool text;
    v_gone uuid[];
    v_id uuid;
begin
    for v_pool in select name from admission.pools where waiting > 0 or running > 0 order by name loop
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

revoke all on function admission.pool_rate, admission.leaves_class_at, admission.raise_tag, admission.advance, admission.correct,
    admission.join_pool, admission.fill_pool, admission.leave_pools, admission.pool_standings, admission.tend_pools from public;
grant select on admission.pools, admission.places, admission.pool_tenants to taximeter_app;
grant execute on function admission.tend_pools, admission.pool_standings, admission.pool_rate to taximeter_app;
