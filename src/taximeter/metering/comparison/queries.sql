-- Statements of comparisons between two cards or tariffs.  Read only.

-- name: receipts
select r.project_id, r.model, r.work::text as work,
    (q.fare || jsonb_build_object('rate_card', q.rate_card, 'tariff', q.tariff))::text as held
from metering.receipts r
join metering.requests q on q.id = r.id
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
