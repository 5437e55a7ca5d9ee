-- Statements of the reconciliation.  Each compares within one snapshot; a receipt is committed together with its row of the log.

-- name: positions
-- Lanes in use, and up to where they were compared.
select p.lane, p.reconciled
from metering.usage_positions p
join ledger.accounts a on a.id = 1100 + p.lane and a.id between 1100 and 1163 and a.version > 0
order by p.lane

-- name: next_batch
select max(x.batch) from (select t.batch from ledger.transfers t where t.lane = $1 and t.batch > $2 and t.leg = 0 order by t.batch limit $3) x

-- name: move
update metering.usage_positions set reconciled = $2 where lane = $1

-- name: log
-- Some batches of a lane: each settlement has its receipt and each hold its request, for the same amounts, in the project that
-- owns the wallet.  A release may have no receipt: the hold of a caller who was told that nothing was held.
with logged as materialized (
    select t.id, t.phase, t.kind, t.total, case when t.kind in (2, 8) then t.requested - t.total else 0 end as borne, t.ts, t.debit
    from ledger.transfers t
    where t.lane = $1 and t.batch > $2 and t.batch <= $3 and t.leg = 0 and t.status = 0 and t.kind in (1, 2, 3, 4, 8)
),
paired as (
    select 'ledger_receipts' as name, l.id, l.phase, l.total + l.borne as ours, coalesce(r.charged_utok + r.shortfall_utok, 0) as theirs,
           r.id is not null or l.kind in (2, 8) as counts,
           r.id is null or r.charged_utok <> l.total or r.shortfall_utok <> l.borne or r.project_id is distinct from a.owner as differs,
           coalesce(r.settled_at, l.ts) as at
    from logged l
    left join lateral (select * from metering.receipts x where x.id = l.id and x.phase = l.phase offset 0) r on true
    left join ledger.accounts a on a.id = l.debit
    where l.phase > 0
    union all
    select 'holds_requests', l.id, l.phase, l.total, coalesce(q.held_utok, 0), true,
           q.id is null or q.held_utok <> l.total or q.project_id is distinct from a.owner, coalesce(q.created_at, l.ts)
    from logged l
    left join lateral (select * from metering.requests x where x.id = l.id offset 0) q on true
    left join ledger.accounts a on a.id = l.debit
    where l.phase = 0
)
select p.name, count(*) as compared, sum(p.ours) as left_utok, sum(p.theirs) as right_utok, count(*) filter (where p.differs) as differences,
       coalesce(sum(abs(p.ours - p.theirs)) filter (where p.differs), 0) as unexplained_utok,
       (array_agg(p.id || '/' || p.phase order by p.id, p.phase) filter (where p.differs))[1:5] as first
from paired p
where p.counts and p.at >= $4::date::timestamp at time zone 'UTC' and p.at < $5::date::timestamp at time zone 'UTC'
group by p.name

-- name: not_in_the_log
-- The other way round: receipts and requests that the log does not know.
select 'ledger_receipts' as name, count(*) as compared, 0 as left_utok, coalesce(sum(r.charged_utok + r.shortfall_utok), 0) as right_utok,
       count(*) as differences, coalesce(sum(r.charged_utok + r.shortfall_utok), 0) as unexplained_utok,
       (array_agg(r.id || '/' || r.phase order by r.id))[1:5] as first
from metering.receipts r
where r.settled_at >= $1::date::timestamp at time zone 'UTC' and r.settled_at < $2::date::timestamp at time zone 'UTC'
    and not exists (select from ledger.transfers t where t.id = r.id and t.leg = 0 and t.phase = r.phase)
union all
select 'holds_requests', count(*), 0, coalesce(sum(q.held_utok), 0), count(*), coalesce(sum(q.held_utok), 0), (array_agg(q.id || '/0' order by q.id))[1:5]
from metering.requests q
where q.created_at >= $1::date::timestamp at time zone 'UTC' and q.created_at < $2::date::timestamp at time zone 'UTC'
    and not exists (select from ledger.transfers t where t.id = q.id and t.leg = 0 and t.phase = 0)

