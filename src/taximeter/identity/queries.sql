-- name: insert_organisation
insert into identity.organisations (id, name) values ($1, $2)
returning id, name, created_at, time_zone;

-- name: find_organisation
select id, name, created_at, time_zone from identity.organisations where id = $1;

-- name: list_organisations
-- Ids are made in order of time, so they page.
select id, name, created_at, time_zone
from identity.organisations
where ($1::uuid is null or id < $1)
order by id desc
limit $2;

-- name: insert_project
insert into identity.projects (id, organisation_id, name, lane, allowance_account, prepaid_account, plan, currency)
values ($1, $2, $3, $4, $5, $6, $7, $8)
returning id, organisation_id, name, lane, allowance_account, prepaid_account, plan, currency, created_at;

-- name: update_project
-- What is null stays as it is.
update identity.projects
set plan = coalesce($2, plan), currency = coalesce($3, currency)
where id = $1
returning id, organisation_id, name, lane, allowance_account, prepaid_account, plan, currency, created_at;

-- name: find_project
select id, organisation_id, name, lane, allowance_account, prepaid_account, plan, currency, created_at from identity.projects where id = $1;

-- name: list_projects
select id, organisation_id, name, lane, allowance_account, prepaid_account, plan, currency, created_at
from identity.projects
where ($1::uuid is null or id < $1) and ($2::uuid is null or organisation_id = $2)
order by id desc
limit $3;

-- name: insert_key
-- No row: another key has this prefix; the caller draws again.
insert into identity.api_keys (id, project_id, name, prefix, secret_sha256, expires_at, requests_per_minute, tokens_per_minute_utok)
values ($1, $2, $3, $4, $5, $6, $7, $8)
on conflict (prefix) do nothing
returning id, project_id, name, prefix, requests_per_minute, tokens_per_minute_utok, created_at, expires_at, revoked_at, last_used_at;

-- name: list_keys
select id, project_id, name, prefix, requests_per_minute, tokens_per_minute_utok, created_at, expires_at, revoked_at, last_used_at
from identity.api_keys
where project_id = $1 and ($2::uuid is null or id < $2)
order by id desc
limit $3;

-- name: key
select id, project_id, name, prefix, requests_per_minute, tokens_per_minute_utok, created_at, expires_at, revoked_at, last_used_at
from identity.api_keys
where id = $1;

-- name: limit_key
select id, project_id, name, prefix, requests_per_minute, tokens_per_minute_utok, created_at, expires_at, revoked_at, last_used_at
from identity.limit_key($1, $2, $3, $4, $5, $6);

-- name: revoke_key
-- Revoking twice keeps the first time.
update identity.api_keys
set revoked_at = coalesce(revoked_at, clock_timestamp())
where project_id = $1 and id = $2
returning id, project_id, name, prefix, requests_per_minute, tokens_per_minute_utok, created_at, expires_at, revoked_at, last_used_at;

-- name: find_key
-- The credential behind a prefix, and a note of its use, at most once a minute.
with found as (
    select
        k.id, k.name, k.requests_per_minute, k.tokens_per_minute_utok, k.secret_sha256, k.revoked_at, k.expires_at, k.last_used_at,
        p.id as project_id, p.organisation_id, p.lane,
        p.allowance_account, p.prepaid_account, p.plan, p.currency
    from identity.api_keys k
    join identity.projects p on p.id = k.project_id
    where k.prefix = $1
), noted as (
    update identity.api_keys k
    set last_used_at = clock_timestamp()
    from found
    where
        k.id = found.id
        and found.secret_sha256 = $2
        and (found.last_used_at is null or found.last_used_at < clock_timestamp() - interval '1 minute')
)
select
    id,
    name,
    project_id,
    organisation_id,
    lane,
    allowance_account,
    prepaid_account,
    requests_per_minute,
    tokens_per_minute_utok,
    plan,
    currency,
    admission.terms_of(organisation_id, project_id, id) as terms,
    secret_sha256,
    revoked_at is not null as revoked,
    extract(epoch from expires_at - clock_timestamp())::double precision as remaining_s
from found;

-- name: find_caller
-- Whom a key proves, for what was asked with it before; no row when it may not be used any more.
select
    k.id, k.name, p.id as project_id, p.organisation_id, p.lane, p.allowance_account, p.prepaid_account,
    k.requests_per_minute, k.tokens_per_minute_utok, p.plan, p.currency,
    admission.terms_of(p.organisation_id, p.id, k.id) as terms
from identity.api_keys k
join identity.projects p on p.id = k.project_id
where k.id = $1 and k.revoked_at is null and (k.expires_at is null or k.expires_at > clock_timestamp());
