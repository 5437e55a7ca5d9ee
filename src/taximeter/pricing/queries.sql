-- name: lock
-- One publication at a time: sequence numbers then become visible in their order.
select pg_advisory_xact_lock(7307497710863117414);

-- name: list_documents
select seq, body, published_at from pricing.documents order by seq;

-- name: find_published
select kind, name, version, sha256
from pricing.documents
where (kind, name, version) in (select * from unnest($1::text[], $2::text[], $3::int[]));

-- name: insert_document
insert into pricing.documents (kind, name, version, effective_from, body, sha256) values ($1, $2, $3, $4, $5, $6);

-- name: newest
select coalesce(max(seq), 0) as seq, clock_timestamp() as now from pricing.documents;
