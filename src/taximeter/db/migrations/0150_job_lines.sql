-- Jobs by the lines of their tenants, as places are (0149); a job whose deadline leaves no more time does not wait for the calm; engines
-- take turns with each other; and one that was not begun when its deadline had passed is not begun any more.

alter table admission.pools
    add column claimed_at timestamptz;        -- when a worker took a job of it last
alter table jobs.jobs
    add column tenant uuid,                   -- whose line in the queue it stands in
    add column deadline_at timestamptz;       -- when its result is worthless; null: nobody said
update jobs.jobs set tenant = project_id, class = least(rank, 3) where pool is not null and state in ('queued', 'in_progress');

drop index jobs.jobs_queued, jobs.jobs_to_promote;
alter table jobs.jobs drop column promote_at;
drop function admission.leaves_class_at;
create index jobs_queued on jobs.jobs (kind, pool, tenant, class, id) where state = 'queued';
create index jobs_urgent on jobs.jobs (pool, urgent_at) where state = 'queued' and urgent_at is not null;
create index jobs_late on jobs.jobs (deadline_at) where deadline_at is not null and started_at is null and state in ('queued', 'in_progress');

-- As before, but urgent a minute earlier: somebody has the slot.  The queue says, too, whether the deadline is what its caller said ("said").
create or replace function admission.join_job(p_id uuid, p_queue jsonb) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    q record;
    v_pool admission.pools;
    v_rate bigint;
    v_urgent timestamptz;
begin
    select * into q from jsonb_to_record(p_queue) x (pool text, tenant uuid, weight int, amount bigint, rank int, long_s int, deadline timestamptz, said boolean);
    -- Nobody queued or at work: the pool begins anew.
    update admission.pools set virtual = greatest(virtual, highest)
    where name = q.pool and not exists (
        select from jobs.jobs j where j.pool = q.pool and j.state in ('queued', 'in_progress') and j.id <> p_id
    );
    select * into v_pool from admission.pools where name = q.pool;
    v_rate := coalesce(admission.pool_rate(v_pool.served_utok, v_pool.served_ms), 4000000);
    v_urgent := q.deadline - make_interval(secs => 60 + q.amount / v_rate);
    insert into admission.pool_tenants (pool, tenant, tag) values (q.pool, q.tenant, v_pool.virtual)
    on conflict (pool, tenant) do update set tag = greatest(pool_tenants.tag, excluded.tag)
    where not exists (
        select from jobs.jobs j where j.pool = q.pool and j.tenant = q.tenant and j.state = 'queued' and j.id <> p_id
    );
    update jobs.jobs
    set pool = q.pool, tenant = q.tenant, amount_utok = q.amount, weight = q.weight, cost = greatest(1, q.amount / q.weight), class = q.rank,
        long = q.amount / v_rate >= q.long_s, bounds = v_pool.bounds, urgent_at = v_urgent,
        deadline_at = case when q.said then q.deadline end
    where id = p_id;
end
$$;

-- As before; the line had a slot until now.
create or replace function admission.leave_jobs(p_ids uuid[], p_used bigint[]) returns void
language plpgsql
set search_path = pg_catalog, admission
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    j record;
    v_ms bigint;
begin
    for j in
        select x.*, u.used from unnest(p_ids, p_used) u (id, used) join jobs.jobs x on x.id = u.id
        where x.id = any (p_ids) and x.tenant is not null and x.counted and x.started_at is not null
    loop
        v_ms := greatest(1, extract(epoch from clock_timestamp() - j.started_at) * 1000);
        update jobs.jobs set counted = false where id = j.id;
        if j.used is null then
            select least(j.amount_utok, div(v_ms::numeric * coalesce(admission.pool_rate(served_utok, served_ms), 4000000), 1000))
            into j.used
            from admission.pools where name = j.pool;
        else
            update admission.pools
            set served_utok = served_utok - served_utok / 32 + j.used, served_ms = served_ms - served_ms / 32 + v_ms
            where name = j.pool;
        end if;
        perform admission.correct(j.pool, j.tenant, j.class, j.used / j.weight - j.cost);
    end loop;
end
$$;

drop function jobs.claim(text, float8, text[], int[], float8, text[]), admission.advance(text, uuid, bigint, int),
    admission.correct(text, uuid, bigint);

