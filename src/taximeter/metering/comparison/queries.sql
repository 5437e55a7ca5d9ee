-- Statements of comparisons between two cards.  Read only.

-- name: receipts
select r.project_id, r.model, r.work::text as work
from metering.receipts r
where r.settled_at >= $1 and r.settled_at < $2 and ($3::uuid is null or r.project_id = $3) and ($4::text is null or r.model = $4)

-- name: count
select count(*)
from metering.receipts r
where r.settled_at >= $1 and r.settled_at < $2 and ($3::uuid is null or r.project_id = $3) and ($4::text is null or r.model = $4)

-- name: customers
select p.id, p.name as project, o.name as organisation
from identity.projects p
join identity.organisations o on o.id = p.organisation_id
where p.id = any ($1::uuid[])
