-- A ledger as one would write it first: a row per wallet, one row for the operator's revenue, a log.

-- name: schema
create schema naive;
create table naive.accounts (
    id bigint primary key,
    balance bigint not null check (balance >= 0),
    held bigint not null default 0 check (held >= 0)
);
create table naive.transfers (
    id uuid not null,
    phase smallint not null,
    account bigint not null,
    amount bigint not null,
    ts timestamptz not null default clock_timestamp(),
    primary key (id, phase)
);
insert into naive.accounts (id, balance) select n, 1000000000000 from generate_series(1, 1000) n;
insert into naive.accounts (id, balance) values (0, 0);

-- name: lock
select balance - held from naive.accounts where id = $1 for update

-- name: hold
update naive.accounts set held = held + $2 where id = $1

-- name: settle
update naive.accounts set balance = balance - $3, held = held - $2 where id = $1

-- name: earn
update naive.accounts set balance = balance + $1 where id = 0

-- name: log
insert into naive.transfers (id, phase, account, amount) values ($1, $2, $3, $4)
