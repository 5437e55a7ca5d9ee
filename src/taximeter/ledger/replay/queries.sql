-- Statements of the replay.  They share nothing with the ledger's own, on purpose.

-- name: rows
select count(*) from ledger.transfers

-- name: log
select id, leg, phase, kind, status, debit, credit, amount, hold_amount, cascade, requested, total, lane, octet_length(digest)
from ledger.transfers
order by lane, batch, pos, leg

-- name: accounts
select id, unit, lane, flags & 1 = 1 as limited, debits_pending, debits_posted, credits_pending, credits_posted
from ledger.accounts
order by id

-- name: holds
select id, leg, debit, credit, amount, cascade, expires_at < clock_timestamp() as overdue from ledger.holds order by id, leg

-- name: pending
-- What the open holds add up to, by account.
select a.id, a.debits_pending, a.credits_pending, coalesce(d.amount, 0)::bigint as held_debits, coalesce(c.amount, 0)::bigint as held_credits
from ledger.accounts a
left join (select debit as id, sum(amount) as amount from ledger.holds group by debit) d on d.id = a.id
left join (select credit as id, sum(amount) as amount from ledger.holds group by credit) c on c.id = a.id
where a.debits_pending <> coalesce(d.amount, 0) or a.credits_pending <> coalesce(c.amount, 0)
order by a.id

-- name: never_released
-- Of these late settlements: those whose hold was not released before.
select l.id
from unnest($1::uuid[]) l (id)
where not exists (select from ledger.transfers t where t.id = l.id and t.leg = 0 and t.phase = 1 and t.kind in (3, 4))
order by l.id

-- name: is_metered
select exists (select from metering.requests) or exists (select from metering.receipts) or exists (select from identity.projects)

-- name: holds_and_requests
-- One hold for each request, for the same amount.
with compared as (
    select coalesce(t.id, q.id) as id, t.total as expected, q.held_utok as found,
           case
               when q.id is null then 'hold without a request'
               when t.id is null then 'request without a hold'
               when t.total <> q.held_utok then 'amount of a request'
           end as kind
    from (select id, total from ledger.transfers where leg = 0 and phase = 0 and kind = 1 and status = 0) t
    full join metering.requests q on q.id = t.id
)
select kind, count(*) as differing, (array_agg(id order by id))[1] as id, 0::smallint as phase,
       coalesce((array_agg(expected order by id))[1]::text, 'none') as expected,
       coalesce((array_agg(found order by id))[1]::text, 'none') as found
from compared where kind is not null
group by kind order by kind

-- name: resolutions_and_receipts
-- One receipt for each settlement, for the amounts that wallet and operator paid.  A release may have none: the hold of a
-- caller who was told that nothing was held.
with compared as (
    select coalesce(t.id, r.id) as id, coalesce(t.phase, r.phase) as phase,
           t.total || ' and ' || t.borne as expected, r.charged_utok || ' and ' || r.shortfall_utok as found,
           case
               when t.id is null then 'receipt without a resolution'
               when r.id is null and t.kind in (2, 8) then 'settlement without a receipt'
               when r.charged_utok <> t.total or r.shortfall_utok <> t.borne then 'amount of a receipt'
           end as kind
    from (
        select id, phase, kind, total, case when kind in (2, 8) then requested - total else 0 end as borne
        from ledger.transfers where leg = 0 and phase > 0
    ) t
    full join metering.receipts r on r.id = t.id and r.phase = t.phase
)
select kind, count(*) as differing, (array_agg(id order by id, phase))[1] as id, (array_agg(phase order by id, phase))[1] as phase,
       coalesce((array_agg(expected order by id, phase))[1], 'none') as expected,
       coalesce((array_agg(found order by id, phase))[1], 'none') as found
from compared where kind is not null
group by kind order by kind

-- name: refunds_and_transfers
-- One transfer (code 102) for each refund, for the same amount.
with compared as (
    select coalesce(t.id, f.id) as id, t.total as expected, f.amount_utok as found,
           case
               when f.id is null then 'transfer of a refund without its row'
               when t.id is null then 'refund without a transfer'
               when t.total <> f.amount_utok then 'amount of a refund'
           end as kind
    from (select id, total from ledger.transfers where leg = 0 and phase = 0 and kind = 5 and status = 0 and code = 102) t
    full join metering.refunds f on f.id = t.id
)
select kind, count(*) as differing, (array_agg(id order by id))[1] as id, 0::smallint as phase,
       coalesce((array_agg(expected order by id))[1]::text, 'none') as expected,
       coalesce((array_agg(found order by id))[1]::text, 'none') as found
from compared where kind is not null
group by kind order by kind

-- name: grants_and_transfers
-- One transfer (code 103) for each grant on terms, one (104) for each expiry, one (105 to 109) for each entry that is kept with its
-- operator, for the same amounts.
with compared as (
    select coalesce(t.id, g.id) as id, t.total as expected, g.amount_utok as found, 'grant' as noun
    from (select id, total from ledger.transfers where leg = 0 and phase = 0 and kind = 5 and status = 0 and code = 103) t
    full join admission.grants g on g.id = t.id
    union all
    select coalesce(t.id, e.id), t.total, e.amount_utok, 'expiry'
    from (select id, total from ledger.transfers where leg = 0 and phase = 0 and kind = 5 and status = 0 and code = 104) t
    full join admission.expiries e on e.id = t.id
    union all
    select coalesce(t.id, a.id), t.total, abs(a.amount_utok), 'adjustment'
    from (select id, total from ledger.transfers where leg = 0 and phase = 0 and kind = 5 and status = 0 and code between 105 and 109) t
    full join (select id, amount_utok from admission.adjustments where kind not in ('top_up', 'grant')) a on a.id = t.id
),
judged as (
    select c.*,
           case
               when c.found is null then 'transfer without its ' || c.noun
               when c.expected is null then c.noun || ' without a transfer'
               when c.expected <> c.found then 'amount of ' || case c.noun when 'grant' then 'a grant' else 'an ' || c.noun end
           end as kind
    from compared c
)
select kind, count(*) as differing, (array_agg(id order by id))[1] as id, 0::smallint as phase,
       coalesce((array_agg(expected order by id))[1]::text, 'none') as expected,
       coalesce((array_agg(found order by id))[1]::text, 'none') as found
