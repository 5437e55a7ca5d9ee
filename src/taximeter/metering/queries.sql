-- Statements of metering.

-- name: post
select status, total, available
from metering.post($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::jsonb[])
order by pos, status

-- name: receipt
select q.*, r.phase, r.outcome, r.reason, r.work, r.measured, r.consumed_utok, r.lines, r.detail, r.engine_ms, r.settled_at,
    (select coalesce(sum(x.charged_utok), 0)::bigint from metering.receipts x where x.id = q.id) as charged_utok,
    (select jsonb_agg(f order by f.created_at, f.id) from metering.refunds f where f.request_id = q.id) as refunds
from metering.requests q
left join lateral (select * from metering.receipts x where x.id = q.id order by x.phase desc limit 1) r on true
where q.id = $1 and q.project_id = $2

-- name: receipts
select q.*, r.phase, r.outcome, r.reason, r.work, r.measured, r.consumed_utok, r.lines, r.detail, r.engine_ms, r.settled_at,
    (select coalesce(sum(x.charged_utok), 0)::bigint from metering.receipts x where x.id = q.id) as charged_utok,
    (select jsonb_agg(f order by f.created_at, f.id) from metering.refunds f where f.request_id = q.id) as refunds
from metering.requests q
left join lateral (select * from metering.receipts x where x.id = q.id order by x.phase desc limit 1) r on true
where q.project_id = $1 and ($2::uuid is null or q.id < $2)
order by q.id desc
limit $3

-- name: receipts_of
select q.*, r.phase, r.outcome, r.reason, r.work, r.measured, r.consumed_utok, r.lines, r.detail, r.engine_ms, r.settled_at,
    (select coalesce(sum(x.charged_utok), 0)::bigint from metering.receipts x where x.id = q.id) as charged_utok,
    (select jsonb_agg(f order by f.created_at, f.id) from metering.refunds f where f.request_id = q.id) as refunds
from metering.requests q
left join lateral (select * from metering.receipts x where x.id = q.id order by x.phase desc limit 1) r on true
where q.project_id = $1 and q.id = any ($2::uuid[])

-- name: record
select q.id, q.project_id, q.model, q.modality, q.rate_card, q.tariff, q.multiplier, q.held_utok, q.fare, q.created_at,
    (select jsonb_agg(to_jsonb(x) order by x.phase) from metering.receipts x where x.id = q.id) as phases,
    (select jsonb_agg(f order by f.created_at, f.id) from metering.refunds f where f.request_id = q.id) as refunds
from metering.requests q
where q.id = $1 and ($2::uuid is null or q.project_id = $2)

-- name: last_priced
-- Ids begin with their time: the primary key finds the requests since then.
select max(q.created_at)
from metering.requests q
where q.id >= $4 and q.created_at >= $3
    and $2 = case $1
        when 'model' then q.model
        when 'rate_card' then split_part(q.rate_card, '@', 1)
        when 'tariff' then split_part(q.tariff, '@', 1)
        when 'plan' then split_part(q.fare ->> 'plan', '@', 1)
    end

-- name: usage
-- Whole days ($4 up to, not including, $5) from the daily sums and the receipts that are not in them yet; what lies before and
-- after them from the receipts.
select
    case when $6 then u.day end as day,
    case when $7 then u.model end as model,
    case when $8 then u.project_id end as project,
    case when $9 then u.key_id end as key,
    sum(u.requests)::bigint as requests,
    sum(u.failed)::bigint as failed,
    sum(u.consumed_utok)::numeric as consumed_utok,
    sum(u.charged_utok)::numeric as charged_utok,
    sum(u.engine_ms)::numeric as engine_ms
