-- Circuit breakers as the processes see them, and what operators have done about them.

-- Not logged: after a crash of the database every process tells again what it sees.
create unlogged table admission.breakers (
    process_id uuid not null,
    process_kind text not null,
    engine text not null,
    model text not null,                      -- name@version
    state text not null check (state in ('closed', 'open', 'half_open')),
    since timestamptz not null,
    failures int not null check (failures >= 0),          -- in a row
    openings int not null check (openings >= 0),          -- since it was closed
    reason text,                              -- the code of the last failure
    retry_at timestamptz,                     -- when somebody is let through again
    seen_at timestamptz not null default clock_timestamp(),
    primary key (process_id, engine, model)
) with (fillfactor = 50);

-- Resets are orders to all processes, and stay as a record of who gave them.  Their numbers are in the order of their commits.
create table admission.breaker_resets (
    id bigint primary key generated always as identity,
    engine text not null,
    model text not null,
    operator text not null check (operator <> ''),
    created_at timestamptz not null default clock_timestamp()
);
create trigger breaker_resets_append_only before update or delete on admission.breaker_resets
    for each row execute function admission.refuse_rewrite();
create trigger breaker_resets_append_only_truncate before truncate on admission.breaker_resets
    for each statement execute function admission.refuse_rewrite();

-- Tells what a process sees, forgets what dead ones saw, writes an event for each change, and answers what operators have ordered:
-- {"last": number, "resets": [{"engine", "model"}]}, those after p_after; with null, only the number.
create function admission.publish_breakers(p_process uuid, p_kind text, p_views jsonb, p_changes jsonb, p_after bigint, p_dead_s float8)
returns jsonb language plpgsql security definer set search_path = pg_catalog, admission as $$
declare
    v_last bigint;
    v_resets jsonb := '[]';
begin
    perform admission.emit(
        'breaker.changed', null, c.change - 'number' || jsonb_build_object('process', p_process, 'process_kind', p_kind),
        format('breaker:%s:%s', p_process, c.change ->> 'number')
    )
    from jsonb_array_elements(p_changes) with ordinality c (change, i) order by c.i;

    -- Whoever comes first buries the dead.
    delete from admission.breakers b
        where b.ctid = any (array(
            select d.ctid from admission.breakers d
            where d.process_id <> p_process and d.seen_at < clock_timestamp() - make_interval(secs => p_dead_s)
            for update skip locked
        ));
    delete from admission.breakers b
    where b.process_id = p_process
        and not exists (select from jsonb_to_recordset(p_views) v (engine text, model text) where v.engine = b.engine and v.model = b.model);
    insert into admission.breakers (process_id, process_kind, engine, model, state, since, failures, openings, reason, retry_at)
    select p_process, p_kind, v.engine, v.model, v.state, to_timestamp(v.since_ms / 1000.0), v.failures, v.openings, v.reason,
           case when v.wait_ms > 0 then clock_timestamp() + make_interval(secs => v.wait_ms / 1000.0) end
    from jsonb_to_recordset(p_views) v (
        engine text, model text, state text, since_ms bigint, failures int, openings int, reason text, wait_ms bigint
    )
    on conflict (process_id, engine, model) do update
    set state = excluded.state, since = excluded.since, failures = excluded.failures, openings = excluded.openings,
        reason = excluded.reason, retry_at = excluded.retry_at, seen_at = clock_timestamp();

    select coalesce(max(r.id), 0) into v_last from admission.breaker_resets r;
    if p_after is not null and v_last > p_after then
        select jsonb_agg(jsonb_build_object('engine', r.engine, 'model', r.model) order by r.id) into v_resets
        from admission.breaker_resets r where r.id > p_after and r.id <= v_last;
    end if;
    return jsonb_build_object('last', v_last, 'resets', v_resets);
end
$$;

-- Orders all processes to close a breaker; false when none of those that live has it.
create function admission.reset_breaker(p_engine text, p_model text, p_operator text, p_dead_s float8)
returns boolean language plpgsql security definer set search_path = pg_catalog, admission as $$
begin
    if not exists (
        select from admission.breakers b
        where b.engine = p_engine and b.model = p_model and b.seen_at > clock_timestamp() - make_interval(secs => p_dead_s)
    ) then
        return false;
    end if;
    -- One after the other: whoever has read a number must have seen all that are below it.
    perform pg_advisory_xact_lock(7125, 0);
    insert into admission.breaker_resets (engine, model, operator) values (p_engine, p_model, p_operator);
    return true;
end
$$;

create index events_of_breakers on admission.events (type, id desc) where type = 'breaker.changed';

revoke all on function admission.publish_breakers, admission.reset_breaker from public;
grant select, delete on admission.breakers to taximeter_app;
grant select on admission.breaker_resets to taximeter_app;
grant execute on function admission.publish_breakers, admission.reset_breaker to taximeter_app;
