-- Statements of the job queue.  Rows are born and ended by metering.post, in the ledger's transaction.

-- name: claim
update jobs.jobs
set state = 'in_progress', attempt = attempt + 1, lease_until = clock_timestamp() + make_interval(secs => $2),
    started_at = coalesce(started_at, clock_timestamp()), progress = 0
where id = (
    select id from jobs.jobs
    where kind = $1 and (state = 'queued' or (state = 'in_progress' and lease_until < clock_timestamp()))
    order by created_at, id
    limit 1
    for update skip locked
)
returning *

-- name: heartbeat
update jobs.jobs
set lease_until = clock_timestamp() + make_interval(secs => $3), progress = greatest(progress, $4)
where id = $1 and attempt = $2 and state = 'in_progress'
returning true

-- name: release
update jobs.jobs
set state = 'queued', lease_until = null, progress = 0, given_back = given_back + 1
where id = $1 and attempt = $2 and state = 'in_progress'
returning true

-- name: find
select * from jobs.jobs where id = $1 and project_id = $2 and deleted_at is null

-- name: was_made
select exists (select from jobs.jobs where id = $1 and project_id = $2 and kind = $3)

-- name: list_newest_first
select * from jobs.jobs
where project_id = $1 and kind = $2 and deleted_at is null
    and ($3::uuid is null or (created_at, id) < (select created_at, id from jobs.jobs where id = $3 and project_id = $1))
order by created_at desc, id desc
limit $4

-- name: list_oldest_first
select * from jobs.jobs
where project_id = $1 and kind = $2 and deleted_at is null
    and ($3::uuid is null or (created_at, id) > (select created_at, id from jobs.jobs where id = $3 and project_id = $1))
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
