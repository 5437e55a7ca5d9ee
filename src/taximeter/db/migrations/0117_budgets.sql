-- Budgets: how many Tokens an organisation, a project, a key or an end user may use in a day, a month or any stretch of time.
--
-- A budget is a ledger account.  What may be used is its credits, what was used its debits, and a hold is a leg on it beside those
-- on the wallet.  A new period is a transfer in the log that brings the credits to `debits at its start + limit`; it is made by
-- whoever comes first: the hold or the settlement that finds the old one over, or a worker.

create table admission.budgets (
    id uuid primary key,
    scope text not null check (scope in ('organisation', 'project', 'key', 'end_user')),
    organisation_id uuid not null,
    project_id uuid,
    key_id uuid,
    end_user text check (char_length(end_user) between 1 and 256),  -- null with scope end_user: the default for every one
    default_id uuid references admission.budgets,                   -- opened for an end user by this default
    span text not null check (span in ('day', 'month', 'rolling')),
    window_s int,                             -- of a rolling one
    limit_utok bigint not null check (limit_utok between 1 and 1000000000000000),
    hard boolean not null,                    -- refuses; a soft one only tells
    thresholds int[] not null check (1 <= all (thresholds) and cardinality(thresholds) <= 10),  -- percent
    lane smallint not null,                   -- of the worker's postings; holds post in their own
    account bigint unique,                    -- null: a default, which counts nothing itself
    -- The period at hand.
    started_at timestamptz not null,
    rolls_at timestamptz not null,
    base_utok bigint not null default 0,      -- the account's debits when what counts began
    marks bigint[] not null default '{}',     -- rolling: its debits at the starts of the last 24 slots, oldest first
    unaligned boolean not null default true,  -- the credits are not yet base + limit
    told int not null default 0,              -- the highest threshold that was told in this period
    tell_at_utok bigint,                      -- the debits at which the next one is reached; null: there is none
    operator text not null check (char_length(operator) between 1 and 200),
    created_at timestamptz not null,
    changed_at timestamptz not null,          -- when it was made or removed; its limit may have changed since
    removed_at timestamptz,
    constraint whose check (
        (scope = 'organisation') = (project_id is null) and (scope = 'key') = (key_id is not null)
        and (end_user is null or scope = 'end_user') and (default_id is null or end_user is not null)
    ),
    constraint counts_or_is_a_default check ((account is null) = (scope = 'end_user' and end_user is null)),
    constraint rolling_has_a_length check ((span = 'rolling') = (window_s is not null) and window_s between 60 and 31622400)
);
-- One budget of a kind for each owner; the leading columns find those of a request.
create unique index budgets_once on admission.budgets (
    scope, (coalesce(key_id, project_id, organisation_id)), (coalesce(end_user, '')), span, (coalesce(window_s, 0)), hard,
    (coalesce(default_id, '00000000-0000-0000-0000-000000000000'))
) where removed_at is null;
create index budgets_of_organisation on admission.budgets (organisation_id, id) where default_id is null;
create index budgets_of_end_users on admission.budgets (project_id, changed_at) where scope = 'end_user' and default_id is null;
create index budgets_of_default on admission.budgets (default_id) where default_id is not null;
create index budgets_by_roll on admission.budgets (rolls_at) where removed_at is null and account is not null and span <> 'rolling';
create index budgets_unaligned on admission.budgets (id) where removed_at is null and account is not null and unaligned;

-- The zone that an account's days and months are in.
create function admission.budget_zone(p_organisation uuid) returns text language sql stable as $$
    select coalesce((select to_jsonb(o) ->> 'time_zone' from identity.organisations o where o.id = p_organisation), 'UTC')
$$;

-- When the day or month of a moment ends.  A midnight that a zone leaves out is the moment of the change of its clocks.
create function admission.period_end(p_span text, p_zone text, p_now timestamptz) returns timestamptz
language sql immutable set search_path = pg_catalog as $$
    select (date_trunc(p_span, p_now at time zone p_zone) + ('1 ' || p_span)::interval) at time zone p_zone
$$;

-- A rolling window is counted in 24 slots and the one that runs, so that it never counts less than its length.
create function admission.slot_us(p_window_s int) returns bigint language sql immutable as $$
    select ceil(p_window_s * 1000000::numeric / 24)::bigint
$$;

-- A budget whose period is over, in the one of this moment; any other as it is.  p_posted: its account's debits.
create function admission.rolled(p_budget admission.budgets, p_posted bigint, p_now timestamptz) returns admission.budgets
language plpgsql stable set search_path = pg_catalog, admission as $$
declare
    b admission.budgets := p_budget;
    v_slots bigint; v_zone text;