from judged where kind is not null
group by kind order by kind

-- name: expired_unspent
-- What the operator has of expired grants is what the expiries say, and no grant that is closed has anything left.
select j.kind, 1 as differing, '00000000-0000-0000-0000-000000000000'::uuid as id, 0::smallint as phase, j.expected, j.found
from (
    select 'sum of expiries' as kind, coalesce(sum(a.credits_posted), 0)::text as expected,
           (select coalesce(sum(e.amount_utok), 0)::text from admission.expiries e) as found
    from ledger.accounts a where a.code = 14
    union all
    select 'closed grants with something left', '0',
           (
               select count(*)::text from admission.grants g join ledger.accounts a on a.id = g.account
               where g.closed_at is not null and a.credits_posted <> a.debits_posted
           )
    union all
    select 'credit lines', coalesce(sum(a.debits_posted - a.credits_posted), 0)::text,
           (select coalesce(sum(c.lent_utok), 0)::text from admission.credit_accounts c)
    from ledger.accounts a where a.code = 16
) j
where j.expected <> j.found

-- name: budgets_and_accounts
-- Each budget has its account; a hard one's is limited; credits are those of its period, unless the next hold brings them there.
-- The operator's accounts of code 15 mirror all of them together.
with compared as (
    select b.id, a.credits_posted as found, b.base_utok + b.limit_utok as expected,
           case
               when a.id is null or a.code <> 4 then 'budget without an account'
               when b.hard <> (a.flags & 1 = 1) then 'budget whose account is not as hard as it'
               when not b.unaligned and b.removed_at is null and a.credits_posted <> b.base_utok + b.limit_utok then 'credits of a budget'
           end as kind
    from admission.budgets b
    left join ledger.accounts a on a.id = b.account
    where b.account is not null
    union all
    select '00000000-0000-0000-0000-000000000000'::uuid, m.others, m.budgets,
           case when m.budgets <> m.others then 'other side of all budgets' end
    from (
        select coalesce(sum(a.credits_posted - a.debits_posted) filter (where b.id is not null), 0)::bigint as budgets,
               coalesce(sum(a.debits_posted - a.credits_posted) filter (where a.code = 15), 0)::bigint as others
        from ledger.accounts a left join admission.budgets b on b.account = a.id
    ) m
)
select kind, count(*) as differing, (array_agg(id order by id))[1] as id, 0::smallint as phase,
       coalesce((array_agg(expected order by id))[1]::text, 'none') as expected,
       coalesce((array_agg(found order by id))[1]::text, 'none') as found
from compared where kind is not null
group by kind order by kind

-- name: ends_of_requests
-- A request without a receipt is held, or was released; one with a receipt is not held any more.
with compared as (
    select q.id,
           case
               when not exists (select from ledger.holds h where h.id = q.id)
                   and not exists (select from ledger.transfers t where t.id = q.id and t.leg = 0 and t.phase = 1)
               then 'request that is neither held nor ended'
           end as kind
    from metering.requests q
    where not exists (select from metering.receipts r where r.id = q.id)
)
select kind, count(*) as differing, (array_agg(id order by id))[1] as id, 1::smallint as phase, 'a hold or an end' as expected, 'none' as found
from compared where kind is not null
group by kind order by kind

-- name: ends_of_jobs
-- Completed: settled, by the wallet or the operator.  Failed: released, and nothing charged since.  Neither: held.
with compared as (
    select j.id, j.state, r.kind as resolution, l.id is not null as is_late,
           case
               when j.state = 'completed' and r.kind is distinct from 2 and l.id is null then 'completed job that was not settled'
               when j.state = 'failed' and (r.kind is null or r.kind not in (3, 4) or l.id is not null) then 'failed job that was not released'
               when j.state in ('queued', 'in_progress') and not exists (select from ledger.holds h where h.id = j.id)
               then 'unfinished job without a hold'
           end as kind
    from jobs.jobs j
    left join ledger.transfers r on r.id = j.id and r.leg = 0 and r.phase = 1
    left join ledger.transfers l on l.id = j.id and l.leg = 0 and l.phase = 2
)
select kind, count(*) as differing, (array_agg(id order by id))[1] as id, 1::smallint as phase,
       case kind when 'completed job that was not settled' then 'kind 2' when 'failed job that was not released' then 'kind 3 or 4 alone' else 'an open hold' end
           as expected,
       coalesce('kind ' || (array_agg(resolution order by id))[1], 'none')
           || case when (array_agg(is_late order by id))[1] then ' and a late settlement' else '' end as found
from compared where kind is not null
group by kind order by kind

-- name: logged
-- What the log has of these ids, for acknowledgements: the first leg of each phase.
select t.id, t.phase, t.kind, t.status, t.total
from unnest($1::uuid[]) a (id)
cross join lateral (select * from ledger.transfers x where x.id = a.id and x.leg = 0 offset 0) t