-- name: rollups
-- Days from $1 up to, not including, $2: what the receipts add up to, against the daily sums and what is not in them yet.
with counted as (
    select r.project_id, (r.settled_at at time zone 'UTC')::date as day, r.key_id, r.model, r.modality,
           count(*) filter (where r.phase = 1) as requests, count(*) as receipts, count(*) filter (where r.outcome = 'failed') as failed,
           sum(r.consumed_utok) as consumed, sum(r.charged_utok) as charged, sum(r.shortfall_utok) as shortfall, sum(r.engine_ms) as engine_ms
    from identity.projects p
    join metering.receipts r on r.project_id = p.id
        and r.settled_at >= $1::date::timestamp at time zone 'UTC' and r.settled_at < $2::date::timestamp at time zone 'UTC'
    group by 1, 2, 3, 4, 5
),
summed as (
    select s.project_id, s.day, s.key_id, s.model, s.modality, sum(s.requests) as requests, sum(s.receipts) as receipts, sum(s.failed) as failed,
           sum(s.consumed_utok) as consumed, sum(s.charged_utok) as charged, sum(s.shortfall_utok) as shortfall, sum(s.engine_ms) as engine_ms
    from (
        select project_id, day, key_id, model, modality, requests, receipts, failed, consumed_utok, charged_utok, shortfall_utok, engine_ms
        from metering.usage_daily where day >= $1 and day < $2
        union all
        select n.project_id, (n.settled_at at time zone 'UTC')::date, n.key_id, n.model, n.modality, case n.phase when 1 then 1 else 0 end, 1,
               case n.outcome when 'failed' then 1 else 0 end, n.consumed_utok, n.charged_utok, n.shortfall_utok, n.engine_ms
        from metering.receipts_not_folded() n
        where n.settled_at >= $1::date::timestamp at time zone 'UTC' and n.settled_at < $2::date::timestamp at time zone 'UTC'
    ) s
    group by 1, 2, 3, 4, 5
),
paired as (
    select coalesce(c.project_id, s.project_id) as project_id, coalesce(c.day, s.day) as day, coalesce(c.model, s.model) as model,
           coalesce(c.key_id, s.key_id) as key_id,
           coalesce(c.charged + c.shortfall, 0) as ours, coalesce(s.charged + s.shortfall, 0) as theirs,
           (c.requests, c.receipts, c.failed, c.consumed, c.charged, c.shortfall, c.engine_ms)
               is distinct from (s.requests, s.receipts, s.failed, s.consumed, s.charged, s.shortfall, s.engine_ms) as differs
    from counted c
    full join summed s on s.project_id = c.project_id and s.day = c.day and s.key_id = c.key_id and s.model = c.model and s.modality = c.modality
)
select 'receipts_rollups' as name, count(*) as compared, coalesce(sum(ours), 0) as left_utok, coalesce(sum(theirs), 0) as right_utok,
       count(*) filter (where differs) as differences, coalesce(sum(abs(ours - theirs)) filter (where differs), 0) as unexplained_utok,
       (array_agg(day || ' ' || model || ' project ' || project_id || ' key ' || key_id order by day, project_id, model, key_id)
           filter (where differs))[1:5] as first
from paired

-- name: receipts_of_days
-- About how many receipts these days have.
select coalesce(sum(receipts), 0)::bigint from metering.usage_daily where day >= $1 and day < $2

-- name: revenue
-- All daily sums together against the operator's accounts: what was charged went to revenue, and what no wallet covered came
-- from the shortfall account.  Nothing leaves revenue but refunds.
with summed as (
    select coalesce(sum(s.charged), 0) as charged, coalesce(sum(s.shortfall), 0) as shortfall
    from (
        select sum(charged_utok) as charged, sum(shortfall_utok) as shortfall from metering.usage_daily
        union all
        select sum(charged_utok), sum(shortfall_utok) from metering.receipts_not_folded()
    ) s
),
booked as (
    select coalesce(sum(credits_posted) filter (where id between 1100 and 1163), 0) as revenue,
           coalesce(sum(debits_posted) filter (where id between 1300 and 1363), 0) as shortfall,
           coalesce(sum(debits_posted) filter (where id between 1100 and 1163), 0) as refunds
    from ledger.accounts where id between 1100 and 1363
),
paired as (
    select 'revenue' as account, b.revenue as ours, s.charged + s.shortfall as theirs from booked b, summed s
    union all
    select 'shortfall', b.shortfall, s.shortfall from booked b, summed s
    union all
    select 'refunds', b.refunds, (select coalesce(sum(f.amount_utok), 0) from metering.refunds f) from booked b
)
select 'revenue_rollups' as name, count(*) as compared, sum(ours) filter (where account = 'revenue') as left_utok,
       sum(theirs) filter (where account = 'revenue') as right_utok, count(*) filter (where ours <> theirs) as differences,
       coalesce(sum(abs(ours - theirs)), 0) as unexplained_utok, array_agg(account order by account) filter (where ours <> theirs) as first