begin
    if b.rolls_at > p_now then
        return b;
    end if;
    if b.span = 'rolling' then
        -- Every hold and every settlement rolls first: in the slots since, nothing was posted.
        v_slots := floor(extract(epoch from p_now - b.rolls_at) * 1000000 / admission.slot_us(b.window_s))::bigint + 1;
        b.marks := b.marks || array_fill(p_posted, array[least(v_slots, 25)::int]);
        b.base_utok := b.marks[cardinality(b.marks) - 24];
        b.marks := b.marks[cardinality(b.marks) - 23:];
        b.rolls_at := b.rolls_at + v_slots * admission.slot_us(b.window_s) * interval '1 microsecond';
        b.started_at := b.rolls_at - 25 * admission.slot_us(b.window_s) * interval '1 microsecond';
        -- A threshold below which the use has fallen is told again when it is reached again.
        b.told := coalesce((
            select max(t) from unnest(b.thresholds) t where t <= b.told and (p_posted - b.base_utok)::numeric * 100 >= b.limit_utok::numeric * t
        ), 0);
    else
        v_zone := admission.budget_zone(b.organisation_id);
        b.base_utok := p_posted;
        b.started_at := least(p_now, date_trunc(b.span, p_now at time zone v_zone) at time zone v_zone);
        b.rolls_at := admission.period_end(b.span, v_zone, p_now);
        b.told := 0;
    end if;
    b.unaligned := true;
    return b;
end
$$;

-- When something that counts now does not count any more; null: nothing counts.
create function admission.comes_back_at(p_budget admission.budgets, p_posted bigint) returns timestamptz
language sql stable set search_path = pg_catalog, admission as $$
    select case
        when p_budget.span <> 'rolling' then p_budget.rolls_at
        when p_posted > p_budget.base_utok then p_budget.rolls_at + admission.slot_us(p_budget.window_s) * interval '1 microsecond' * (
            coalesce((select min(m.i) from unnest(p_budget.marks) with ordinality m (posted, i) where m.posted > p_budget.base_utok), 25) - 1
        )
    end
$$;

create function admission.tell_at(p_budget admission.budgets) returns bigint language sql stable as $$
    select p_budget.base_utok + ceil(p_budget.limit_utok::numeric * min(t) / 100)::bigint from unnest(p_budget.thresholds) t where t > p_budget.told
$$;

-- An id as the API spells it.
create function admission.spelled_id(p_prefix text, p_id uuid) returns text language sql immutable set search_path = pg_catalog as $$
    select p_prefix || '_' || string_agg(
        substr('0123456789abcdefghjkmnpqrstvwxyz', substring(b.bits from i * 5 + 1 for 5)::bit(5)::int + 1, 1), '' order by i
    )
    from (select b'00' || ('x' || replace(p_id::text, '-', ''))::bit(128) as bits) b, generate_series(0, 25) i
$$;

-- Writes an event for each threshold that was reached since the last time; answers the highest that was told.
create function admission.tell_budget(p_budget admission.budgets, p_posted bigint) returns int
language plpgsql set search_path = pg_catalog, admission as $$
declare
    v_used constant bigint := p_posted - p_budget.base_utok;
    v_threshold int;
    v_told int := p_budget.told;