-- Leases the next job of a kind; p_pools with their p_slots are not given more than they can do at once.  Flex and batch jobs of an
-- engine whose price surges are left until they are p_calm_s old or their deadline leaves no more time, and those of p_without (engine
-- and model) altogether.  Of the engines p_engines alone or, with p_others, of all but these; null: of all.
create function jobs.claim(
    p_kind text, p_lease_s float8, p_pools text[], p_slots int[], p_calm_s float8 default 0, p_without text[] default '{}',
    p_engines text[] default null, p_others boolean default false
) returns setof jobs.jobs
language plpgsql security definer
set search_path = pg_catalog, jobs
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_surging constant text[] := admission.surging();
    v_id uuid;
    v_start bigint;
    v_pools text[];
    v_job jobs.jobs;
begin
    -- A job whose worker is gone has its turn already; one of an earlier release knows no pool.
    select j.id into v_id
    from jobs.jobs j
    where j.kind = p_kind and j.ordered_at is null
        and (j.state = 'in_progress' and j.lease_until < v_now or j.state = 'queued' and j.pool is null
             and coalesce(j.rests_until <= v_now, true))
        and (j.started_at is not null or coalesce(j.deadline_at > v_now, true))
        and (p_engines is null or (j.payload ->> 'engine' = any (p_engines)) <> p_others)
        and concat_ws(' ', j.payload ->> 'engine', coalesce(j.payload ->> 'model', j.payload ->> 'engine_model')) <> all (p_without)
    order by j.rank, j.created_at, j.id
    limit 1
    for update skip locked;

    if v_id is null then
        -- Nobody waits for a turn while another takes his.
        select array_agg(l.name) into v_pools
        from (
            select p.name from admission.pools p
            where exists (select from jobs.jobs j where j.kind = p_kind and j.pool = p.name and j.state = 'queued')
                and (p_engines is null or (p.name = any (p_engines)) <> p_others)
            order by p.name
            for update
        ) l;
        if v_pools is null then
            return;
        end if;
        -- As admission.fill_pool.  Tags say nothing of two engines: these take turns, of those who have work in the highest class.
        with p as materialized (
            select p.*, s.slots as most,
                   (select count(*) from jobs.jobs j where j.pool = p.name and j.state = 'in_progress') as at_work,
                   (select count(*) from jobs.jobs j where j.pool = p.name and j.state = 'in_progress' and j.long) as at_long_work
            from admission.pools p
            left join unnest(p_pools, p_slots) s (pool, slots) on s.pool = p.name
            where p.name = any (v_pools)
        ),
        able as not materialized (
            select j.id, j.pool, j.tenant, j.class, j.cost, j.created_at, j.urgent_at, p.virtual, p.bounds, p.claimed_at
            from p
            join jobs.jobs j on j.kind = p_kind and j.pool = p.name
            where j.state = 'queued' and j.ordered_at is null and (p.most is null or p.at_work < p.most)
                and coalesce(j.rests_until <= v_now, true)
                and (j.started_at is not null or coalesce(j.deadline_at > v_now, true))
                and (not j.long or p.most is null or p.most = 1 or p.at_long_work < p.most - 1)
                and (j.rank < 2 or j.urgent_at <= v_now or j.created_at <= v_now - make_interval(secs => p_calm_s) or j.pool <> all (v_surging))
                and concat_ws(' ', j.payload ->> 'engine', coalesce(j.payload ->> 'model', j.payload ->> 'engine_model')) <> all (p_without)
        )
        select w.id, w.start into v_id, v_start
        from (
            select c.*, greatest(c.tag, c.virtual - max(c.cost) filter (where c.level < c.class) over (partition by c.pool, c.tenant)) as start
            from (
                select x.id, x.pool, x.tenant, x.class, x.cost, x.virtual, x.claimed_at, t.tag, null::timestamptz as urgent_at,
                       case when t.tag > x.virtual or exists (
                                select from jobs.jobs b
                                where b.pool = x.pool and b.tenant = x.tenant and b.class = x.class and b.state = 'in_progress'
                            ) then x.class
                            else admission.class_now(x.class, x.bounds, greatest(x.created_at, t.served_at[x.class + 1]), v_now) end as level
                from admission.pool_tenants t
                cross join unnest('{0,1,2,3}'::smallint[]) l (class)
                cross join lateral (
                    select a.* from able a where a.pool = t.pool and a.tenant = t.tenant and a.class = l.class order by a.id limit 1
                ) x
                where t.pool = any (v_pools)
                union all
                select a.id, a.pool, a.tenant, a.class, a.cost, a.virtual, a.claimed_at, t.tag, a.urgent_at, 0
                from able a
                join admission.pool_tenants t on t.pool = a.pool and t.tenant = a.tenant
                where a.urgent_at <= v_now and a.class > 0
            ) c
        ) w
        order by w.level, w.claimed_at nulls first, w.pool, w.start, w.urgent_at, w.id
        limit 1;
    end if;

    update jobs.jobs j
    set state = 'in_progress', attempt = j.attempt + 1, lease_until = v_now + make_interval(secs => p_lease_s),
        started_at = coalesce(j.started_at, v_now), progress = 0
    where j.id = v_id and (j.state = 'queued' or j.lease_until < v_now)
    returning * into v_job;
    if v_job.id is null then
        return;
    end if;
    if v_start is not null then
        update admission.pools set claimed_at = v_now where name = v_job.pool;
        if not v_job.counted then
            perform admission.advance(v_job.pool, v_job.tenant, v_job.class, v_start, v_job.cost, 0);
            update jobs.jobs j set counted = true where j.id = v_job.id;
        end if;
    end if;
    return next v_job;
