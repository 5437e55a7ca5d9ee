-- Statements about plans and wallets.

-- name: lock
-- The ledger's lock of a lane, before the first look at anything: what is decided here and what requests hold come one after the other.
select pg_advisory_xact_lock(7466, $1)

-- name: now
select clock_timestamp()

-- name: emit
select admission.emit($1, $2, $3, $4)

-- name: open_account
select ledger.open_account($1, $2, $3, $4)

-- name: insert_grant
insert into admission.grants (id, project_id, account, amount_utok, starts_at, expires_at, priority, modality, kind, plan, reason, operator, reference)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: grant
select g.*, a.credits_posted - a.debits_posted - a.debits_pending as free_utok, a.debits_pending as held_utok
from admission.grants g
join ledger.accounts a on a.id = g.account
where g.id = $1

-- name: grants
-- Those that are or will be in force at $2, or hold something for a running request; all of them with $3.
select g.*, a.credits_posted - a.debits_posted - a.debits_pending as free_utok, a.debits_pending as held_utok
from admission.grants g
join ledger.accounts a on a.id = g.account
where g.project_id = $1
    and ($3 or g.closed_at is null and (a.credits_posted > a.debits_posted and (g.expires_at is null or g.expires_at > $2) or a.debits_pending > 0))
order by g.id

-- name: grants_of_period
-- What a plan gave for the month that ends at $2, and what is left of it.
select g.*, a.credits_posted - a.debits_posted - a.debits_pending as free_utok, a.debits_pending as held_utok
from admission.grants g
join ledger.accounts a on a.id = g.account
where g.project_id = $1 and g.expires_at = $2 and g.kind in ('renewal', 'proration') and g.closed_at is null
order by g.id

-- name: insert_adjustment
insert into admission.adjustments (id, project_id, kind, amount_utok, reason, operator, reference)
values ($1, $2, $3, $4, $5, $6, $7)
on conflict (id) do nothing

-- name: adjustment
select * from admission.adjustments where id = $1

-- name: adjustments
-- By their time: an id that a reference has made says nothing about it.
select *
from admission.adjustments
where project_id = $1 and ($2::uuid is null or (created_at, id) < (select a.created_at, a.id from admission.adjustments a where a.id = $2))
order by created_at desc, id desc
limit $3

-- name: free
-- What accounts have to spend.
select a.id, a.credits_posted - a.debits_posted - a.debits_pending as free_utok from ledger.accounts a where a.id = any ($1::bigint[])

-- name: expired
-- Grants whose time is over and that have something left, or nothing more to come.
select g.id, g.project_id
from admission.grants g
join ledger.accounts a on a.id = g.account
where g.closed_at is null and g.expires_at <= $1
    and (a.credits_posted - a.debits_posted - a.debits_pending > 0 or a.debits_pending = 0)
order by g.expires_at, g.id
limit $2

-- name: expiries
select count(*) from admission.expiries where grant_id = $1

-- name: insert_expiry
insert into admission.expiries (id, grant_id, amount_utok) values ($1, $2, $3)

-- name: close_grant
update admission.grants set closed_at = clock_timestamp() where id = $1 and closed_at is null

-- name: warn
-- Tells once of each grant that will expire soon with something left; not of those that live for less than twice that time.
select admission.emit(
    'grant.expiring', s.project_id,
    jsonb_build_object(
        'grant', admission.public_id('grt', s.id), 'left', trim_scale(s.free_utok / 1000000.0)::text, 'expires_at', s.expires_at, 'modality', s.modality,
        'kind', s.kind
    ),
    s.dedup
)
from (
    select g.*, a.credits_posted - a.debits_posted - a.debits_pending as free_utok, 'grant.expiring/' || g.id as dedup
    from admission.grants g
    join ledger.accounts a on a.id = g.account
    where g.closed_at is null and g.expires_at > $1 and g.expires_at <= $1 + $2::interval and g.starts_at < g.expires_at - 2 * $2::interval
        and a.credits_posted - a.debits_posted - a.debits_pending > 0
) s
where not exists (select from admission.events e where e.dedup = s.dedup)

-- name: tell_low_wallets
select admission.tell_low_wallets($1)

