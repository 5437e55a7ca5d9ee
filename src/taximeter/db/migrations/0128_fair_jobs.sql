-- Durable jobs in fair order: who is next is decided when a job is claimed, by class, then by the lowest tag of its tenant.

alter table jobs.jobs
    add column pool text,                     -- the engine; null: a job of an earlier release, which goes first
    add column amount_utok bigint,            -- what it is expected to consume
    add column weight int,
    add column cost bigint,
    add column long boolean not null default false,
    add column class smallint,                -- as its rank at first, and higher when it has waited
    add column bounds int[],
    add column urgent_at timestamptz,
    add column promote_at timestamptz,
    add column counted boolean not null default false;  -- its tenant's tag has moved on for it; a job that is put back stays counted

drop index jobs.jobs_queued;
create index jobs_queued on jobs.jobs (kind, pool, project_id, class, id) where state = 'queued';
create index jobs_to_promote on jobs.jobs (promote_at) where state = 'queued' and promote_at is not null;

-- A job is born: its queue as for admission.join_pool.
create function admission.join_job(p_id uuid, p_queue jsonb) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    q record;
    v_pool admission.pools;
    v_rate bigint;
    v_urgent timestamptz;
begin
    select * into q from jsonb_to_record(p_queue) x (pool text, tenant uuid, weight int, amount bigint, rank int, long_s int, deadline timestamptz);
    -- Nobody queued or at work: the pool begins anew.
    update admission.pools set virtual = greatest(virtual, highest)
    where name = q.pool and not exists (
        select from jobs.jobs j where j.pool = q.pool and j.state in ('queued', 'in_progress') and j.id <> p_id
    );
    select * into v_pool from admission.pools where name = q.pool;
    v_rate := coalesce(admission.pool_rate(v_pool.served_utok, v_pool.served_ms), 4000000);
    v_urgent := q.deadline - make_interval(secs => q.amount / v_rate);
    insert into admission.pool_tenants (pool, tenant, tag) values (q.pool, q.tenant, v_pool.virtual)
    on conflict (pool, tenant) do update set tag = greatest(pool_tenants.tag, excluded.tag)
    where not exists (
        select from jobs.jobs j where j.pool = q.pool and j.project_id = q.tenant and j.state = 'queued' and j.id <> p_id
    );
    update jobs.jobs
    set pool = q.pool, amount_utok = q.amount, weight = q.weight, cost = greatest(1, q.amount / q.weight), class = q.rank,
        long = q.amount / v_rate >= q.long_s, bounds = v_pool.bounds, urgent_at = v_urgent,
        promote_at = admission.leaves_class_at(q.rank, v_pool.bounds, clock_timestamp(), v_urgent)
    where id = p_id;
end
$$;

-- Jobs have ended: used as for admission.leave_pools.
create function admission.leave_jobs(p_ids uuid[], p_used bigint[]) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    j record;
    v_ms bigint;
begin
    for j in
        select x.*, u.used from unnest(p_ids, p_used) u (id, used) join jobs.jobs x on x.id = u.id
        where x.id = any (p_ids) and x.pool is not null and x.counted and x.started_at is not null
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
        perform admission.correct(j.pool, j.project_id, j.used / j.weight - j.cost);
    end loop;
end
$$;

-- Leases the next job of a kind; p_pools with their p_slots are not given more than they can do at once.  Flex and batch jobs of an
-- engine whose price surges are left until they are p_calm_s old, and those of p_without (engine and model) altogether.
create function jobs.claim(
    p_kind text, p_lease_s float8, p_pools text[], p_slots int[], p_calm_s float8 default 0, p_without text[] default '{}'
) returns setof jobs.jobs
language plpgsql security definer
set search_path = pg_catalog, jobs
as $$
declare
    v_now constant timestamptz := clock_timestamp();
    v_surging constant text[] := admission.surging();
    v_id uuid;
    v_pools text[];
    v_risen int;
    v_job jobs.jobs;
