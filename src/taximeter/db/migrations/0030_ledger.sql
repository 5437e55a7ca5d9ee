-- The ledger: double entry with holds.  Amounts are integers in the account's unit (1: micro-Tokens).
-- ledger.transfers is the only truth; accounts and holds are derived from it and can be recomputed (taximeter replay).

create schema ledger;

create table ledger.accounts (
    id bigint primary key,
    code smallint not null,                   -- 1 allowance 2 prepaid 3 postpaid 4 budget | 11 revenue 12 treasury 13 shortfall
    unit smallint not null default 1,         -- 1 micro-Token
    lane smallint not null check (lane between 0 and 63),
    flags smallint not null default 0,        -- 1 limited: debits must not exceed credits; 2 closed; 4 frozen
    owner uuid,                               -- the project (wallet, budget) or null (operator)
    debits_pending bigint not null default 0,
    debits_posted bigint not null default 0,
    credits_pending bigint not null default 0,
    credits_posted bigint not null default 0,
    version bigint not null default 0,
    created_at timestamptz not null default clock_timestamp(),
    constraint amounts_not_negative check (
        debits_pending >= 0 and debits_posted >= 0 and credits_pending >= 0 and credits_posted >= 0
    ),
    constraint no_overdraft check (flags & 1 = 0 or debits_posted + debits_pending <= credits_posted)
) with (fillfactor = 50);                     -- No index on balances: updates stay within the page.

create unique index accounts_by_owner on ledger.accounts (owner, code, unit) where owner is not null and code <> 4;

-- Ids below 10,000 are the operator's: code * 100 + lane, one row per lane, so that tenants share no row across lanes.
create sequence ledger.account_ids start 10000;
insert into ledger.accounts (id, code, lane)
select c * 100 + l, c, l from unnest(array[11, 12, 13]) c, generate_series(0, 63) l;

create table ledger.transfers (
    id uuid not null,                         -- uuidv7 of the group, made by the caller before the first try
    leg smallint not null,                    -- 0..5 the group's legs; 16 + leg: overrun; 32: shortfall
    phase smallint not null,                  -- 0 hold or direct; 1 the one resolution; 2 settlement after expiry or void
    kind smallint not null,                   -- 1 hold 2 settle 3 void 4 expire 5 direct 6 overrun 7 shortfall 8 late settle
    status smallint not null,                 -- 0 applied; 1 refused (logged, and sticky for this id)
    debit bigint not null,
    credit bigint not null,
    amount bigint not null check (amount >= 0),
    hold_amount bigint check (hold_amount >= 0),  -- on a resolution: what it released
    cascade boolean not null default false,   -- the leg shares the group's amount with the other cascade legs
    requested bigint check (requested >= 0),  -- on leg 0: what the caller asked for
    total bigint check (total >= 0),          -- on leg 0: what the wallet legs held or paid
    expires_at timestamptz,                   -- on a hold
    code int not null default 0,              -- the caller's reason
    digest bytea not null,                    -- of the caller's operation: the same id with another body is refused
    lane smallint not null,
    batch bigint not null,
    pos int not null,
    xid xid8 not null default pg_current_xact_id(),
    ts timestamptz not null default clock_timestamp(),
    primary key (id, leg, phase),
    check (debit <> credit),
    check ((phase = 0) = (kind in (1, 5))),
    check ((phase = 2) = (kind = 8 or (kind = 7 and leg = 33))),
    check (status = 0 or phase = 0),
    check ((requested is null) = (leg <> 0)),
    check ((total is null) = (leg <> 0)),
    check (phase = 0 or hold_amount is not null)
) partition by range (id);

create table ledger.transfers_other partition of ledger.transfers default;
create index transfers_in_order on ledger.transfers (lane, batch, pos);
create sequence ledger.batches;

create table ledger.holds (
    id uuid not null,
    leg smallint not null,
    debit bigint not null,
    credit bigint not null,
    amount bigint not null check (amount >= 0),
    cascade boolean not null,
    expires_at timestamptz not null,
    primary key (id, leg)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);
create index holds_by_expiry on ledger.holds (expires_at);

create function ledger.refuse_rewrite() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % is not allowed', tg_table_name, tg_op using errcode = 'restrict_violation';
end
$$;
create trigger append_only before update or delete on ledger.transfers
    for each row execute function ledger.refuse_rewrite();
create trigger append_only_truncate before truncate on ledger.transfers
    for each statement execute function ledger.refuse_rewrite();
create trigger append_only_truncate before truncate on ledger.transfers_other
    for each statement execute function ledger.refuse_rewrite();
-- Accounts and holds are changed by the posting function alone; nobody empties them.
create trigger no_delete before delete on ledger.accounts for each row execute function ledger.refuse_rewrite();
create trigger no_truncate before truncate on ledger.accounts for each statement execute function ledger.refuse_rewrite();

-- One partition a day, made ahead of time.  A uuidv7 begins with 48 bits of Unix milliseconds, so time is a range of ids.
create function ledger.ensure_partitions(p_days int) returns int
language plpgsql security definer set search_path = pg_catalog, ledger as $$
declare
    v_day date;
    v_name text;
    v_made int := 0;
begin
    for v_day in select generate_series(current_date, current_date + p_days, interval '1 day')::date loop
        v_name := 'transfers_' || to_char(v_day, 'YYYYMMDD');
        if to_regclass('ledger.' || v_name) is null then
            execute format(
                'create table ledger.%I partition of ledger.transfers for values from (%L) to (%L)',
                v_name, ledger.first_id(v_day), ledger.first_id(v_day + 1));
            execute format(
                'create trigger append_only_truncate before truncate on ledger.%I for each statement execute function ledger.refuse_rewrite()',
                v_name);
            v_made := v_made + 1;
        end if;
    end loop;
    return v_made;
end
$$;

create function ledger.first_id(p_day date) returns uuid language sql immutable as $$
    select (lpad(to_hex((extract(epoch from p_day::timestamp) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
$$;

select ledger.ensure_partitions(7);

create function ledger.open_account(p_code smallint, p_lane smallint, p_flags smallint, p_owner uuid) returns bigint
language plpgsql security definer set search_path = pg_catalog, ledger as $$
declare
    v_id bigint;
begin
    assert p_code < 11, 'operator accounts exist already';
    insert into ledger.accounts (id, code, lane, flags, owner)
    values (nextval('ledger.account_ids'), p_code, p_lane, p_flags, p_owner)
    returning id into v_id;
    return v_id;
end
$$;

-- Closing is for accounts that shall take no new holds; what is open on them still resolves.
create function ledger.set_account_closed(p_id bigint, p_closed boolean) returns void
language sql security definer set search_path = pg_catalog, ledger as $$
    update ledger.accounts
    set flags = case when p_closed then flags | 2 else flags & ~2 end, version = version + 1
    where id = p_id and code < 11
$$;
