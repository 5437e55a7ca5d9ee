-- What happened that somebody may want to be told: written in the transaction of what happened, read by webhooks and operators.

create table admission.events (
    id uuid primary key,
    type text not null check (type ~ '^[a-z]+(_[a-z]+)*(\.[a-z]+(_[a-z]+)*)+$' and char_length(type) <= 60),
    project_id uuid,                          -- null: about the whole installation
    data jsonb not null check (jsonb_typeof(data) = 'object'),
    dedup text unique check (char_length(dedup) between 1 and 200),
    created_at timestamptz not null default clock_timestamp()
);
create index events_of_project on admission.events (project_id, id);

create function admission.refuse_rewrite() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % is not allowed', tg_table_name, tg_op using errcode = 'restrict_violation';
end
$$;
create trigger events_append_only before update or delete on admission.events
    for each row execute function admission.refuse_rewrite();
create trigger events_append_only_truncate before truncate on admission.events
    for each statement execute function admission.refuse_rewrite();

-- A uuidv7 of now by the database's clock, for rows and postings that are born in the database.
create function admission.new_id() returns uuid language sql volatile set search_path = pg_catalog as $$
    select (
        lpad(to_hex((extract(epoch from clock_timestamp()) * 1000)::bigint), 12, '0') || '7' || substr(u, 14, 3)
        || substr('89ab', 1 + (random() * 3)::int, 1) || substr(u, 18)
    )::uuid
    from replace(gen_random_uuid()::text, '-', '') u
$$;

-- Writes one event; with a dedup text that is on record already, nothing.
create function admission.emit(p_type text, p_project uuid, p_data jsonb, p_dedup text default null) returns void
language sql security definer set search_path = pg_catalog, admission as $$
    insert into admission.events (id, type, project_id, data, dedup)
    values (admission.new_id(), p_type, p_project, p_data, p_dedup)
    on conflict (dedup) do nothing
$$;

revoke all on function admission.emit, admission.new_id, admission.refuse_rewrite from public;
grant select on admission.events to taximeter_app;
grant execute on function admission.emit to taximeter_app;
