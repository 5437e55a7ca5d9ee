-- Statements of the fair queue.  Places are taken and freed by metering.post.

-- name: tend
select id, granted_at is not null as granted from admission.tend_pools($1)

-- name: hand_over
select admission.hand_over($1, $2) as id

-- name: standing
select place, wait_ms from admission.pool_standings((select pool from admission.places where id = $1)) where id = $1

-- name: job_standing
select place, wait_ms, calm_until from admission.job_standings((select pool from jobs.jobs where id = $1 and state = 'queued'), $2) where id = $1

-- name: figures
select p.name, p.slots, admission.pool_rate(p.served_utok, p.served_ms) as utok_per_s,
    p.running + (select count(*) from jobs.jobs j where j.pool = p.name and j.state = 'in_progress')::int as running,
    p.waiting + (select count(*) from jobs.jobs j where j.pool = p.name and j.state = 'queued')::int as waiting,
    coalesce(extract(epoch from clock_timestamp() - least(
        (select min(x.joined_at) from admission.places x where x.pool = p.name and x.granted_at is null),
        (select min(j.created_at) from jobs.jobs j where j.pool = p.name and j.state = 'queued')
    )), 0)::float8 as oldest_s
from admission.pools p
order by p.name
