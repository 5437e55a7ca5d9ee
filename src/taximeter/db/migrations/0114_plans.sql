-- Plans that projects have subscribed to, and Tokens that were given on terms: each grant is an account of its own.

-- Periods begin and end at midnight where the customer is.
alter table identity.organisations add column time_zone text not null default 'UTC';

create function admission.check_zone() returns trigger language plpgsql security definer set search_path = pg_catalog, admission as $$
begin
    -- Looking all of them up takes a tenth of a second: only when there is something to look up.
    if new.time_zone <> 'UTC' and not exists (
        select from pg_timezone_names z where z.name = new.time_zone and z.name !~ '^(posix/|right/|Factory$|localtime$|posixrules$)'
    ) then
        raise exception 'there is no time zone %', new.time_zone using errcode = 'check_violation';
    end if;
    return new;
end
$$;
create trigger zone_is_known before insert or update of time_zone on identity.organisations for each row execute function admission.check_zone();
grant update (time_zone) on identity.organisations to taximeter_app;

-- The zone of an organisation, or of the one that a project belongs to.
create function admission.zone_of(p_project uuid, p_organisation uuid) returns text
language sql stable security definer set search_path = pg_catalog, admission as $$
    select coalesce(
        (
            select o.time_zone from identity.organisations o
            where o.id = coalesce(p_organisation, (select p.organisation_id from identity.projects p where p.id = p_project))
        ),
        'UTC'
    )
$$;

