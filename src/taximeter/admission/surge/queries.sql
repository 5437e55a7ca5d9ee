-- name: try_lead
select pg_try_advisory_lock(7468, 0)

-- name: read
select engine, policy::text, source, state::text, load_bp, reason, change, changes, surplus_utok,
    extract(epoch from good_until - clock_timestamp())::float8 as left_s
from admission.surge
order by engine

-- name: now_ms
select (extract(epoch from clock_timestamp()) * 1000)::bigint

-- name: note_change
insert into admission.surge_changes (engine, policy_id, policy, from_pct, to_pct, load_bp, followed_ppm, reason, surplus_utok)
values ($1, $2, $3::text::jsonb, $4, $5, $6, $7, $8, $9)
returning number

-- name: emit_change
select admission.emit('surge.changed', null, $1::text::jsonb, $2)

-- name: write
insert into admission.surge as s (engine, policy, source, state, factor_pct, load_bp, reason, change, changes, sampled_at, good_until)
values (
    $1, $2::text::jsonb, $3, $4::text::jsonb, $5, $6, $7, coalesce($8, 0), case when $8::bigint is null then 0 else 1 end,
    clock_timestamp(), clock_timestamp() + make_interval(secs => $9)
)
on conflict (engine) do update
set policy = excluded.policy, source = excluded.source, state = excluded.state, factor_pct = excluded.factor_pct, load_bp = excluded.load_bp,
    reason = excluded.reason, change = case when $8::bigint is null then s.change else excluded.change end, changes = s.changes + excluded.changes,
    sampled_at = excluded.sampled_at, good_until = excluded.good_until

-- name: add_surplus
update admission.surge set surplus_utok = surplus_utok + $2 where engine = $1

-- name: fold
select model, factors::text, work::text, consumed_utok, maximum_utok from admission.fold_surge($1)

-- name: open_requests
select model, open, cheap from admission.open_requests()

-- name: changes
select number, engine, policy_id, policy::text, from_pct, to_pct, load_bp, followed_ppm, reason, surplus_utok, at
from admission.surge_changes
where ($1::text is null or engine = $1) and ($2::bigint is null or number < $2)
order by number desc
limit $3