end
$$;

drop function admission.job_standings;

-- Who waits in a pool for a worker, in the order of the lines, as admission.pool_standings.  Flex and batch jobs that wait for the calm, at
-- most until they are p_calm_s old or their deadline leaves no more time, are behind the others, and nobody knows when they begin:
-- calm_until says from when on they wait no longer for it.
create function admission.job_standings(p_pool text, p_calm_s float8 default 0)
returns table (id uuid, class smallint, place int, wait_ms bigint, calm_until timestamptz)
language sql stable set search_path = pg_catalog, admission as $$
    with r as materialized (
        select p.virtual, p.bounds, p.slots, clock_timestamp() as now, admission.surging() as surging,
               admission.pool_rate(p.served_utok, p.served_ms) as rate, (
            select coalesce(sum(greatest(0, x.amount_utok
                - extract(epoch from clock_timestamp() - x.started_at) * admission.pool_rate(p.served_utok, p.served_ms))), 0)
            from jobs.jobs x where x.pool = p_pool and x.state = 'in_progress'
        ) as left_utok
        from admission.pools p where p.name = p_pool
    ),
    b as materialized (
        select distinct x.tenant, x.class from jobs.jobs x where x.pool = p_pool and x.state = 'in_progress'
    ),
    u as (
        select x.id, x.tenant, x.class, x.amount_utok, x.cost, x.rests_until, t.tag,
               case when x.class > 0 and x.urgent_at <= r.now then x.urgent_at end as urgent_at,
               case when x.class = 0 or b.tenant is not null or t.tag > r.virtual
                        or row_number() over (partition by x.tenant, x.class order by x.id) > 1 then x.class
                    else admission.class_now(x.class, r.bounds, greatest(x.created_at, t.served_at[x.class + 1]), r.now) end as level,
               case when x.rank >= 2 and x.created_at > r.now - make_interval(secs => p_calm_s) and x.pool = any (r.surging)
                        and coalesce(x.urgent_at > r.now, true)
                    then least(x.created_at + make_interval(secs => p_calm_s), x.urgent_at) end as calm_until
        from jobs.jobs x
        cross join r
        join admission.pool_tenants t on t.pool = x.pool and t.tenant = x.tenant
        left join b on b.tenant = x.tenant and b.class = x.class
        where x.pool = p_pool and x.state = 'queued'
    ),
    l as (
        select u.*, case when u.urgent_at is null then u.level else 0 end as level_now from u
    )
    select s.id, s.level_now::smallint, s.place::int,
           case when s.calm_until is null then greatest(
               ((s.ahead_utok + r.left_utok) * 1000 / nullif(r.rate * coalesce(r.slots, 1), 0))::bigint,
               case when r.rate is not null then (extract(epoch from s.rests_until - r.now) * 1000)::bigint end
           ) end,
           s.calm_until
    from (
        select o.*, row_number() over w as place, sum(o.amount_utok) over w - o.amount_utok as ahead_utok
        from (
            select l.id, l.level_now, l.amount_utok, l.urgent_at, l.rests_until, l.calm_until,
                   greatest(l.tag, r.virtual - max(l.cost) filter (where l.level_now < l.class) over (partition by l.tenant)) - l.cost
                       + sum(l.cost) over (partition by l.tenant order by l.calm_until is not null, l.level_now, l.urgent_at, l.id) as start
            from l
            cross join r
        ) o
        window w as (order by o.calm_until is not null, o.level_now, o.start, o.urgent_at, o.id)
    ) s
    cross join r
$$;

revoke all on function jobs.claim, admission.job_standings from public;
grant execute on function jobs.claim, admission.job_standings to taximeter_app;