-- The first moment of a day.  Where clocks are put back at midnight there are two of them: PostgreSQL takes the second, this takes
-- the first.  Where they are put forward there is none: the day begins when they are.
create function admission.day_begins(p_day date, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog as $$
    select case
        when ((t.at - interval '1 microsecond') at time zone p_zone)::date = p_day
        then t.at - (((t.at - interval '1 microsecond') at time zone p_zone) - p_day::timestamp + interval '1 microsecond')
        else t.at
    end
    from (select p_day::timestamp at time zone p_zone as at) t
$$;

-- When month number p_index of an anchor begins.  Counted from the anchor each time: after a short month it is the 31st again.
create function admission.month_begins(p_anchor date, p_index int, p_zone text) returns timestamptz
language sql stable set search_path = pg_catalog, admission as $$
    select admission.day_begins((p_anchor + make_interval(months => p_index))::date, p_zone)
$$;

-- The month of an anchor that a moment lies in.
create function admission.month_of(p_anchor date, p_at timestamptz, p_zone text) returns int
language sql stable set search_path = pg_catalog, admission as $$
    select max(i)
    from (
        select (extract(year from age) * 12 + extract(month from age))::int as about
        from (select age((p_at at time zone p_zone)::date::timestamp, p_anchor::timestamp) as age) a
    ) m
    cross join lateral generate_series(m.about - 1, m.about + 1) i
    where admission.month_begins(p_anchor, i, p_zone) <= p_at
$$;

create table admission.grants (
    id uuid primary key,                      -- also the id of the transfer that filled it
    project_id uuid not null,
    account bigint not null unique,           -- the ledger's, code 5
    amount_utok bigint not null check (amount_utok > 0),
    starts_at timestamptz not null,
    expires_at timestamptz,                   -- null: never
    priority smallint not null check (priority between 0 and 100),
    modality text,                            -- what alone it may be spent on; null: anything
    kind text not null check (kind in ('renewal', 'once', 'proration', 'promotional', 'manual')),
    plan text,                                -- that gave it; null: a person did
    reason text check (char_length(reason) between 1 and 500),
    operator text not null check (char_length(operator) between 1 and 200),
    reference text check (char_length(reference) between 1 and 255),
    created_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz,                    -- it has expired, and nothing is left of it
    constraint expires_after_its_start check (expires_at > starts_at),
    constraint closed_when_expired check (closed_at is null or expires_at is not null)
);
create index grants_of_project on admission.grants (project_id, id);
create index grants_open on admission.grants (project_id) where closed_at is null;
create index grants_expiring on admission.grants (expires_at) where closed_at is null;

-- What an expired grant still had, whenever there was something: a hold that spans the end may give some back later.
create table admission.expiries (
    id uuid primary key,                      -- of the transfer
    grant_id uuid not null references admission.grants (id),
    amount_utok bigint not null check (amount_utok > 0),
    created_at timestamptz not null default clock_timestamp()
);
create index expiries_of_grant on admission.expiries (grant_id);

-- Everything else that people and plans do to a wallet, with who did it and why.
create table admission.adjustments (
    id uuid primary key,                      -- of the transfer
    project_id uuid not null,
    kind text not null check (kind in ('top_up', 'grant', 'correction', 'payment', 'proration', 'credit_line', 'debt')),
    amount_utok bigint not null check (amount_utok <> 0),
    reason text check (char_length(reason) between 1 and 500),
    operator text not null check (char_length(operator) between 1 and 200),
    reference text check (char_length(reference) between 1 and 255),
    created_at timestamptz not null default clock_timestamp()
);
create index adjustments_of_project on admission.adjustments (project_id, created_at, id);  -- ids are not in order of time: a reference makes some

create table admission.subscriptions (
    project_id uuid primary key,
    plan text not null,                       -- by its name; each period takes the version in force
    next_plan text,                           -- from the next period on
    anchor date not null,                     -- the day of the month that periods begin on, where the customer is
    month int not null check (month >= 0),    -- counted from the anchor
    period_start timestamptz not null,
    period_end timestamptz not null,
    allowance_utok bigint not null check (allowance_utok >= 0),  -- of a whole month, by the version that this one began with
    allowance_modality text,
    started_at timestamptz not null,
    constraint period_has_a_length check (period_end > period_start)
);
create index subscriptions_due on admission.subscriptions (period_end);

create table admission.subscription_changes (
    id uuid primary key,
    project_id uuid not null,
    event text not null check (event in ('started', 'changed', 'planned', 'renewed', 'ended')),
    plan text not null,
    plan_before text,
    period_start timestamptz,
    period_end timestamptz,
    operator text not null check (char_length(operator) between 1 and 200),
    created_at timestamptz not null default clock_timestamp()
);
create index changes_of_project on admission.subscription_changes (project_id, id);

-- How far a postpaid wallet may go below nothing.
create table admission.credit_lines (
    project_id uuid primary key,
    account bigint not null,                  -- the ledger's, code 3, that holds are made on
    line_utok bigint check (line_utok >= 0),  -- what was agreed; null: no bound
    active boolean not null                   -- false: what is owed is to be paid, nothing more is lent
);
create table admission.credit_accounts (
    account bigint primary key,               -- the ledger's, code 3
    project_id uuid not null,
    lent_utok bigint not null default 0 check (lent_utok >= 0)  -- what stands on it of the line; above what was agreed until it is paid
);
create index credit_accounts_of_project on admission.credit_accounts (project_id);

-- An account that was without a bound cannot get one: its log would show it overdrawn.  The project gets another one.
drop index ledger.accounts_by_owner;
create unique index accounts_by_owner on ledger.accounts (owner, code, unit) where owner is not null and code not in (3, 4, 5);

create function admission.refuse_change() returns trigger language plpgsql as $$
begin
    -- A grant is closed once; nothing else about it changes.
    if tg_op = 'UPDATE' then
        if old.closed_at is null and (to_jsonb(new) - 'closed_at') = (to_jsonb(old) - 'closed_at') then
            return new;
        end if;
    end if;
    raise exception '% of % is not allowed', tg_op, tg_table_name using errcode = 'restrict_violation';
end
$$;
create trigger grants_are_kept before update or delete on admission.grants for each row execute function admission.refuse_change();
create trigger grants_are_not_truncated before truncate on admission.grants for each statement execute function admission.refuse_rewrite();
create trigger expiries_append_only before update or delete on admission.expiries for each row execute function admission.refuse_rewrite();
create trigger expiries_append_only_truncate before truncate on admission.expiries for each statement execute function admission.refuse_rewrite();
create trigger adjustments_append_only before update or delete on admission.adjustments for each row execute function admission.refuse_rewrite();
create trigger adjustments_append_only_truncate before truncate on admission.adjustments for each statement execute function admission.refuse_rewrite();
create trigger changes_append_only before update or delete on admission.subscription_changes for each row execute function admission.refuse_rewrite();
create trigger changes_append_only_truncate before truncate on admission.subscription_changes
    for each statement execute function admission.refuse_rewrite();

revoke all on function admission.check_zone, admission.refuse_change, admission.zone_of, admission.day_begins, admission.month_begins, admission.month_of
    from public;
grant select, insert on admission.grants, admission.expiries, admission.adjustments, admission.subscription_changes to taximeter_app;
grant update (closed_at) on admission.grants to taximeter_app;
grant select, insert, update, delete on admission.subscriptions to taximeter_app;
grant select, insert, update on admission.credit_lines, admission.credit_accounts to taximeter_app;
grant execute on function admission.zone_of, admission.day_begins, admission.month_begins, admission.month_of to taximeter_app;
