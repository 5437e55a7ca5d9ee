-- The same double entry as one would write it first: a row per account, a log, a table of open holds.

-- name: schema
create schema naive;
create table naive.accounts (
    id bigint primary key,
    limited boolean not null,
    debits_pending bigint not null default 0,
    debits_posted bigint not null default 0,
    credits_pending bigint not null default 0,
    credits_posted bigint not null default 0,
    check (debits_pending >= 0 and debits_posted >= 0 and credits_pending >= 0 and credits_posted >= 0),
    check (not limited or debits_posted + debits_pending <= credits_posted)
);
create table naive.transfers (
    id uuid not null,
    phase smallint not null,
    debit bigint not null,
    credit bigint not null,
    amount bigint not null check (amount >= 0),
    ts timestamptz not null default clock_timestamp(),
    primary key (id, phase)
);
create table naive.holds (
    id uuid primary key,
    amount bigint not null check (amount > 0)
);
-- Wallets 1 to 1,000, and a revenue account for each; account 0 is the revenue that all share.
insert into naive.accounts (id, limited, credits_posted) select n, true, 1000000000000 from generate_series(1, 1000) n;
insert into naive.accounts (id, limited) select 10000 + n, false from generate_series(1, 1000) n;
insert into naive.accounts (id, limited) values (0, false);

-- name: lock
select id, credits_posted - debits_posted - debits_pending as free from naive.accounts where id = any ($1::bigint[]) order by id for update

-- name: hold_debit
update naive.accounts set debits_pending = debits_pending + $2 where id = $1

-- name: hold_credit
update naive.accounts set credits_pending = credits_pending + $2 where id = $1

-- name: open
insert into naive.holds (id, amount) values ($1, $2)

-- name: close
delete from naive.holds where id = $1 returning amount

-- name: settle_debit
update naive.accounts set debits_pending = debits_pending - $2, debits_posted = debits_posted + $3 where id = $1

-- name: settle_credit
update naive.accounts set credits_pending = credits_pending - $2, credits_posted = credits_posted + $3 where id = $1

-- name: log
insert into naive.transfers (id, phase, debit, credit, amount) values ($1, $2, $3, $4, $5)
