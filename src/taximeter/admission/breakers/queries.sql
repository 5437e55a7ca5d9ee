-- Statements of circuit breakers.

-- name: publish
select admission.publish_breakers($1, $2, $3, $4, $5, $6) as answer

-- name: list
select b.engine, b.model, b.state, count(*)::int as processes, min(b.since) as since, max(b.failures) as failures,
    max(extract(epoch from b.retry_at - clock_timestamp()))::float8 as wait_s, max(b.reason) as reason
from admission.breakers b
where b.seen_at > clock_timestamp() - make_interval(secs => $1)
group by b.engine, b.model, b.state
order by b.engine, b.model, b.state

-- name: list_by_process
select b.process_id, b.process_kind, b.engine, b.model, b.state, b.since, b.failures, b.openings, b.reason,
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
