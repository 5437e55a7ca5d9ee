-- Statements of quotes.

-- name: keep
insert into metering.quotes (id, project_id, fingerprint, maximum_utok, document, parts, expires_at)
select * from unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::bigint[], $5::text[], $6::text[], $7::timestamptz[])

-- name: keep_within
-- As keep, for projects with limits; answers the shares that are not kept.
select share, reason, wait_ns
from metering.keep_quotes($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: find
select o.document, o.fingerprint, o.parts, o.maximum_utok, o.expires_at, o.expires_at <= clock_timestamp() as expired,
    case when u.request_id is not null and not metering.is_released(u.request_id) then u.request_id end as used_by,
    exists (
        select from metering.signing_key_revocations v
        where v.revoked_from <= o.created_at and v.key_id = o.document::jsonb -> 'signature' ->> 'key'
    ) as revoked,
    exists (select from admission.approvals a where a.quote_id = o.id and a.state in ('approved', 'used')) as approved
from metering.quotes o
left join metering.quote_uses u on u.quote_id = o.id
where o.id = $1 and o.project_id = $2

-- name: page
-- Newest first, from before $2 on.
select o.id, o.document, o.fingerprint, o.parts, o.maximum_utok, o.expires_at, o.expires_at <= clock_timestamp() as expired,
    case when u.request_id is not null and not metering.is_released(u.request_id) then u.request_id end as used_by,
    exists (
        select from metering.signing_key_revocations v
        where v.revoked_from <= o.created_at and v.key_id = o.document::jsonb -> 'signature' ->> 'key'
    ) as revoked
from metering.quotes o
left join metering.quote_uses u on u.quote_id = o.id
where o.project_id = $1 and ($2::uuid is null or o.id < $2)
order by o.id desc
limit $3

-- name: forget
select metering.forget_quotes($1, $2)

-- name: register_key
insert into metering.signing_keys (id, public) values ($1, $2) on conflict do nothing

-- name: keys
select public from metering.signing_keys order by created_at desc, id

-- name: revocations
select key_id, min(revoked_from) as revoked_from
from metering.signing_key_revocations
group by key_id

-- name: knows_key
select exists (select from metering.signing_keys where id = $1)

-- name: revoke_key
-- From an earlier time than before, or not at all.
insert into metering.signing_key_revocations (key_id, revoked_from)
select $1, t.revoked_from
from (select coalesce($2::timestamptz, clock_timestamp()) as revoked_from) t
where not exists (select from metering.signing_key_revocations v where v.key_id = $1 and v.revoked_from <= t.revoked_from)
