-- Jobs that wait for more than their turn.  One whose engine was away rests before it is claimed again, longer each time, and others go
-- first; and one that waits for the calm says so instead of an expected start.

alter table jobs.jobs
    add column rests_until timestamptz,       -- not claimed before; null: at any time
    add column rests int not null default 0   -- its engine was away so many times in a row
        constraint jobs_rests_check check (rests >= 0);

-- As before, without those that rest.
create or replace function jobs.claim(
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
        and (j.state = 'in_progress' and j.lease_until < v_now or j.state = 'queued' and j.pool is null
             and coalesce(j.rests_until <= v_now, true))
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
                and coalesce(j.rests_until <= v_now, true)
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

drop function admission.job_standings;

-- Who waits in a pool for a worker, as admission.pool_standings.  Flex and batch jobs that wait for the calm, at most until they are
-- p_calm_s old, are behind the others, and nobody knows when they begin: calm_until says from when on they wait no longer for it.
create function admission.job_standings(p_pool text, p_calm_s float8 default 0)
returns table (id uuid, class smallint, place int, wait_ms bigint, calm_until timestamptz)
language sql stable set search_path = pg_catalog, admission as $$
    with r as materialized (
        select p.slots, admission.pool_rate(p.served_utok, p.served_ms) as rate, (
            select coalesce(sum(greatest(0, x.amount_utok
                - extract(epoch from clock_timestamp() - x.started_at) * admission.pool_rate(p.served_utok, p.served_ms))), 0)
            from jobs.jobs x where x.pool = p_pool and x.state = 'in_progress'
        ) as left_utok
        from admission.pools p where p.name = p_pool
    )
    select s.id, s.class, s.place::int,
           case when s.calm_until is null then greatest(
               ((s.ahead_utok + r.left_utok) * 1000 / nullif(r.rate * coalesce(r.slots, 1), 0))::bigint,
               case when r.rate is not null then (extract(epoch from s.rests_until - clock_timestamp()) * 1000)::bigint end
           ) end,
           s.calm_until
    from (
        select o.id, o.class, o.calm_until, o.rests_until, row_number() over w as place, sum(o.amount_utok) over w - o.amount_utok as ahead_utok
        from (
            select x.id, x.class, x.amount_utok, x.rests_until, c.calm_until, t.tag - x.cost
                + sum(x.cost) over (partition by x.project_id order by c.calm_until is not null, x.class, x.id) as tag
            from jobs.jobs x
            cross join (select admission.surging() as surging) g
            join admission.pool_tenants t on t.pool = x.pool and t.tenant = x.project_id
            cross join lateral (
                select case when x.rank >= 2 and x.created_at > clock_timestamp() - make_interval(secs => p_calm_s) and x.pool = any (g.surging)
                    then x.created_at + make_interval(secs => p_calm_s) end as calm_until
            ) c
            where x.pool = p_pool and x.state = 'queued'
        ) o
        window w as (order by o.calm_until is not null, o.class, o.tag, o.id)
    ) s
    cross join r
$$;

revoke all on function admission.job_standings from public;
grant execute on function admission.job_standings to taximeter_app;
