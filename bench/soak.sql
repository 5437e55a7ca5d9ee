-- What a soak looks at while it runs, and what it compares at its end.

-- name: tables
select
    s.schemaname || '.' || s.relname as name,
    pg_total_relation_size(s.relid) as bytes,
    s.n_live_tup as rows,
    s.n_dead_tup as dead,
    s.n_tup_upd as updated,
    s.n_tup_hot_upd as updated_hot,
    s.autovacuum_count as vacuums
from pg_stat_user_tables s
where s.schemaname in ('ledger', 'metering')
order by 1

-- name: wal
select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint

-- name: days
select tableoid::regclass::text as name, count(*) as rows from ledger.transfers group by 1 order by 1

-- name: totals
select
    (select count(*) from ledger.holds) as open_holds,
    (select count(*) from metering.requests) as requests,
    (select count(*) from metering.receipts) as receipts,
    (select coalesce(sum(charged_utok), 0)::bigint from metering.receipts) as charged_utok

-- name: wrong_accounts
-- Posted sums of an account that are not those of its rows in the log,.
with moved as (
    select account, sum(debited)::bigint as debited, sum(credited)::bigint as credited
    from (
        select debit as account, sum(amount) as debited, 0 as credited
        from ledger.transfers where status = 0 and kind in (2, 5) group by 1
        union all
        select credit, 0, sum(amount) from ledger.transfers where status = 0 and kind in (2, 5) group by 1
    ) sides
    group by account
)
select count(*)
from ledger.accounts a
left join moved m on m.account = a.id
where a.debits_posted <> coalesce(m.debited, 0) or a.credits_posted <> coalesce(m.credited, 0)
   or a.debits_pending <> 0 or a.credits_pending <> 0