from (
    select d.project_id, d.day, d.model, d.key_id, d.requests, d.failed, d.consumed_utok, d.charged_utok, d.engine_ms
    from metering.usage_daily d
    where d.project_id = $1 and d.day >= $4 and d.day < $5
    union all
    select r.project_id, (r.settled_at at time zone 'UTC')::date, r.model, r.key_id,
           case r.phase when 1 then 1 else 0 end, case r.outcome when 'failed' then 1 else 0 end, r.consumed_utok, r.charged_utok, r.engine_ms
    from (
        select n.project_id, n.settled_at, n.model, n.key_id, n.phase, n.outcome, n.consumed_utok, n.charged_utok, n.engine_ms
        from metering.receipts_not_folded() n
        where n.project_id = $1 and n.settled_at >= $4::date::timestamp at time zone 'UTC' and n.settled_at < $5::date::timestamp at time zone 'UTC'
        union all
        select e.project_id, e.settled_at, e.model, e.key_id, e.phase, e.outcome, e.consumed_utok, e.charged_utok, e.engine_ms
        from metering.receipts e
        where e.project_id = $1 and e.settled_at >= $2 and e.settled_at < least($3, $4::date::timestamp at time zone 'UTC')
        union all
        select e.project_id, e.settled_at, e.model, e.key_id, e.phase, e.outcome, e.consumed_utok, e.charged_utok, e.engine_ms
        from metering.receipts e
        where e.project_id = $1 and e.settled_at >= greatest($2, $5::date::timestamp at time zone 'UTC') and e.settled_at < $3
    ) r
) u
group by 1, 2, 3, 4
order by 1, 2, 3, 4

-- name: drift
-- What was expected of chats beside what was counted, by model.  Ids are in the order of time: the span is a range of the primary keys.
select
    c.model,
    count(*) as requests,
    count(*) filter (where c.measured) as measured,
    coalesce(sum(c.prompt_expected) filter (where c.measured), 0)::numeric as prompt_expected,
    coalesce(sum(c.prompt_counted) filter (where c.measured), 0)::numeric as prompt_counted,
    avg(abs(c.prompt_counted - c.prompt_expected) / greatest(c.prompt_counted, 1)) filter (where c.measured) as prompt_error,
    percentile_cont(0.9) within group (order by (abs(c.prompt_counted - c.prompt_expected) / greatest(c.prompt_counted, 1))::float8)
        filter (where c.measured) as prompt_error_p90,
    coalesce(sum(c.answer_expected) filter (where c.measured), 0)::numeric as answer_expected,
    coalesce(sum(c.answer_counted) filter (where c.measured), 0)::numeric as answer_counted,
    avg(abs(c.answer_counted - c.answer_expected) / greatest(c.answer_counted, 1)) filter (where c.measured) as answer_error,
    percentile_cont(0.9) within group (order by (abs(c.answer_counted - c.answer_expected) / greatest(c.answer_counted, 1))::float8)
        filter (where c.measured) as answer_error_p90
from (
    select
        q.model, r.measured,
        (e.work ->> 'prompt_tokens')::numeric as prompt_expected,
        (r.work ->> 'prompt_tokens')::numeric as prompt_counted,
        (e.work ->> 'total_tokens')::numeric - (e.work ->> 'prompt_tokens')::numeric as answer_expected,
        (r.work ->> 'total_tokens')::numeric - (r.work ->> 'prompt_tokens')::numeric as answer_counted
    from metering.requests q
    join metering.receipts r on r.id = q.id and r.phase = 1
    cross join lateral (select q.fare -> 'work_expected' as work) e
    where q.id >= $1 and q.id < $2 and q.modality = 'chat' and ($3::text is null or q.model = $3)
        and r.outcome in ('completed', 'truncated') and r.work ? 'total_tokens' and e.work ? 'total_tokens'
) c
group by c.model
order by c.model

-- name: fold_usage
select metering.fold_usage($1)

-- name: hello
insert into metering.processes (id, kind, lock_key, server_started_at) values ($1, $2, $3, $4)
on conflict (id) do update
set heartbeat_at = clock_timestamp(), lock_key = excluded.lock_key, server_started_at = excluded.server_started_at

-- name: hold_on
-- Shared, so that two processes with the same key do not wait for each other; they are found out a little later then.
select metering.locks_kept_since() from pg_advisory_lock_shared(7469, $1)

-- name: goodbye
delete from metering.processes where id = $1

