-- Statements of limits.

-- name: set
select * from admission.set_limit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: remove
select * from admission.remove_limit($1, $2)

-- name: list
select l.*, case when l.shadow then coalesce((select sum(r.refused) from admission.shadow_refusals r where r.bucket = l.id), 0)::bigint end as refused
from admission.limits l
where l.removed_at is null and ($1::uuid is null or l.id < $1)
    and ($2::uuid is null or l.project_id = $2 or l.key_id in (select k.id from identity.api_keys k where k.project_id = $2))
    and ($3::uuid is null or l.key_id = $3) and ($4::text is null or l.model = $4)
order by l.id desc
limit $5

-- name: refused_by_day
select day, refused from admission.shadow_refusals where bucket = $1 order by day desc limit $2

-- name: key_exists
select exists (select from identity.api_keys k where k.id = $1)

-- name: project_exists
select exists (select from identity.projects p where p.id = $1)

-- name: shadow_total
select coalesce(sum(refused), 0)::bigint from admission.shadow_refusals

-- name: standing
-- How full buckets are: the moments up to which they are used up, and what runs, in the order of the ids.
select
    coalesce(b.requests_at, 0) as requests_at, coalesce(b.tokens_at, 0) as tokens_at,
    (select count(*) from admission.running r where r.bucket = u.id) as running,
    (extract(epoch from statement_timestamp()) * 1000000000)::bigint as now
from unnest($1::uuid[]) with ordinality u (id, n)
left join admission.buckets b on b.id = u.id
order by u.n
