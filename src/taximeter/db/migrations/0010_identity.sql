-- Who may call: organisations, their projects (cost centres) and the keys of those.
create schema identity;

create table identity.organisations (
    id uuid primary key,
    name text not null check (char_length(name) between 1 and 200),
    created_at timestamptz not null default clock_timestamp()
);

create table identity.projects (
    id uuid primary key,
    organisation_id uuid not null references identity.organisations,
    name text not null check (char_length(name) between 1 and 200),
    -- The ledger lane that all of the project's postings go through: chosen once, because the accounts live in it.
    lane smallint not null check (lane >= 0),
    -- The wallet, as the ledger named it: no foreign key, because the two domains do not know each other.
    allowance_account bigint not null unique,
    prepaid_account bigint not null unique,
    created_at timestamptz not null default clock_timestamp()
);
create index on identity.projects (organisation_id);

create table identity.api_keys (
    id uuid primary key,
    project_id uuid not null references identity.projects,
    name text not null check (char_length(name) between 1 and 200),
    -- The visible part of the key: it finds the row, and people recognise a key by it.
    prefix text not null unique check (prefix ~ '^[0-9a-z]{8}$'),
    -- SHA-256 of the secret part.  The secret holds 200 random bits, so there is nothing that a slow hash would protect.
    secret_sha256 bytea not null check (octet_length(secret_sha256) = 32),
    created_at timestamptz not null default clock_timestamp(),
    expires_at timestamptz,
    revoked_at timestamptz,
    last_used_at timestamptz
);
create index on identity.api_keys (project_id, id);

grant usage on schema identity to taximeter_app;
grant select, insert on identity.organisations, identity.projects to taximeter_app;
grant select, insert on identity.api_keys to taximeter_app;
-- A key is never renamed, moved or given another secret: it is revoked and replaced.
grant update (revoked_at, last_used_at) on identity.api_keys to taximeter_app;
