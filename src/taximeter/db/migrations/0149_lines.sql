-- A tenant's line in a class goes up, not each request: the first of it, when the line was given nothing for the class's bound, counted
-- from the later of its arrival and the last moment when the line had a slot, and while the tag is not beyond virtual time.  Who is served,
-- or was given more than his share, stays where he is, however long his line, and a newcomer is next behind it.  The rule stands in
-- taximeter/admission/fairness/rules.py, and a test compares the two.

alter table admission.pool_tenants
    add column served_at timestamptz[] not null default '{null,null,null,null}';  -- when each of his lines, 0 to 3, had a slot last
drop index admission.places_to_promote;
alter table admission.places drop column promote_at;
create index places_urgent on admission.places (pool, urgent_at) where granted_at is null and urgent_at is not null;

-- The class now of the first of a line that was given nothing since then: one up after each bound.
create function admission.class_now(p_class int, p_bounds int[], p_since timestamptz, p_now timestamptz) returns int language sql stable as $$
    select case when p_class = 0 then 0 else p_class
        - (p_since + make_interval(secs => p_bounds[p_class]) <= p_now)::int
        - (p_class > 1 and p_since + make_interval(secs => p_bounds[p_class] + p_bounds[p_class - 1]) <= p_now)::int
        - (p_class > 2 and p_since + make_interval(secs => p_bounds[p_class] + p_bounds[p_class - 1] + p_bounds[p_class - 2]) <= p_now)::int
    end
$$;

-- A tenant is given something in a class: it starts at his tag or, when he has gone up, not more than one request behind virtual time.
create function admission.advance(p_pool text, p_tenant uuid, p_class int, p_start bigint, p_cost bigint, p_waiting int) returns void
language plpgsql set search_path = pg_catalog, admission as $$
begin
    update admission.pool_tenants
    set tag = p_start + p_cost, waiting = waiting - p_waiting, served_at[p_class + 1] = clock_timestamp()
    where pool = p_pool and tenant = p_tenant;
    update admission.pools set virtual = greatest(virtual, p_start), highest = greatest(highest, p_start + p_cost) where name = p_pool;
end
$$;

-- What was given has ended, and turned out to be less or more than expected.
create function admission.correct(p_pool text, p_tenant uuid, p_class int, p_cost bigint) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    v_tag bigint;
begin
    update admission.pool_tenants
    set tag = greatest(0, tag + p_cost), served_at[p_class + 1] = clock_timestamp()
    where pool = p_pool and tenant = p_tenant
    returning tag into v_tag;
    update admission.pools set highest = v_tag where name = p_pool and highest < v_tag;
end
$$;

-- As before; where a place stands is computed when a slot is free.
create or replace function admission.join_pool(p_id uuid, p_queue jsonb) returns void
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
    insert into admission.places (id, pool, tenant, class, amount_utok, weight, cost, long, urgent_at)
    values (
        p_id, q.pool, q.tenant, q.rank, q.amount, q.weight, greatest(1, q.amount / q.weight), q.amount / v_rate >= q.long_s, v_urgent
    );
end
$$;

-- As before, by the lines.
create or replace function admission.fill_pool(p_pool text) returns uuid[]
language plpgsql set search_path = pg_catalog, admission
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_pool admission.pools;
    v_most int;
    v_granted uuid[] := '{}';
    v_room boolean;
    p record;
begin
    select * into v_pool from admission.pools where name = p_pool;
    v_most := v_pool.slots + v_pool.ahead;
    if v_pool.waiting = 0 or v_pool.running >= v_most then
        return v_granted;
    end if;
    while v_pool.waiting > 0 and v_pool.running < coalesce(v_most, v_pool.running + 1) loop
        v_room := v_pool.slots is null or v_pool.slots = 1 or v_pool.running_long < v_pool.slots - 1;
        -- The first of each line that may run, and whose deadline leaves no more time.  What a tenant did not get while others were to go
        -- first is no credit against them: when something of his has gone up, he starts as if he came now, but for one request.
        select w.id, w.tenant, w.class, w.cost, w.long, w.start into p
        from (
            select c.*, greatest(c.tag, v_pool.virtual - max(c.cost) filter (where c.level < c.class) over (partition by c.tenant)) as start
            from (
                select x.id, t.tenant, x.class, x.cost, x.long, t.tag, null::timestamptz as urgent_at,
                       case when b.tenant is not null or t.tag > v_pool.virtual then x.class
                            else admission.class_now(x.class, v_pool.bounds, greatest(x.joined_at, t.served_at[x.class + 1]), v_now) end as level
                from admission.pool_tenants t
                cross join unnest('{0,1,2,3}'::smallint[]) l (class)
                cross join lateral (
                    select x.id, x.class, x.cost, x.long, x.joined_at from admission.places x
                    where x.pool = p_pool and x.tenant = t.tenant and x.class = l.class and x.granted_at is null and (not x.long or v_room)
                    order by x.id
                    limit 1
                ) x
                left join (
                    select distinct r.tenant, r.class from admission.places r where r.pool = p_pool and r.granted_at is not null
                ) b on b.tenant = t.tenant and b.class = l.class
                where t.pool = p_pool and t.waiting > 0
                union all
                select x.id, x.tenant, x.class, x.cost, x.long, t.tag, x.urgent_at, 0
                from admission.places x
                join admission.pool_tenants t on t.pool = x.pool and t.tenant = x.tenant
                where x.pool = p_pool and x.granted_at is null and x.urgent_at <= v_now and x.class > 0 and (not x.long or v_room)
            ) c
        ) w
        order by w.level, w.start, w.urgent_at, w.id
        limit 1;
        exit when not found;
        update admission.places set granted_at = v_now where id = p.id;
        perform admission.advance(p_pool, p.tenant, p.class, p.start, p.cost, 1);
        update admission.pools
        set running = running + 1, running_long = running_long + p.long::int, waiting = waiting - 1
        where name = p_pool
        returning * into v_pool;
        v_granted := v_granted || p.id;
    end loop;
    return v_granted;