from paired

-- name: now
select clock_timestamp()

-- name: written
-- What the receipts say of each process.
select w.process_id, sum(w.receipts)::bigint as receipts, sum(w.charged_utok)::bigint as charged_utok
from (
    select process_id, receipts, charged_utok from metering.process_usage
    union all
    select settled_by, 1, charged_utok from metering.receipts_not_folded() where settled_by is not null
) w
group by 1

-- name: waiting_for
-- Of these processes, those that live and have not reported since $2.
select count(*)
from metering.processes p
left join metering.process_counters c on c.process_id = p.id
where p.id = any ($1::uuid[]) and p.heartbeat_at > clock_timestamp() - make_interval(secs => $3)
    and (c.process_id is null or (c.reported_at < $2 and not c.ended))

-- name: counted
-- What each process counted, whether that is news ($1), and what the receipts say of it now.
with written as (
    select w.process_id, sum(w.receipts)::bigint as receipts, sum(w.charged_utok)::bigint as charged_utok
    from (
        select process_id, receipts, charged_utok from metering.process_usage
        union all
        select settled_by, 1, charged_utok from metering.receipts_not_folded() where settled_by is not null
    ) w
    group by 1
)
select coalesce(c.process_id, w.process_id) as process_id, coalesce(c.kind, p.kind, 'unknown') as kind,
       coalesce(c.receipts, 0) as counted, coalesce(c.charged_utok, 0) as counted_utok,
       coalesce(w.receipts, 0) as written, coalesce(w.charged_utok, 0) as written_utok,
       coalesce(c.ended, false) as ended, coalesce(c.uncertain = 0 and c.reported_at >= $1, false) as is_news,
       coalesce(p.heartbeat_at > clock_timestamp() - make_interval(secs => $2), false) as lives
from metering.process_counters c
full join written w on w.process_id = c.process_id
left join metering.processes p on p.id = coalesce(c.process_id, w.process_id)
order by 1

-- name: reported
select kind, sum(receipts)::bigint as receipts, sum(charged_utok)::bigint as charged_utok from metering.process_counters group by kind

-- name: files
-- Results that must be in the object store: a page after the id $2.
select j.id, j.object_key, j.object_bytes
from jobs.jobs j
where j.state = 'completed' and j.object_gone_at is null and j.deleted_at is null and j.completed_at < $1
    and (j.expires_at is null or j.expires_at > clock_timestamp() + interval '1 minute') and j.id > $2
order by j.id
limit $3

-- name: file_is_expected
select exists (
    select from jobs.jobs j
    where j.id = $1 and j.object_key = $2 and j.object_gone_at is null and j.deleted_at is null
        and (j.expires_at is null or j.expires_at > clock_timestamp() + interval '1 minute')
)

-- name: files_in_use
-- Of these keys, those that a job needs or may yet need, or that wait for their removal.
select f.key
from unnest($1::uuid[], $2::text[]) f (id, key)
join jobs.jobs j on j.id = f.id
where j.state in ('queued', 'in_progress') or (j.object_key = f.key and j.object_gone_at is null)

-- name: keep
with before as (select differences from metering.reconciliations where name = $1),
kept as (
    insert into metering.reconciliations as r (name, compared, differences, unexplained_utok, detail, seconds, agreed_at)
    values ($1, $2, $3, $4, $5, $6, case when $3::bigint = 0 then clock_timestamp() end)
    on conflict (name) do update
    set compared = excluded.compared, differences = excluded.differences, unexplained_utok = excluded.unexplained_utok, detail = excluded.detail,
        seconds = excluded.seconds, ran_at = clock_timestamp(), agreed_at = coalesce(excluded.agreed_at, r.agreed_at)
)
select coalesce((select differences from before), 0)

-- name: last
select detail, extract(epoch from clock_timestamp() - ran_at)::double precision as age_s from metering.reconciliations where name = $1

-- name: lock
select pg_try_advisory_lock(7467, 1)

-- name: unlock
select pg_advisory_unlock(7467, 1)
