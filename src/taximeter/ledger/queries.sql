-- Statements of the ledger.  All writing goes through ledger.post.

-- name: post
select status, total, available
from ledger.post($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
order by pos

-- name: open_account
select ledger.open_account($1, $2, $3, $4)

-- name: ensure_partitions
select ledger.ensure_partitions($1)

-- name: wallet
-- What requests hold is also on grants and on the credit line.
select
    max(a.lane) as lane,
    max(a.id) filter (where a.code = 1) as allowance,
    max(a.id) filter (where a.code = 2) as prepaid,
    sum(a.credits_posted - a.debits_posted - a.debits_pending) filter (where a.code = 1)::bigint as allowance_utok,
    sum(a.credits_posted - a.debits_posted - a.debits_pending) filter (where a.code = 2)::bigint as prepaid_utok,
    sum(a.debits_pending)::bigint as held_utok
from ledger.accounts a
where a.owner = $1 and a.code in (1, 2, 3, 5)
having count(*) filter (where a.code in (1, 2)) = 2

-- name: totals
select
    (select count(distinct id) from ledger.holds) as holds_open,
    (select count(distinct id) from ledger.holds where expires_at < clock_timestamp()) as holds_overdue,
    (select coalesce(sum(debits_pending), 0)::bigint from ledger.accounts) as held_utok,
    (select coalesce(sum(credits_posted - debits_posted), 0)::bigint from ledger.accounts where code = 11) as revenue_utok,
    (select coalesce(sum(debits_posted), 0)::bigint from ledger.accounts where code = 13) as shortfall_utok
