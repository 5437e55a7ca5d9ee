-- Webhooks: who is told what happened, and what became of each attempt to tell him.

create table admission.webhooks (
    id uuid primary key,
    project_id uuid references identity.projects (id),             -- both null: the whole installation
    organisation_id uuid references identity.organisations (id),
    url text not null check (url ~ '^https?://' and char_length(url) <= 2000),
    types text[] not null default '{}',                            -- empty: every type; 'approval.*': all that begin so
    secret text not null check (secret ~ '^whsec_[A-Za-z0-9+/]{32,88}={0,2}$'),
    old_secret text,                                               -- signs as well until its time is over
    old_secret_until timestamptz,
    disabled_at timestamptz,
    disabled_reason text,
    created_at timestamptz not null default clock_timestamp(),
    constraint one_owner check (project_id is null or organisation_id is null),
    constraint old_secret_has_an_end check ((old_secret is null) = (old_secret_until is null)),
    constraint disabled_says_why check ((disabled_at is null) = (disabled_reason is null))
);

-- Events that nobody was looked for yet.  A row is written with its event and becomes visible with it, however late that commits:
-- no cursor over ids or times could promise that.
create table admission.event_fanout (
    event_id uuid primary key references admission.events (id)
);

-- One event for one webhook.
create table admission.deliveries (
    id uuid primary key default admission.new_id(),
    event_id uuid not null references admission.events (id),
    webhook_id uuid not null references admission.webhooks (id) on delete cascade,
    state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
    attempts int not null default 0 check (attempts >= 0),         -- also the fence: only the attempt that was made last may report
    next_at timestamptz not null default clock_timestamp(),        -- while one attempt runs, when it is taken for lost
    response_status smallint,
    error text,
    created_at timestamptz not null default clock_timestamp(),
    ended_at timestamptz,
    unique (event_id, webhook_id),
    constraint ended_has_time check ((state = 'pending') = (ended_at is null))
) with (fillfactor = 70);
create index deliveries_due on admission.deliveries (webhook_id, next_at) where state = 'pending';
create index deliveries_of_webhook on admission.deliveries (webhook_id, id);
create index deliveries_ended on admission.deliveries (ended_at) where state <> 'pending';

create table admission.delivery_attempts (
    delivery_id uuid not null references admission.deliveries (id) on delete cascade,
    made_at timestamptz not null default clock_timestamp(),
    response_status smallint,
    error text,
    duration_ms int not null,
    primary key (delivery_id, made_at)
);

-- As before, and leaves the event for whoever looks for webhooks.
create or replace function admission.emit(p_type text, p_project uuid, p_data jsonb, p_dedup text default null) returns void
language sql security definer set search_path = pg_catalog, admission as $$
    with written as (
        insert into admission.events (id, type, project_id, data, dedup)
        values (admission.new_id(), p_type, p_project, p_data, p_dedup)
        on conflict (dedup) do nothing
        returning id
    )
    insert into admission.event_fanout (event_id) select w.id from written w
$$;

-- The public form of an id, as the API writes it: a prefix and 26 letters of Crockford's base32.
create function admission.public_id(p_prefix text, p_id uuid) returns text
language sql immutable set search_path = pg_catalog as $$
    select p_prefix || '_' || string_agg(
        substr('0123456789abcdefghjkmnpqrstvwxyz', 1 + substr(b.bits, 1 + 5 * n, 5)::bit(5)::int, 1), '' order by n
    )
    from generate_series(0, 25) n,
        (select '00' || ('x' || replace(p_id::text, '-', ''))::bit(128)::text as bits) b
$$;

-- Makes the deliveries of some events that nobody was looked for yet; returns how many events.  Several may run at once: what one
-- has taken the others pass over, and what was taken by one that dies is there again.  The test of a webhook is for it alone.
create function admission.fan_out(p_limit int) returns int
language sql security definer set search_path = pg_catalog, admission as $$
    with taken as (
        delete from admission.event_fanout f
        where f.event_id in (select x.event_id from admission.event_fanout x order by x.event_id limit p_limit for update skip locked)
        returning f.event_id
    ),
    made as (
        insert into admission.deliveries (event_id, webhook_id)
        select e.id, w.id
        from taken t
        join admission.events e on e.id = t.event_id
        left join identity.projects p on p.id = e.project_id
        join admission.webhooks w on
            w.disabled_at is null
            and case
                when e.type = 'webhook.test' then e.data ->> 'webhook' = admission.public_id('whk', w.id)
                when w.project_id is not null and w.project_id is distinct from e.project_id then false
                when w.organisation_id is not null
                    and w.organisation_id::text is distinct from coalesce(p.organisation_id::text, e.data ->> 'organisation_id') then false
                else w.types = '{}' or e.type = any (w.types) or split_part(e.type, '.', 1) || '.*' = any (w.types)
            end
        on conflict (event_id, webhook_id) do nothing
    )
    select count(*)::int from taken
$$;

-- An event that one webhook alone is told; null when there is no such webhook.  Returns the event's id.
create function admission.test_webhook(p_webhook uuid) returns uuid
language sql security definer set search_path = pg_catalog, admission as $$
    with written as (
        insert into admission.events (id, type, project_id, data)
        select admission.new_id(), 'webhook.test', w.project_id, jsonb_build_object('webhook', admission.public_id('whk', w.id))
        from admission.webhooks w where w.id = p_webhook
        returning id
    ),
    left_for_later as (
        insert into admission.event_fanout (event_id) select w.id from written w
    )
    select w.id from written w
$$;

revoke all on function admission.fan_out, admission.test_webhook, admission.public_id from public;
grant execute on function admission.fan_out, admission.test_webhook to taximeter_app;
grant select, insert, update, delete on admission.webhooks, admission.deliveries to taximeter_app;
grant select, insert on admission.delivery_attempts to taximeter_app;
grant select on admission.event_fanout to taximeter_app;
