-- Statements of circuit breakers.

-- name: publish
select admission.publish_breakers($1, $2, $3, $4, $5, $6) as answer

-- name: list
-- A pause that is over is over, whenever its process tells so.
select s.engine, s.model, s.state, count(*)::int as processes, min(s.since) as since, max(s.failures) as failures,
    max(extract(epoch from s.retry_at - clock_timestamp()))::float8 as wait_s, max(s.reason) as reason
from (
    select b.engine, b.model, b.failures, b.reason, b.retry_at,
        case when b.state = 'open' and b.retry_at <= clock_timestamp() then 'half_open' else b.state end as state,
        case when b.state = 'open' and b.retry_at <= clock_timestamp() then b.retry_at else b.since end as since
    from admission.breakers b
    where b.seen_at > clock_timestamp() - make_interval(secs => $1)
) s
group by s.engine, s.model, s.state
order by s.engine, s.model, s.state

-- name: list_by_process
select b.process_id, b.process_kind, b.engine, b.model, b.failures, b.openings, b.reason,
    case when b.state = 'open' and b.retry_at <= clock_timestamp() then 'half_open' else b.state end as state,
    case when b.state = 'open' and b.retry_at <= clock_timestamp() then b.retry_at else b.since end as since,
    extract(epoch from b.retry_at - clock_timestamp())::float8 as wait_s
from admission.breakers b
where b.seen_at > clock_timestamp() - make_interval(secs => $1)
order by b.engine, b.model, b.process_id

-- name: reset
select admission.reset_breaker($1, $2, $3, $4)

-- name: incidents
select created_at, data
from admission.events
where type = 'breaker.changed'
order by id desc
limit $1

-- name: forget_process
delete from admission.breakers where process_id = $1
