-- Statements of events and webhooks.

-- name: emit
select admission.emit($1, $2, $3::jsonb, $4)

-- name: events
select id, type, project_id, data, created_at
from admission.events
where ($1::uuid is null or id < $1) and ($2::text is null or type = $2 or starts_with(type, $2 || '.')) and ($3::uuid is null or project_id = $3)
order by id desc
limit $4

-- name: insert
insert into admission.webhooks (id, project_id, organisation_id, url, types, secret)
values ($1, $2, $3, $4, $5, $6)
returning *

-- name: find
select * from admission.webhooks where id = $1

-- name: list
select * from admission.webhooks
where ($1::uuid is null or id < $1) and ($2::uuid is null or project_id = $2)
order by id desc
limit $3

-- name: update
-- What is null stays as it is.
update admission.webhooks
set url = coalesce($2, url),
    types = coalesce($3, types),
    disabled_at = case when $4::boolean then coalesce(disabled_at, clock_timestamp()) when not $4 then null else disabled_at end,
    disabled_reason = case when $4 then coalesce(disabled_reason, $5) when not $4 then null else disabled_reason end
where id = $1
returning *

-- name: rotate
update admission.webhooks
set old_secret = case when $3::float8 > 0 then secret end,
    old_secret_until = case when $3::float8 > 0 then clock_timestamp() + make_interval(secs => $3) end,
    secret = $2
where id = $1
returning *

-- name: delete
delete from admission.webhooks where id = $1 returning true

-- name: test
select admission.test_webhook($1)

-- name: deliveries
select
    d.*, e.type,
    (
        select jsonb_agg(
            jsonb_build_object('at', a.made_at, 'response_status', a.response_status, 'error', a.error, 'duration_ms', a.duration_ms)
            order by a.made_at
        )
        from admission.delivery_attempts a where a.delivery_id = d.id
    ) as history
from admission.deliveries d
join admission.events e on e.id = d.event_id
where d.webhook_id = $1 and ($2::uuid is null or d.id < $2) and ($3::text is null or d.state = $3) and ($4::uuid is null or d.id = $4)
order by d.id desc
limit $5

-- name: resend
-- From the beginning: all ten attempts again.  One that is on its way now is not disturbed.
update admission.deliveries
set state = 'pending', attempts = 0, next_at = clock_timestamp(), ended_at = null
where webhook_id = $1 and state <> 'pending' and ($2::uuid is null or id = $2) and ($2::uuid is not null or state = 'failed')
returning id

-- name: fan_out
select admission.fan_out($1)

-- name: claim
-- Of each webhook the oldest that are due; not of those ($2) that are busy, so that a slow one does not keep the others waiting.
-- Until its report, an attempt is taken for lost after so many seconds ($3).
with chosen as (
    select d.id
    from admission.webhooks w
    cross join lateral (
        select x.id, x.next_at
        from admission.deliveries x
        where x.webhook_id = w.id and x.state = 'pending' and x.next_at <= clock_timestamp() and x.attempts < $5
        order by x.next_at, x.id
        limit $4
        for update skip locked
    ) d
    where w.disabled_at is null and w.id <> all ($2::uuid[])
    order by d.next_at
    limit $1
)
update admission.deliveries d
set attempts = d.attempts + 1, next_at = clock_timestamp() + make_interval(secs => $3)
from chosen c, admission.webhooks w, admission.events e
where d.id = c.id and w.id = d.webhook_id and e.id = d.event_id
returning
    d.id, d.webhook_id, w.url, w.secret,
    case when w.old_secret_until > clock_timestamp() then w.old_secret end as old_secret,
    d.attempts as attempt, e.id as event_id, e.type, e.project_id, e.data, e.created_at

-- name: report
-- Only the attempt that was made last may: an older one whose worker was taken for dead says nothing any more.
with reported as (
    update admission.deliveries
    set state = $3, response_status = $4, error = $5,
        next_at = case when $3 = 'pending' then clock_timestamp() + make_interval(secs => $6) else next_at end,
        ended_at = case when $3 <> 'pending' then clock_timestamp() end
    where id = $1 and attempts = $2 and state = 'pending'
    returning id
), noted as (
    insert into admission.delivery_attempts (delivery_id, response_status, error, duration_ms)
    select r.id, $4, $5, $7 from reported r
)
select exists (select from reported)

-- name: put_back
-- The worker stops before the answer: another one makes this attempt again.
update admission.deliveries
set attempts = attempts - 1, next_at = clock_timestamp()
where id = $1 and attempts = $2 and state = 'pending'

-- name: give_up_lost
-- Whose worker died during the last attempt.
update admission.deliveries
set state = 'failed', ended_at = clock_timestamp(), error = 'the worker that made the last attempt died'
where state = 'pending' and attempts >= $1 and next_at < clock_timestamp()

-- name: disable
with ended as (
    update admission.webhooks set disabled_at = clock_timestamp(), disabled_reason = $2 where id = $1 and disabled_at is null
    returning *
)
select admission.emit(
    'webhook.disabled', d.project_id,
    jsonb_strip_nulls(jsonb_build_object(
        'webhook', admission.public_id('whk', d.id), 'reason', d.disabled_reason,
        'organisation_id', case when d.organisation_id is not null then admission.public_id('org', d.organisation_id) end
    ))
)
from ended d

-- name: forget
with gone as (
    delete from admission.deliveries d
    where d.id in (
        select x.id from admission.deliveries x
        where x.state <> 'pending' and x.ended_at < clock_timestamp() - make_interval(secs => $1)
        order by x.ended_at
        limit $2
    )
    returning 1
)
select count(*)::int from gone

-- name: figures
select
    count(*) filter (where d.state = 'pending') as pending,
    coalesce(max(extract(epoch from clock_timestamp() - d.created_at)) filter (where d.state = 'pending'), 0)::float8 as oldest_s,
    count(*) filter (where d.state = 'failed') as failed,
    (select count(*) from admission.webhooks w where w.disabled_at is not null) as disabled
from admission.deliveries d
where d.state <> 'delivered'
