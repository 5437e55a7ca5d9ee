-- Statements of the job queue.  Rows are born and ended by metering.post, in the ledger's transaction.

-- name: claim
select * from jobs.claim($1, $2, $3, $4, $5, $6, $7, $8)

-- name: claim_late
update jobs.jobs
set state = 'in_progress', attempt = attempt + 1, lease_until = clock_timestamp() + make_interval(secs => $2)
where id = (
    select id from jobs.jobs
    where kind = $1 and deadline_at <= clock_timestamp() and started_at is null
        and (state = 'queued' or state = 'in_progress' and lease_until < clock_timestamp())
    order by deadline_at, id
    limit 1
    for update skip locked
)
returning *

-- name: claim_ordered
update jobs.jobs
set attempt = attempt + 1, lease_until = clock_timestamp() + make_interval(secs => $2)
where id = (
    select id from jobs.jobs
    where kind = $1 and state = 'in_progress' and ordered_at is not null and lease_until < clock_timestamp()
    order by lease_until, id
    limit 1
    for update skip locked
)
returning *, extract(epoch from provider_until - clock_timestamp())::float8 as left_s

-- name: mark_ordered
update jobs.jobs
set ordered_at = clock_timestamp(), provider_until = clock_timestamp() + make_interval(secs => $3)
where id = $1 and attempt = $2 and state = 'in_progress' and provider_job is null
returning true

-- name: record_provider_job
update jobs.jobs set provider_job = $2 where id = $1 and ordered_at is not null and provider_job is null

-- name: park
update jobs.jobs
set lease_until = clock_timestamp() + make_interval(secs => $3)
where id = $1 and attempt = $2 and state = 'in_progress' and ordered_at is not null
returning true

-- name: mark_unknown
update jobs.jobs
set unknown_since = coalesce(unknown_since, clock_timestamp()), unknown_reason = $4,
    lease_until = clock_timestamp() + make_interval(
        secs => least(60, greatest($3, extract(epoch from clock_timestamp() - coalesce(unknown_since, clock_timestamp()))::float8 / 4))
    )
where id = $1 and attempt = $2 and state = 'in_progress' and ordered_at is not null
returning provider_until < clock_timestamp() as overdue

-- name: mark_known
update jobs.jobs set unknown_since = null, unknown_reason = null
where id = $1 and attempt = $2 and state = 'in_progress' and unknown_since is not null

-- name: set_verdict
update jobs.jobs set provider_verdict = $2 where id = $1 and ordered_at is not null and provider_verdict is distinct from $2

-- name: to_call_off
select *, provider_until < clock_timestamp() as overdue
from jobs.jobs
where kind = $1 and state = 'failed' and ordered_at is not null and provider_verdict is null
order by random()  -- One provider that does not answer must not keep the others waiting.
limit $2

-- name: list_unknown
select * from jobs.jobs
where kind = $1 and state = 'in_progress' and unknown_since is not null and ($2::uuid is null or id < $2)
order by id desc
limit $3

-- name: list_never_known
select * from jobs.jobs
where kind = $1 and state = 'failed' and ordered_at is not null and error_code = $4 and ($2::uuid is null or id < $2)
order by id desc
limit $3

-- name: list_unpaid
select * from jobs.jobs
where kind = $1 and state = 'failed' and ordered_at is not null and provider_verdict = 'completed' and ($2::uuid is null or id < $2)
order by id desc
limit $3

-- name: at_providers
select
    (select count(*) from jobs.jobs where state = 'in_progress' and ordered_at is not null) as ordered,
    (select count(*) from jobs.jobs where state = 'in_progress' and unknown_since is not null) as unknown,
    (
        select coalesce(max(extract(epoch from clock_timestamp() - unknown_since)), 0)::float8
        from jobs.jobs where state = 'in_progress' and unknown_since is not null
    ) as oldest_s,
    count(*) filter (where error_code = $1) as never_known,
    count(*) filter (where provider_verdict = 'completed') as unpaid
from jobs.jobs
where state = 'failed' and ordered_at is not null

-- name: heartbeat
update jobs.jobs
set lease_until = clock_timestamp() + make_interval(secs => $3), progress = greatest(progress, $4)
where id = $1 and attempt = $2 and state = 'in_progress'
returning true

-- name: release
update jobs.jobs
set state = 'queued', lease_until = null, progress = 0, given_back = given_back + 1, ordered_at = null, provider_until = null,
    rests = case when $3 > 0 then rests + 1 else 0 end,
    rests_until = case when $3 > 0 then clock_timestamp() + make_interval(secs => least($3, power(2, least(rests, 20))) * (0.5 + random() / 2)) end
where id = $1 and attempt = $2 and state = 'in_progress' and provider_job is null
returning true

-- name: find
select * from jobs.jobs where id = $1 and project_id = $2 and deleted_at is null

-- name: made_at
select created_at from jobs.jobs where id = $1 and project_id = $2 and kind = $3

-- name: list_newest_first
select * from jobs.jobs
where project_id = $1 and kind = $2 and deleted_at is null
    and ($3::uuid is null or (created_at, id) < ($5::timestamptz, $3))
order by created_at desc, id desc
limit $4

-- name: list_oldest_first
select * from jobs.jobs
where project_id = $1 and kind = $2 and deleted_at is null
    and ($3::uuid is null or (created_at, id) > ($5::timestamptz, $3))
order by created_at, id
limit $4

-- name: mark_deleted
update jobs.jobs set deleted_at = clock_timestamp() where id = $1 and project_id = $2 and deleted_at is null returning true

-- name: objects_to_remove
select id, object_key from jobs.jobs
where object_key is not null and object_gone_at is null and (expires_at < clock_timestamp() or deleted_at is not null)
limit $1

-- name: object_key
select object_key from jobs.jobs where id = $1 and deleted_at is null

-- name: mark_object_gone
update jobs.jobs set object_gone_at = clock_timestamp() where id = $1

-- name: waiting
select count(*) filter (where state = 'queued') as queued, count(*) filter (where state = 'in_progress') as running
from jobs.jobs where state in ('queued', 'in_progress')