-- name: orphans
select h.id, a.lane, q.process_id is not null and h.expires_at >= clock_timestamp() as process_died, j.id is not null as is_job
from (select id, min(debit) as debit, min(expires_at) as expires_at from ledger.holds group by id) h
join ledger.accounts a on a.id = h.debit
left join metering.requests q on q.id = h.id
left join jobs.jobs j on j.id = h.id
where (
        h.expires_at < clock_timestamp()
        -- A provider that may still finish it, and bill it, is asked to the end of its time, and a while longer for the answer.
        and not coalesce(j.state = 'in_progress' and j.provider_until + interval '10 minutes' > clock_timestamp(), false)
    )
    or (
        q.process_id is not null
        and not exists (
            select from metering.processes p
            where p.id = q.process_id and p.heartbeat_at > clock_timestamp() - make_interval(secs => $1)
                -- Of a server that was started again, began anew, or took over from another, nobody has a lock: that says nothing.
                and (
                    p.heartbeat_at > clock_timestamp() - make_interval(secs => $2)
                    or p.server_started_at is distinct from metering.locks_kept_since()
                    or exists (
                        select from pg_locks l
                        where l.locktype = 'advisory' and l.classid = 7469 and l.objid = p.lock_key::oid and l.objsubid = 2 and l.granted
                            and l.database = (select d.oid from pg_database d where d.datname = current_database())
                    )
                )
        )
    )
limit $3

-- name: forget_processes
delete from metering.processes p
where p.heartbeat_at < clock_timestamp() - interval '1 day'
    and not exists (select from metering.requests q join ledger.holds h on h.id = q.id where q.process_id = p.id)


-- name: key
select i.request_id, i.fingerprint = $3 as same, metering.is_released(i.request_id) as released, a.status, a.content_type, a.body,
    exists (select from ledger.holds h where h.id = i.request_id)
    or (
        i.keeps_answer and a.request_id is null
        and exists (select from metering.receipts r where r.id = i.request_id and r.settled_at > clock_timestamp() - make_interval(secs => $4))
    ) as running
from metering.idempotency i
left join metering.idempotent_answers a on a.request_id = i.request_id
where i.project_id = $1 and i.key = $2

-- name: keep_answer
insert into metering.idempotent_answers (request_id, status, content_type, body) values ($1, $2, $3, $4)
on conflict (request_id) do nothing

-- name: forget_keys
select metering.forget_keys($1, $2)

-- name: refund
select outcome, charged_utok, left_utok, (refund).* from metering.refund($1, $2, $3, $4, $5, $6)

-- name: refunds
select * from metering.refunds where request_id = $1 order by created_at, id

-- name: was_requested
select exists (select from metering.requests where id = $1)

-- name: refund_totals
select count(*) as refunds, coalesce(sum(amount_utok), 0)::bigint as refunded_utok from metering.refunds

-- name: usage_refunds
select
    case when $4 then (r.settled_at at time zone 'UTC')::date end as day,
    case when $5 then q.model end as model,
    case when $6 then q.project_id end as project,
    case when $7 then q.key_id end as key,
    sum(f.amount_utok)::numeric as refunded_utok
from metering.refunds f
join metering.requests q on q.id = f.request_id
join lateral (select max(x.settled_at) as settled_at from metering.receipts x where x.id = q.id and x.charged_utok > 0) r on true
where f.project_id = $1 and f.created_at >= $2 and r.settled_at >= $2 and r.settled_at < $3
group by 1, 2, 3, 4
-- name: settled_by
-- The receipts of these ends: a hold that expired and was settled late has one of each, and 8 in the log is a settlement that came late.
select count(*) as receipts, coalesce(sum(r.charged_utok), 0)::bigint as charged_utok
from unnest($1::uuid[], $3::smallint[]) e (id, kind)
join metering.receipts r on r.id = e.id and r.settled_by = $2
join ledger.transfers t on t.id = r.id and t.leg = 0 and t.phase = r.phase and (t.kind = e.kind or e.kind = 2 and t.kind = 8)

-- name: report_counters
insert into metering.process_counters (process_id, kind, receipts, charged_utok, uncertain, ended) values ($1, $2, $3, $4, $5, $6)
on conflict (process_id) do update
set receipts = excluded.receipts, charged_utok = excluded.charged_utok, uncertain = excluded.uncertain, ended = excluded.ended,
    reported_at = clock_timestamp()

-- name: counters
select kind, sum(receipts)::bigint as receipts, sum(charged_utok)::bigint as charged_utok from metering.process_counters group by kind order by kind

-- name: reconciliations
select name, differences, unexplained_utok, seconds, extract(epoch from ran_at) as ran_at_s, extract(epoch from agreed_at) as agreed_at_s
from metering.reconciliations order by name