begin
    -- A job whose worker is gone has its turn already; one of an earlier release knows no pool.
    select j.id into v_id
    from jobs.jobs j
    where j.kind = p_kind and j.ordered_at is null
        and (j.state = 'in_progress' and j.lease_until < v_now or j.state = 'queued' and j.pool is null)
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
            order by p.name
            for update
        ) l;
        if v_pools is null then
            return;
        end if;
        loop
            with up as (
                update jobs.jobs j
                set class = case when urgent_at <= v_now then 0 else class - 1 end,
                    promote_at = admission.leaves_class_at(
                        case when urgent_at <= v_now then 0 else class - 1 end, bounds, least(promote_at, v_now), urgent_at
                    )
                where state = 'queued' and promote_at <= v_now and pool = any (v_pools)
                returning pool, project_id, cost
            ),
            lifted as (
                update admission.pool_tenants t set tag = greatest(t.tag, p.virtual - u.cost)
                from (select pool, project_id, max(cost) as cost from up group by pool, project_id) u
                join admission.pools p on p.name = u.pool
                where t.pool = u.pool and t.tenant = u.project_id
            )
            select count(*) into v_risen from up;
            exit when v_risen = 0;
        end loop;

        select w.id into v_id
        from (
            select p.name, s.slots,
                   (select count(*) from jobs.jobs j where j.pool = p.name and j.state = 'in_progress') as running,
                   (select count(*) from jobs.jobs j where j.pool = p.name and j.state = 'in_progress' and j.long) as running_long
            from admission.pools p
            left join unnest(p_pools, p_slots) s (pool, slots) on s.pool = p.name
            where p.name = any (v_pools)
        ) p
        join admission.pool_tenants t on t.pool = p.name
        cross join lateral (
            select j.id, j.class from jobs.jobs j
            where j.kind = p_kind and j.pool = p.name and j.project_id = t.tenant and j.state = 'queued' and j.ordered_at is null
                and (not j.long or p.slots is null or p.slots = 1 or p.running_long < p.slots - 1)
                and (j.rank < 2 or j.created_at <= v_now - make_interval(secs => p_calm_s) or j.pool <> all (v_surging))
                and concat_ws(' ', j.payload ->> 'engine', coalesce(j.payload ->> 'model', j.payload ->> 'engine_model')) <> all (p_without)
            order by j.class, j.id
            limit 1
        ) w
        where p.slots is null or p.running < p.slots
        order by w.class, t.tag, w.id
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
    if v_job.pool is not null and not v_job.counted then
        perform admission.advance(v_job.pool, v_job.project_id, v_job.cost, 0);
        update jobs.jobs j set counted = true where j.id = v_job.id;
    end if;
    return next v_job;
end
$$;

-- Who waits in a pool for a worker, as admission.pool_standings.
create function admission.job_standings(p_pool text) returns table (id uuid, class smallint, place int, wait_ms bigint)
language sql stable set search_path = pg_catalog, admission as $$
    select s.id, s.class, s.place::int,
           ((s.ahead_utok + r.left_utok) * 1000 / nullif(r.rate * coalesce(r.slots, 1), 0))::bigint
    from (
        select o.id, o.class, row_number() over w as place, sum(o.amount_utok) over w - o.amount_utok as ahead_utok
        from (
            select x.id, x.class, x.amount_utok, t.tag + sum(x.cost) over (partition by x.project_id order by x.class, x.id) - x.cost as tag
            from jobs.jobs x
            join admission.pool_tenants t on t.pool = x.pool and t.tenant = x.project_id
            where x.pool = p_pool and x.state = 'queued'
        ) o
        window w as (order by o.class, o.tag, o.id)
    ) s
    cross join (
        select p.slots, admission.pool_rate(p.served_utok, p.served_ms) as rate, (
            select coalesce(sum(greatest(0, x.amount_utok
                - extract(epoch from clock_timestamp() - x.started_at) * admission.pool_rate(p.served_utok, p.served_ms))), 0)
            from jobs.jobs x where x.pool = p_pool and x.state = 'in_progress'
        ) as left_utok
        from admission.pools p where p.name = p_pool
    ) r
$$;

revoke all on function admission.join_job, admission.leave_jobs, jobs.claim, admission.job_standings from public;
grant execute on function jobs.claim, admission.job_standings to taximeter_app;
