-- Statements of approvals.  Each reads a row as it stands now: overdue ones have expired before anybody has noted it, approved
-- ones are used when a request has taken their quote and was not released.

-- name: waiting
-- What a request waits for already: under its own name, else the same job.
select a.*, null::uuid as used_by, a.state as state_now
from admission.approvals a
where a.project_id = $1 and a.expires_at > clock_timestamp() and a.idempotency_key is not distinct from $3
    and (a.fingerprint = $2 or $3::text is not null)
    and (
        a.state = 'pending'
        or a.state = 'approved' and not exists (
            select from metering.quote_uses u where u.quote_id = a.quote_id and not metering.is_released(u.request_id)
        )
    )
order by a.id desc
limit 1

-- name: insert
insert into admission.approvals (
    id, project_id, key_id, model, modality, is_job, request, normal, fingerprint, idempotency_key, key_fingerprint, plan, cap_utok, maximum_utok,
    quote_id, quote, expires_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
on conflict do nothing
returning *, null::uuid as used_by, state as state_now

-- name: find
select
    a.*, u.request_id as used_by,
    case
        when a.state = 'pending' and a.expires_at <= clock_timestamp() then 'expired'
        when a.state = 'approved' and u.request_id is not null then 'used'
        else a.state
    end as state_now
from admission.approvals a
left join metering.quote_uses u on u.quote_id = a.quote_id and not metering.is_released(u.request_id)
where ($1::uuid is null or a.id = $1) and ($2::uuid is null or a.project_id = $2) and ($3::uuid is null or a.quote_id = $3)

-- name: page
select p.*
from (
    select a.*, u.request_id as used_by,
        case
            when a.state = 'pending' and a.expires_at <= clock_timestamp() then 'expired'
            when a.state = 'approved' and u.request_id is not null then 'used'
            else a.state
        end as state_now
    from admission.approvals a
    left join metering.quote_uses u on u.quote_id = a.quote_id and not metering.is_released(u.request_id)
    where ($1::uuid is null or a.id < $1) and ($2::uuid is null or a.project_id = $2)
) p
where $3::text is null or p.state_now = $3
order by p.id desc
limit $4

-- name: history
select state, operator, reason, at from admission.approval_history where approval_id = $1 order by at

-- name: parked_newest_first
select a.*, null::uuid as used_by, case when a.state = 'pending' and a.expires_at <= clock_timestamp() then 'expired' else a.state end as state_now
from admission.approvals a
where a.project_id = $1 and a.is_job and a.state in ('pending', 'declined', 'expired') and a.deleted_at is null
    and ($2::uuid is null or (a.created_at, a.id) < ($3::timestamptz, $2))
order by a.created_at desc, a.id desc
limit $4

-- name: parked_oldest_first
select a.*, null::uuid as used_by, case when a.state = 'pending' and a.expires_at <= clock_timestamp() then 'expired' else a.state end as state_now
from admission.approvals a
where a.project_id = $1 and a.is_job and a.state in ('pending', 'declined', 'expired') and a.deleted_at is null
    and ($2::uuid is null or (a.created_at, a.id) > ($3::timestamptz, $2))
order by a.created_at, a.id
limit $4

-- name: find_parked
select a.*, null::uuid as used_by, case when a.state = 'pending' and a.expires_at <= clock_timestamp() then 'expired' else a.state end as state_now
from admission.approvals a
where a.id = $1 and a.project_id = $2 and a.is_job and a.state in ('pending', 'declined', 'expired') and a.deleted_at is null

-- name: made_at
select created_at from admission.approvals where id = $1 and project_id = $2 and is_job

-- name: decide
select admission.decide($1, $2, $3, $4)

-- name: submit_approved
select status, total, available
from metering.submit_approved($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15::jsonb[])
order by pos, status

-- name: set_problem
update admission.approvals set problem = left($2, 1000) where id = $1 and state = 'pending'

-- name: hide
update admission.approvals set deleted_at = clock_timestamp() where id = $1 and deleted_at is null

-- name: expire
select admission.expire_approvals($1)

-- name: note_used
select metering.note_used_approvals($1)

-- name: figures
select count(*) as pending, coalesce(max(extract(epoch from clock_timestamp() - created_at)), 0)::float8 as oldest_s
from admission.approvals where state = 'pending' and expires_at > clock_timestamp()
