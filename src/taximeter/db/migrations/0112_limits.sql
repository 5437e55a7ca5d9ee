-- Limits of keys, projects and models: requests and Tokens in a time, and requests at the same time.  They are decided in the
-- transaction of the hold, and what a hold took is freed in the transaction of its end, whoever ends it.

create table admission.limits (
    id uuid primary key,                      -- the bucket it is counted in
    scope text not null,
    key_id uuid references identity.api_keys,
    project_id uuid references identity.projects,
    model text check (char_length(model) between 1 and 200),   -- null: every model
    kind text not null check (kind in ('requests', 'tokens', 'concurrency')),
    most bigint not null check (most between 1 and 1000000000000000),   -- requests, micro-Tokens, requests at the same time
    window_s int check (window_s between 1 and 86400),
    shadow boolean not null default false,    -- counts what it would refuse, and refuses nothing
    operator text not null check (char_length(operator) between 1 and 200),
    created_at timestamptz not null default clock_timestamp(),
    changed_at timestamptz not null default clock_timestamp(),
    removed_at timestamptz,
    constraint limits_of_somebody check (
        case scope
            when 'key' then key_id is not null and project_id is null
            when 'project' then project_id is not null and key_id is null
            when 'model' then model is not null and key_id is null and project_id is null
            else false
        end
    ),
    constraint limits_in_a_time check ((kind = 'concurrency') = (window_s is null))
);
create unique index limits_once on admission.limits (scope, key_id, project_id, model, kind, window_s, shadow)
    nulls not distinct where removed_at is null;
create index limits_by_key on admission.limits (key_id) where removed_at is null and key_id is not null;
create index limits_by_project on admission.limits (project_id) where removed_at is null and project_id is not null;
create index limits_by_model on admission.limits (model) where removed_at is null and scope = 'model';

-- Requests that run, in each bucket that counts them.  Logged: it must outlive a crash as their holds do.
create table admission.running (
    request_id uuid not null,
    bucket uuid not null,
    primary key (request_id, bucket)
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);
create index running_by_bucket on admission.running (bucket);

-- Tokens that running requests took: what their ends give back.  Not logged, as the buckets are not.
create unlogged table admission.taken (
    request_id uuid primary key,
    amount_utok bigint not null,
    buckets uuid[] not null,
    mosts bigint[] not null,
    windows_s int[] not null,
    full_at bigint[] not null                 -- when all of it would have come back by itself, nanoseconds since 1970
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0);

-- What shadow limits would have refused, of requests that were let in.
create table admission.shadow_refusals (
    bucket uuid not null,
    day date not null,                        -- in UTC
    refused bigint not null check (refused > 0),
    primary key (bucket, day)
);

create or replace function admission.limits_of(p_project uuid, p_key uuid) returns jsonb
language sql stable set search_path = pg_catalog, admission as $$
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'bucket', l.id, 'scope', l.scope, 'model', l.model, 'kind', l.kind, 'most', l.most,
                'window_s', coalesce(l.window_s, 0), 'shadow', l.shadow
            ) order by l.id
        ), '[]'
    )
    from admission.limits l
    where l.removed_at is null and (l.key_id = p_key or l.project_id = p_project or l.scope = 'model')
$$;

-- What was used of a limit stays used when its height changes, up to all of it: a higher limit lets in at once, a lower one does not
-- shut for longer than its window.
create function admission.rescale(p_bucket uuid, p_kind text, p_before bigint, p_after bigint, p_window_s int) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    v_now constant bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
    v_window constant bigint := p_window_s * 1000000000::bigint;
begin
    update admission.buckets b
    set requests_at = case when p_kind = 'requests' then v_now + admission.rescaled(b.requests_at - v_now, p_before, p_after, v_window) else b.requests_at end,
        tokens_at = case when p_kind = 'tokens' then v_now + admission.rescaled(b.tokens_at - v_now, p_before, p_after, v_window) else b.tokens_at end
    where b.id = p_bucket;
end
$$;

create function admission.rescaled(p_level bigint, p_before bigint, p_after bigint, p_window bigint) returns bigint language sql immutable as $$
    select case when p_level <= 0 then p_level else least(div(p_level::numeric * p_before, p_after), p_window)::bigint end
$$;

-- Sets a limit: the same one of the same owner gets another height.  Null: its owner has p_limits_max for that model already.
create function admission.set_limit(
    p_id uuid, p_scope text, p_key uuid, p_project uuid, p_model text, p_kind text, p_most bigint, p_window_s int, p_shadow boolean,
    p_operator text, p_limits_max int
) returns admission.limits language plpgsql security definer set search_path = pg_catalog, admission as $$
declare
    v_old admission.limits; v_new admission.limits;