end
$$;

-- As before; the line had a slot until now.
create or replace function admission.leave_pools(p_ids uuid[], p_used bigint[]) returns void
language plpgsql
set search_path = pg_catalog, admission
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
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
        perform admission.correct(p.pool, p.tenant, p.class, v_used / p.weight - p.cost);
        update admission.pools
        set running = running - 1, running_long = running_long - p.long::int,
            served_utok = case when p.used is null then served_utok else served_utok - served_utok / 32 + p.used end,
            served_ms = case when p.used is null then served_ms else served_ms - served_ms / 32 + v_ms end
        where name = p.pool;
    end loop;
end
$$;

-- As before, in the order of the lines; class: the one in which each would go now.
create or replace function admission.pool_standings(p_pool text) returns table (id uuid, class smallint, place int, wait_ms bigint)
language plpgsql stable
set search_path = pg_catalog, admission
set enable_seqscan = off
set enable_nestloop = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    v_now constant timestamptz := clock_timestamp();
begin
    return query
    with r as materialized (
        select p.virtual, p.bounds, p.slots + p.ahead as slots, admission.pool_rate(p.served_utok, p.served_ms) as rate, coalesce((
            select sum(greatest(0, x.amount_utok
                - extract(epoch from clock_timestamp() - x.granted_at) * admission.pool_rate(p.served_utok, p.served_ms)))
            from admission.places x where x.pool = p_pool and x.granted_at is not null
        ), 0) as left_utok
        from admission.pools p where p.name = p_pool
    ),
    t as materialized (
        select t.tenant, t.tag, t.served_at from admission.pool_tenants t where t.pool = p_pool and t.waiting > 0
    ),
    b as materialized (
        select distinct x.tenant, x.class from admission.places x where x.pool = p_pool and x.granted_at is not null
    ),
    u as (
        select x.id, x.tenant, x.class, x.amount_utok, x.cost, t.tag,
               case when x.class > 0 and x.urgent_at <= v_now then x.urgent_at end as urgent_at,
               case when x.class = 0 or b.tenant is not null or t.tag > r.virtual
                        or row_number() over (partition by x.tenant, x.class order by x.id) > 1 then x.class
                    else admission.class_now(x.class, r.bounds, greatest(x.joined_at, t.served_at[x.class + 1]), v_now) end as level
        from admission.places x
        cross join r
        join t on t.tenant = x.tenant
        left join b on b.tenant = x.tenant and b.class = x.class
        where x.pool = p_pool and x.granted_at is null
    ),
    l as (
        select u.*, case when u.urgent_at is null then u.level else 0 end as level_now from u
    )
    select s.id, s.level_now::smallint, s.place::int, ((s.ahead_utok + r.left_utok) * 1000 / nullif(r.rate * coalesce(r.slots, 1), 0))::bigint
    from (
        select o.id, o.level_now, row_number() over w as place, sum(o.amount_utok) over w - o.amount_utok as ahead_utok
        from (
            select l.id, l.level_now, l.amount_utok, l.urgent_at,
                   greatest(l.tag, r.virtual - max(l.cost) filter (where l.level_now < l.class) over (partition by l.tenant)) - l.cost
                       + sum(l.cost) over (partition by l.tenant order by l.level_now, l.urgent_at, l.id) as start
            from l
            cross join r
        ) o
        window w as (order by o.level_now, o.start, o.urgent_at, o.id)
    ) s
    cross join r;
end
$$;

-- Those of before stay until jobs are done with them (0150).
revoke all on function admission.class_now, admission.advance(text, uuid, int, bigint, bigint, int), admission.correct(text, uuid, int, bigint) from public;
grant execute on function admission.class_now to taximeter_app;
