-- The catalog: models, rate cards, tariffs and plans as immutable versions.
-- What a receipt names (card@version, tariff@version) can be read here for ever, exactly as it was.

create schema pricing;

create table pricing.documents (
    seq bigint generated always as identity primary key,
    kind text not null check (kind in ('model', 'rate_card', 'tariff', 'plan')),
    name text not null check (name ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
    version integer not null check (version between 1 and 1000000),
    effective_from timestamptz not null,
    body text not null,                       -- canonical JSON
    sha256 text not null,
    published_at timestamptz not null default clock_timestamp(),
    constraint one_content_per_version unique (kind, name, version),
    constraint digest_is_of_body check (sha256 = encode(sha256(convert_to(body, 'UTF8')), 'hex')),
    constraint body_is_its_own check (
        body::jsonb ->> 'kind' = kind and body::jsonb ->> 'name' = name and (body::jsonb ->> 'version')::integer = version
    )
);

create function pricing.refuse_change() returns trigger language plpgsql as $$
begin
    raise exception 'published catalog versions are immutable; publish a higher version instead' using errcode = 'restrict_violation';
end
$$;

create trigger documents_are_immutable before update or delete on pricing.documents
for each row execute function pricing.refuse_change();
create trigger documents_are_not_truncated before truncate on pricing.documents
for each statement execute function pricing.refuse_change();

grant usage on schema pricing to taximeter_app;
grant select on pricing.documents to taximeter_app;