begin
    for v_threshold in
        select t from unnest(p_budget.thresholds) t where t > p_budget.told and v_used::numeric * 100 >= p_budget.limit_utok::numeric * t order by t
    loop
        perform admission.emit(
            'budget.threshold', p_budget.project_id,
            jsonb_build_object(
                'budget', admission.spelled_id('bud', p_budget.id),
                'scope', p_budget.scope,
                'organisation_id', admission.spelled_id('org', p_budget.organisation_id),
                'project_id', admission.spelled_id('prj', p_budget.project_id),
                'key_id', admission.spelled_id('key', p_budget.key_id),
                'end_user', p_budget.end_user,
                'window', p_budget.span,
                'window_s', p_budget.window_s,
                'hard', p_budget.hard,
                'threshold', v_threshold,
                'used', trim_scale(v_used / 1000000.0)::text,
                'limit', trim_scale(p_budget.limit_utok / 1000000.0)::text,
                'window_end', to_char(p_budget.rolls_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
            ),
            concat_ws('/', 'budget', p_budget.id, (extract(epoch from p_budget.rolls_at) * 1000000)::bigint, v_threshold)
        );
        v_told := v_threshold;
    end loop;
    return v_told;
end
$$;

-- Brings those of these budgets that need it into their period: rows, marks, and credits of base + limit.  A hard budget whose limit
-- was lowered gives up what is free now, and the rest as it becomes free: it stays unaligned until then.
--
-- Locks: the lane, the budgets' rows, then with p_accounts every budget account that the batch will lock, each in ascending order.
create function admission.roll_budgets(p_lane smallint, p_ids uuid[], p_accounts bigint[] default '{}') returns int
language plpgsql security definer set search_path = pg_catalog, admission
set enable_seqscan = off
as $$
declare
    c_roll_code constant int := 110;
    c_other constant bigint := 1500 + p_lane;
    v_now timestamptz;
    v_budgets admission.budgets[]; b admission.budgets; r admission.budgets; a ledger.accounts;
    v_gap bigint; v_take bigint; v_statuses smallint[];
    n int := 0; x_id uuid[]; x_amount bigint[]; x_debit bigint[]; x_credit bigint[];
begin
    perform pg_advisory_xact_lock(7466, p_lane);
    select array_agg(q.b) into v_budgets
    from (
        select w as b from admission.budgets w
        where w.id = any (p_ids) and w.account is not null and w.removed_at is null and (w.rolls_at <= clock_timestamp() or w.unaligned)
        order by w.id for update
    ) q;
    if v_budgets is null then
        return 0;
    end if;
    perform from ledger.accounts l
    where l.id = any (p_accounts || (select array_agg(u.account) from unnest(v_budgets) u)) and l.code = 4
    order by l.id for update;
    v_now := clock_timestamp();

    foreach b in array v_budgets loop
        select * into strict a from ledger.accounts l where l.id = b.account;
        r := admission.rolled(b, a.debits_posted, v_now);
        if r.rolls_at <> b.rolls_at and a.debits_posted >= b.tell_at_utok then
            -- The last moments of the old period.
            perform admission.tell_budget(b, a.debits_posted);
        end if;
        v_gap := r.base_utok + r.limit_utok - a.credits_posted;
        v_take := v_gap;
        if v_gap < 0 and b.hard then
            v_take := -least(-v_gap, a.credits_posted - a.debits_posted - a.debits_pending);
        end if;
        if v_take < 0 then
            -- What is given up is a debit that nobody has used: all that is counted from moves with it.
            r.base_utok := r.base_utok - v_take;
            r.marks := array(select m.posted - v_take from unnest(r.marks) with ordinality m (posted, i) order by m.i);
        end if;
        if v_take <> 0 then
            n := n + 1;
            x_id[n] := admission.new_id(); x_amount[n] := abs(v_take);
            x_debit[n] := case when v_take > 0 then c_other else b.account end;
            x_credit[n] := case when v_take > 0 then b.account else c_other end;
        end if;
        update admission.budgets w
        set base_utok = r.base_utok, marks = r.marks, started_at = r.started_at, rolls_at = r.rolls_at, told = r.told,
            unaligned = v_take <> v_gap, tell_at_utok = admission.tell_at(r)
        where w.id = b.id;
    end loop;

    if n > 0 then
        select array_agg(p.status) into v_statuses
        from ledger.post(
            p_lane, x_id, array_fill(5::smallint, array[n]), x_amount, array_fill(0, array[n]), array_fill(c_roll_code, array[n]),
            (
                select array_agg(substring(sha256(convert_to(concat_ws('/', u.id, u.debit, u.credit, u.amount), 'UTF8')) for 16) order by u.i)
                from unnest(x_id, x_debit, x_credit, x_amount) with ordinality u (id, debit, credit, amount, i)
            ),
            (select array_agg(i order by i) from generate_series(1, n) i), x_debit, x_credit, x_amount, array_fill(false, array[n])
        ) p;
        assert v_statuses = array_fill(0::smallint, array[n]), format('budgets %s were rolled with %s', p_ids, v_statuses);
    end if;
    return cardinality(v_budgets);
end
$$;

-- What a worker asks for, lane by lane: budgets whose day or month is over, or whose limit was changed.  A rolling one that nobody
-- uses would have to be moved all the time, and nothing comes of it before the next hold.
create function admission.due_budgets(p_limit int) returns table (lane smallint, ids uuid[])
language sql stable security definer set search_path = pg_catalog, admission as $$
    select q.lane, array_agg(q.id)
    from (
        select b.lane, b.id from admission.budgets b
        where b.removed_at is null and b.account is not null and (b.rolls_at <= clock_timestamp() and b.span <> 'rolling' or b.unaligned)
        order by b.rolls_at limit p_limit
    ) q
    group by q.lane
$$;

-- Writes the events of budgets that have reached a threshold.
create function admission.tell_budgets(p_limit int) returns int
language plpgsql security definer set search_path = pg_catalog, admission as $$
declare
    v_row record; b admission.budgets; n int := 0;
begin
    for v_row in
        select w as budget, a.debits_posted
        from admission.budgets w join ledger.accounts a on a.id = w.account
        where w.removed_at is null and a.debits_posted >= w.tell_at_utok
        limit p_limit
        for update of w skip locked
    loop
        b := v_row.budget;
        b.told := admission.tell_budget(b, v_row.debits_posted);
        update admission.budgets w set told = b.told, tell_at_utok = admission.tell_at(b) where w.id = b.id;
        n := n + 1;
    end loop;
    return n;
end
$$;

revoke all on function admission.budget_zone, admission.period_end, admission.slot_us, admission.rolled, admission.comes_back_at from public;
revoke all on function admission.tell_at, admission.spelled_id, admission.tell_budget, admission.roll_budgets from public;
revoke all on function admission.due_budgets, admission.tell_budgets from public;
grant select on admission.budgets to taximeter_app;
grant execute on function admission.budget_zone, admission.period_end, admission.slot_us, admission.rolled, admission.comes_back_at to taximeter_app;
grant execute on function admission.roll_budgets, admission.due_budgets, admission.tell_budgets to taximeter_app;
