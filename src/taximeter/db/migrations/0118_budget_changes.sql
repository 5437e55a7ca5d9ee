-- Making, changing and removing budgets; those that bound a request; and those that are opened for end users on sight.

-- How many budgets a request in this organisation has to be held on, at most.
create function admission.budgets_at_most(p_organisation uuid) returns bigint
language sql stable set search_path = pg_catalog, admission as $$
    with b as materialized (
        select * from admission.budgets where organisation_id = p_organisation and default_id is null and removed_at is null
    ),
    k as (
        select q.project_id, max(q.n) as n from (select project_id, key_id, count(*) as n from b where scope = 'key' group by 1, 2) q group by 1
    ),
    e as (
        select q.project_id, max(q.n) as n
        from (select project_id, end_user, count(*) as n from b where end_user is not null group by 1, 2) q group by 1
    ),
    p as (
        select project_id, count(*) filter (where scope = 'project' or scope = 'end_user' and end_user is null) as n
        from b where project_id is not null group by 1
    )
    select (select count(*) from b where scope = 'organisation') + coalesce(max(p.n + coalesce(k.n, 0) + coalesce(e.n, 0)), 0)
    from p left join k using (project_id) left join e using (project_id)
$$;

-- Adds the period and the account to a budget that is complete otherwise, and writes it.  Nothing may be used before it was rolled.
create function admission.insert_budget(p_budget admission.budgets) returns admission.budgets
language plpgsql set search_path = pg_catalog, admission as $$
declare
    b admission.budgets := p_budget;
begin
    b.created_at := clock_timestamp(); b.changed_at := b.created_at; b.started_at := b.created_at;
    b.base_utok := 0; b.told := 0; b.unaligned := true; b.marks := '{}';
    b.tell_at_utok := admission.tell_at(b);
    if b.span = 'rolling' then
        b.rolls_at := b.created_at + admission.slot_us(b.window_s) * interval '1 microsecond';
        b.marks := array_fill(0::bigint, array[24]);
    else
        b.rolls_at := admission.period_end(b.span, admission.budget_zone(b.organisation_id), b.created_at);
    end if;
    if b.scope <> 'end_user' or b.end_user is not null then
        b.account := ledger.open_account(4::smallint, b.lane, b.hard::int::smallint, b.id);
    end if;
    insert into admission.budgets select b.*;
    return b;
end
$$;