begin
    -- Operators do this seldom, and one after the other.
    perform pg_advisory_xact_lock(7467, 0);
    select * into v_old from admission.limits l
    where l.removed_at is null and l.scope = p_scope and l.kind = p_kind and l.shadow = p_shadow
        and (l.key_id, l.project_id, l.model, l.window_s) is not distinct from (p_key, p_project, p_model, p_window_s);
    if v_old.id is null and p_limits_max <= (
        select count(*) from admission.limits l
        where l.removed_at is null and l.scope = p_scope and (l.key_id, l.project_id, l.model) is not distinct from (p_key, p_project, p_model)
    ) then
        return null;
    end if;
    insert into admission.limits as l (id, scope, key_id, project_id, model, kind, most, window_s, shadow, operator)
    values (coalesce(v_old.id, p_id), p_scope, p_key, p_project, p_model, p_kind, p_most, p_window_s, p_shadow, p_operator)
    on conflict (id) do update set most = excluded.most, operator = excluded.operator, changed_at = clock_timestamp()
    returning * into v_new;
    if v_old.most <> v_new.most and v_new.kind <> 'concurrency' then
        perform admission.rescale(v_new.id, v_new.kind, v_old.most, v_new.most, v_new.window_s);
    end if;
    perform admission.tell_limit(v_new, v_old.most, v_new.most);
    return v_new;
end
$$;

-- Removes a limit; null when there is none.
create function admission.remove_limit(p_id uuid, p_operator text) returns admission.limits
language plpgsql security definer set search_path = pg_catalog, admission as $$
declare
    v_old admission.limits;
begin
    update admission.limits l
    set removed_at = clock_timestamp(), changed_at = clock_timestamp(), operator = p_operator
    where l.id = p_id and l.removed_at is null
    returning * into v_old;
    if v_old.id is not null then
        perform admission.tell_limit(v_old, v_old.most, null);
    end if;
    return v_old;
end
$$;

create function admission.tell_limit(p_limit admission.limits, p_before bigint, p_after bigint) returns void
language sql volatile set search_path = pg_catalog, admission as $$
    select admission.emit(
        'limit.changed',
        coalesce(p_limit.project_id, (select k.project_id from identity.api_keys k where k.id = p_limit.key_id)),
        jsonb_build_object(
            'limit', p_limit.id, 'scope', p_limit.scope, 'key', p_limit.key_id, 'model', p_limit.model, 'kind', p_limit.kind,
            'window_s', p_limit.window_s, 'shadow', p_limit.shadow, 'before', p_before, 'after', p_after, 'operator', p_limit.operator
        )
    )
$$;

-- Gives a key other limits of its own: those that are named.  No row: the project has no such key.
create function identity.limit_key(
    p_project uuid, p_key uuid, p_requests int, p_tokens_utok bigint, p_changed text[], p_operator text
) returns setof identity.api_keys language plpgsql security definer set search_path = pg_catalog, identity as $$
declare
    v_old identity.api_keys; v_new identity.api_keys;
begin
    select * into v_old from identity.api_keys k where k.project_id = p_project and k.id = p_key for update;
    if v_old.id is null then
        return;
    end if;
    update identity.api_keys k
    set requests_per_minute = case when 'requests_per_minute' = any (p_changed) then p_requests else k.requests_per_minute end,
        tokens_per_minute_utok = case when 'tokens_per_minute_utok' = any (p_changed) then p_tokens_utok else k.tokens_per_minute_utok end
    where k.id = p_key
    returning * into v_new;
    -- A key's limits are counted in a bucket with its own id.
    if v_old.requests_per_minute <> v_new.requests_per_minute then
        perform admission.rescale(p_key, 'requests', v_old.requests_per_minute, v_new.requests_per_minute, 60);
    end if;
    if v_old.tokens_per_minute_utok <> v_new.tokens_per_minute_utok then
        perform admission.rescale(p_key, 'tokens', v_old.tokens_per_minute_utok, v_new.tokens_per_minute_utok, 60);
    end if;
    perform admission.emit(
        'limit.changed', p_project,
        jsonb_build_object(
            'scope', 'key', 'key', p_key, 'operator', p_operator,
            'before', jsonb_build_object('requests_per_minute', v_old.requests_per_minute, 'tokens_per_minute_utok', v_old.tokens_per_minute_utok),
            'after', jsonb_build_object('requests_per_minute', v_new.requests_per_minute, 'tokens_per_minute_utok', v_new.tokens_per_minute_utok)
        )
    );
    return next v_new;
end
$$;

revoke all on function admission.set_limit, admission.remove_limit, admission.tell_limit, admission.rescale, admission.rescaled from public;
revoke all on function identity.limit_key from public;
grant select on admission.limits, admission.running, admission.shadow_refusals to taximeter_app;
grant execute on function admission.set_limit, admission.remove_limit, identity.limit_key to taximeter_app;