-- name: subscription
select s.*, p.due_utok, p.given_utok from admission.subscriptions s join admission.plan_periods p using (project_id) where s.project_id = $1

-- name: subscriptions
select s.*, p.due_utok, p.given_utok
from admission.subscriptions s join admission.plan_periods p using (project_id)
where s.project_id = any ($1::uuid[])

-- name: put_subscription
-- With its period, which outlives it.
with period as (
    insert into admission.plan_periods (project_id, anchor, month, period_start, period_end, due_utok, given_utok)
    values ($1, $4, $5, $6, $7, $11, $12)
    on conflict (project_id) do update
    set anchor = excluded.anchor, month = excluded.month, period_start = excluded.period_start, period_end = excluded.period_end,
        due_utok = excluded.due_utok, given_utok = excluded.given_utok
)
insert into admission.subscriptions (
    project_id, plan, next_plan, anchor, month, period_start, period_end, allowance_utok, allowance_modality, started_at
)
values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
on conflict (project_id) do update
set plan = excluded.plan, next_plan = excluded.next_plan, anchor = excluded.anchor, month = excluded.month,
    period_start = excluded.period_start, period_end = excluded.period_end, allowance_utok = excluded.allowance_utok,
    allowance_modality = excluded.allowance_modality

-- name: open_period
-- The period of a subscription that has ended, while it runs and when something was granted for it.
select anchor, month, period_start, period_end, due_utok, given_utok
from admission.plan_periods where project_id = $1 and period_end > $2 and given_utok > 0

-- name: close_period
-- What is due of a period whose subscription ends.
update admission.plan_periods set due_utok = $2 where project_id = $1

-- name: end_subscription
delete from admission.subscriptions where project_id = $1

-- name: insert_change
insert into admission.subscription_changes (id, project_id, event, plan, plan_before, period_start, period_end, operator)
values ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: changes
select * from admission.subscription_changes where project_id = $1 order by id desc limit $2

-- name: due
select project_id from admission.subscriptions where period_end <= $1 order by period_end, project_id limit $2

-- name: is_due
select exists (select from admission.subscriptions where project_id = $1 and period_end <= coalesce($2, clock_timestamp()))

-- name: today
-- The day that it is for a customer.
select ($2::timestamptz at time zone admission.zone_of($1, null))::date

-- name: period
-- The month of an anchor that a moment lies in, and not before number $4: its number, and where it begins and ends.
select m.month, admission.month_begins($2, m.month, z.zone) as period_start, admission.month_begins($2, m.month + 1, z.zone) as period_end
from (select admission.zone_of($1, null) as zone) z
cross join lateral (select greatest(admission.month_of($2, $3, z.zone), $4) as month) m

-- name: terms
select admission.terms_of($1, $2, $3)

-- name: credit_line
select project_id, account, line_utok, active from admission.credit_lines where project_id = $1

-- name: credit_accounts
-- Every account that a project has had a line on, old ones first.  What was lent is no payment: it is owed with the rest.
select c.account, c.lent_utok, (a.debits_posted - a.credits_posted + c.lent_utok)::bigint as owed_utok,
       (a.credits_posted - a.debits_posted - a.debits_pending)::bigint as free_utok
from admission.credit_accounts c
join ledger.accounts a on a.id = c.account
where c.project_id = $1
order by c.account

-- name: put_credit_line
insert into admission.credit_lines (project_id, account, line_utok, active) values ($1, $2, $3, $4)
on conflict (project_id) do update set account = excluded.account, line_utok = excluded.line_utok, active = excluded.active

-- name: insert_credit_account
insert into admission.credit_accounts (account, project_id) values ($1, $2)

-- name: lend
update admission.credit_accounts set lent_utok = lent_utok + $2 where account = $1

-- name: overlent
-- Projects whose line is lower than what was lent, with some of that free again.
select distinct c.project_id
from admission.credit_accounts c
join ledger.accounts a on a.id = c.account
join admission.credit_lines l on l.project_id = c.project_id
where a.credits_posted > a.debits_posted + a.debits_pending
    and c.lent_utok > case when l.active and l.account = c.account then coalesce(l.line_utok, 0) else 0 end
limit $1

-- name: set_zone
update identity.organisations set time_zone = $2 where id = $1 returning id

-- name: zone
select time_zone from identity.organisations where id = $1