-- Makes a budget of {"id", "scope", the owner's id, "end_user", "span", "window_s", "limit_utok", "hard", "thresholds", "operator"}.
-- Outcomes: made | exists (one of the kind; that one is answered) | too_many | no_owner
create function admission.make_budget(p_new jsonb, p_most int) returns table (outcome text, budget admission.budgets)
language plpgsql security definer set search_path = pg_catalog, admission as $$
declare
    b admission.budgets := jsonb_populate_record(null::admission.budgets, p_new);
    v_found admission.budgets;
begin
    b.default_id := null; b.account := null; b.removed_at := null;
    if b.scope = 'key' then
        select k.project_id into b.project_id from identity.api_keys k where k.id = b.key_id;
    end if;
    if b.scope = 'organisation' then
        b.lane := coalesce((select p.lane from identity.projects p where p.organisation_id = b.organisation_id order by p.id limit 1), 0);
    else
        select p.organisation_id, p.lane into b.organisation_id, b.lane from identity.projects p where p.id = b.project_id;
    end if;
    -- Changes within an organisation come one after the other: the next one counts this one, and `changed_at` grows with them.
    perform from identity.organisations o where o.id = b.organisation_id for update;
    if not found then
        return query select 'no_owner', null::admission.budgets;
        return;
    end if;
    select * into v_found from admission.budgets w
    where w.scope = b.scope and coalesce(w.key_id, w.project_id, w.organisation_id) = coalesce(b.key_id, b.project_id, b.organisation_id)
        and coalesce(w.end_user, '') = coalesce(b.end_user, '') and w.span = b.span and coalesce(w.window_s, 0) = coalesce(b.window_s, 0)
        and w.hard = b.hard and w.default_id is null and w.removed_at is null;
    if found then
        return query select 'exists', v_found;
        return;
    end if;
    begin
        b := admission.insert_budget(b);
        if admission.budgets_at_most(b.organisation_id) > p_most then
            raise exception 'too many' using errcode = 'TX001';
        end if;
    exception when sqlstate 'TX001' then
        return query select 'too_many', null::admission.budgets;
        return;
    end;
    return query select 'made', b;
end
$$;

-- Gives a budget another limit or other thresholds; null leaves what it has.  A default's go to everyone that it was opened for.
-- No row: there is no such budget.
create function admission.change_budget(p_id uuid, p_limit bigint, p_thresholds int[]) returns setof admission.budgets
language plpgsql security definer set search_path = pg_catalog, admission as $$
begin
    perform from admission.budgets w where (w.id = p_id or w.default_id = p_id) and w.removed_at is null order by w.id for update;
    update admission.budgets w
    set limit_utok = coalesce(p_limit, w.limit_utok), thresholds = coalesce(p_thresholds, w.thresholds), unaligned = true
    where (w.id = p_id or w.default_id = p_id) and w.removed_at is null;
    return query select * from admission.budgets w where w.id = p_id and w.removed_at is null;
end
$$;

-- A budget that is removed bounds no new request; what is held on it ends on it.  A default takes those along that it opened.
create function admission.remove_budget(p_id uuid) returns setof admission.budgets
language plpgsql security definer set search_path = pg_catalog, admission as $$
declare
    v_now timestamptz;
begin
    perform from identity.organisations o
    where o.id = (select w.organisation_id from admission.budgets w where w.id = p_id) for update;
    perform from admission.budgets w where (w.id = p_id or w.default_id = p_id) and w.removed_at is null order by w.id for update;
    v_now := clock_timestamp();
    update admission.budgets w set removed_at = v_now, changed_at = v_now where (w.id = p_id or w.default_id = p_id) and w.removed_at is null;
    return query select * from admission.budgets w where w.id = p_id and w.removed_at = v_now;
end
$$;

-- What a request of this key is held on.  Of end users the verdict on a key knows nothing: instead of their budgets there is an
-- entry without an account, whose stamp changes with them.
create or replace function admission.budgets_of(p_organisation uuid, p_project uuid, p_key uuid) returns jsonb
language sql stable set search_path = pg_catalog, admission as $$
    select coalesce((
        select jsonb_agg(jsonb_build_object('id', b.id, 'account', b.account, 'scope', b.scope, 'hard', b.hard) order by b.id)
        from admission.budgets b
        where b.removed_at is null and (
            b.scope = 'organisation' and coalesce(b.key_id, b.project_id, b.organisation_id) = p_organisation
            or b.scope = 'project' and coalesce(b.key_id, b.project_id, b.organisation_id) = p_project
            or b.scope = 'key' and coalesce(b.key_id, b.project_id, b.organisation_id) = p_key
        )
    ), '[]'::jsonb) || coalesce((
        select jsonb_build_array(jsonb_build_object(
            'id', p_project, 'account', 0, 'scope', 'end_user', 'hard', false, 'stamp', (extract(epoch from max(b.changed_at)) * 1000000)::bigint
        ))
        from admission.budgets b
        where b.scope = 'end_user' and b.project_id = p_project and b.default_id is null
        having count(*) filter (where b.removed_at is null) > 0
    ), '[]'::jsonb)
$$;

-- The budgets in force of one end user: his own, and of each default whose window he has none for, the one that it opened.
create function admission.budgets_of_end_user(p_project uuid, p_end_user text) returns setof admission.budgets
language sql stable set search_path = pg_catalog, admission as $$
    select b.* from admission.budgets b
    where b.scope = 'end_user' and coalesce(b.key_id, b.project_id, b.organisation_id) = p_project and coalesce(b.end_user, '') = p_end_user
        and b.removed_at is null
        and (b.default_id is null or not exists (
            select from admission.budgets o
            where o.scope = 'end_user' and coalesce(o.key_id, o.project_id, o.organisation_id) = p_project and coalesce(o.end_user, '') = p_end_user
                and o.span = b.span and coalesce(o.window_s, 0) = coalesce(b.window_s, 0) and o.default_id is null and o.removed_at is null
        ) and exists (select from admission.budgets d where d.id = b.default_id and d.removed_at is null))
    order by b.id
$$;

-- The same, as `budgets_of` tells them; what the project's defaults have not opened yet is opened first, once.
create function admission.open_end_user_budgets(p_project uuid, p_end_user text) returns jsonb
language plpgsql security definer set search_path = pg_catalog, admission as $$
declare
    d admission.budgets;
    v_locked boolean := false;
begin
    loop
        select w.* into d
        from admission.budgets w
        where w.scope = 'end_user' and coalesce(w.key_id, w.project_id, w.organisation_id) = p_project and coalesce(w.end_user, '') = ''
            and w.removed_at is null
            and not exists (
                select from admission.budgets o
                where o.scope = 'end_user' and coalesce(o.key_id, o.project_id, o.organisation_id) = p_project
                    and coalesce(o.end_user, '') = p_end_user and o.removed_at is null
                    and (o.default_id = w.id or o.default_id is null and o.span = w.span and coalesce(o.window_s, 0) = coalesce(w.window_s, 0))
            )
        order by w.id limit 1;
        exit when not found;
        if not v_locked then
            -- Whoever comes second looks again, and finds what the first one has opened.
            perform pg_advisory_xact_lock(7468, hashtext(p_project::text || p_end_user));
            v_locked := true;
            continue;
        end if;
        d.default_id := d.id; d.id := admission.new_id(); d.end_user := p_end_user;
        perform admission.insert_budget(d);
    end loop;
    return coalesce((
        select jsonb_agg(jsonb_build_object('id', b.id, 'account', b.account, 'scope', b.scope, 'hard', b.hard) order by b.id)
        from admission.budgets_of_end_user(p_project, p_end_user) b
    ), '[]'::jsonb);
end
$$;

-- Budgets as they stand: those whose period is over as if they had been rolled, which the next hold on them will do.
create function admission.budgets_now(p_ids uuid[])
returns table (
    budget admission.budgets, rolled admission.budgets, used_utok bigint, held_utok bigint, left_utok bigint, comes_back_at timestamptz
)
language sql stable security definer set search_path = pg_catalog, admission as $$
    select b, r, coalesce(a.debits_posted, 0) - r.base_utok, coalesce(a.debits_pending, 0),
           greatest(b.limit_utok - (coalesce(a.debits_posted, 0) - r.base_utok) - coalesce(a.debits_pending, 0), 0),
           admission.comes_back_at(r, coalesce(a.debits_posted, 0))
    from admission.budgets b
    left join ledger.accounts a on a.id = b.account
    cross join lateral admission.rolled(b, coalesce(a.debits_posted, 0), clock_timestamp()) r
    where b.id = any (p_ids)
$$;

revoke all on function admission.budgets_at_most, admission.insert_budget, admission.make_budget, admission.change_budget from public;
revoke all on function admission.remove_budget, admission.budgets_of, admission.budgets_of_end_user from public;
revoke all on function admission.open_end_user_budgets, admission.budgets_now from public;
grant execute on function admission.make_budget, admission.change_budget, admission.remove_budget to taximeter_app;
grant execute on function admission.budgets_of, admission.budgets_of_end_user, admission.open_end_user_budgets, admission.budgets_now to taximeter_app;
