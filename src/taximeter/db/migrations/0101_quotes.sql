-- Quotes: signed offers, and which request has used one.

-- The public halves of the keys that quotes are signed with.  A key is on record before anything is signed with it, so that what an
-- installation has said can be checked as long as its database lives.
create table metering.signing_keys (
    id text primary key check (length(id) = 43),                 -- the thumbprint
    public bytea not null unique check (octet_length(public) = 32),
    created_at timestamptz not null default clock_timestamp()
);

create table metering.quotes (
    id uuid primary key,
    project_id uuid not null,
    fingerprint bytea not null check (octet_length(fingerprint) = 32),
    maximum_utok bigint not null check (maximum_utok >= 0),
    document text not null,                   -- as it was sent, signature included
    parts text not null,                      -- a digest of each field, to tell which one differs
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz not null
);
create index quotes_by_age on metering.quotes (expires_at);

-- One request for each quote.  A request that was released gives its quote back: the next one takes the row over.
create table metering.quote_uses (
    quote_id uuid primary key references metering.quotes (id) on delete cascade,
    request_id uuid not null unique references metering.requests (id),
    created_at timestamptz not null default clock_timestamp()
);

-- The second opinion on what metering.post decides.
create function metering.check_quote_use() returns trigger language plpgsql security definer set search_path = pg_catalog, metering as $$
begin
    if not exists (
        select from metering.quotes o join metering.requests q on q.project_id = o.project_id and q.held_utok <= o.maximum_utok
        where o.id = new.quote_id and q.id = new.request_id
    ) then
        raise exception 'quote % is not for request %: it is of another project, or less', new.quote_id, new.request_id
            using errcode = 'check_violation';
    end if;
    return new;
end
$$;

create function metering.check_quote_free() returns trigger language plpgsql security definer set search_path = pg_catalog, metering as $$
begin
    if new.request_id <> old.request_id and not metering.is_released(old.request_id) then
        raise exception 'quote % is used by request %, which was not released', old.quote_id, old.request_id using errcode = 'unique_violation';
    end if;
    return new;
end
$$;

create trigger for_its_project before insert or update on metering.quote_uses for each row execute function metering.check_quote_use();
create trigger used_once before update on metering.quote_uses for each row execute function metering.check_quote_free();
create trigger never_rewritten before update on metering.quotes for each row execute function ledger.refuse_rewrite();
create trigger append_only before update or delete on metering.signing_keys for each row execute function ledger.refuse_rewrite();
create trigger append_only_truncate before truncate on metering.signing_keys for each statement execute function ledger.refuse_rewrite();

-- Forgets quotes whose time was over so many seconds ago; not those of requests that still run.  Returns how many.
create function metering.forget_quotes(p_keep_s int, p_limit int) returns int
language sql security definer set search_path = pg_catalog, metering as $$
    with gone as (
        delete from metering.quotes o
        where o.id in (
            select x.id
            from metering.quotes x
            left join metering.quote_uses u on u.quote_id = x.id
            where x.expires_at < clock_timestamp() - make_interval(secs => p_keep_s)
                and not exists (select from ledger.holds h where h.id = u.request_id)
            order by x.expires_at limit p_limit
        )
        returning 1
    )
    select count(*)::int from gone
$$;

revoke all on function metering.check_quote_use, metering.check_quote_free, metering.forget_quotes from public;
grant select, insert on metering.quotes, metering.signing_keys to taximeter_app;
grant select on metering.quote_uses to taximeter_app;
grant execute on function metering.forget_quotes to taximeter_app;
