-- Surge prices: how busy each engine is, what that makes of its price, and every change of it.  See admission/surge.

create table admission.surge (
    engine text primary key check (char_length(engine) between 1 and 200),
    policy jsonb not null check (jsonb_typeof(policy) = 'object'),
    source text not null,
    state jsonb not null check (jsonb_typeof(state) = 'object'),   -- of the controller, for the next who samples
    factor_pct int not null check (factor_pct between 1 and 1000 and factor_pct % 5 = 0),
    load_bp int check (load_bp >= 0),                               -- null: unknown, which is not 0
    reason text not null default '',
    change bigint not null default 0,                               -- of surge_changes; 0: it has never changed
    changes bigint not null default 0,
    surplus_utok bigint not null default 0,                         -- what the surge has brought in less what discounts have paid out
    sampled_at timestamptz not null default clock_timestamp(),
    good_until timestamptz not null                                 -- whoever samples is gone when this is over: the factor is 1 then
) with (fillfactor = 50);

-- The audit.
create table admission.surge_changes (
    number bigint primary key generated always as identity,
    engine text not null,
    policy_id text not null,
    policy jsonb not null check (jsonb_typeof(policy) = 'object'),
    from_pct int not null,
    to_pct int not null check (to_pct between 1 and 1000 and to_pct % 5 = 0),
    load_bp int,                                                    -- of the sample that it was decided on; null: unknown
    followed_ppm bigint not null,                                   -- the load that the price follows
    reason text not null,
    surplus_utok bigint not null,
    at timestamptz not null default clock_timestamp(),
    constraint surge_changes_changes check (from_pct <> to_pct)
);
create index surge_changes_by_engine on admission.surge_changes (engine, number);
create trigger surge_changes_append_only before update or delete on admission.surge_changes
    for each row execute function admission.refuse_rewrite();
create trigger surge_changes_append_only_truncate before truncate on admission.surge_changes
    for each statement execute function admission.refuse_rewrite();

-- The factor of an engine's price now: 1 where none is set, or where nobody has looked for a while.
create function admission.surge_now(p_engine text) returns numeric
language sql stable security definer set search_path = pg_catalog, admission as $$
    select coalesce((select s.factor_pct / 100.0 from admission.surge s where s.engine = p_engine and s.good_until > clock_timestamp()), 1)
$$;

-- The engines whose price is above 1 now.
create function admission.surging() returns text[]
language sql stable security definer set search_path = pg_catalog, admission as $$
    select coalesce(array_agg(s.engine), '{}') from admission.surge s where s.factor_pct > 100 and s.good_until > clock_timestamp()
$$;

revoke all on function admission.surge_now, admission.surging from public;
grant execute on function admission.surge_now, admission.surging to taximeter_app;
grant select, insert, update on admission.surge to taximeter_app;
grant select, insert on admission.surge_changes to taximeter_app;
