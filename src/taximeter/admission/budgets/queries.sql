-- Statements of budgets.

-- name: make
select outcome, (budget).id as id from admission.make_budget($1::jsonb, $2)

-- name: change
select id from admission.change_budget($1, $2, $3)

-- name: remove
select id from admission.remove_budget($1)

-- name: roll
select admission.roll_budgets($1, $2)

-- name: due
select lane, ids from admission.due_budgets($1)

-- name: tell
select admission.tell_budgets($1)

-- name: now
select
    (n.budget).id, (n.budget).scope, (n.budget).organisation_id, (n.budget).project_id, (n.budget).key_id, (n.budget).end_user,
    (n.budget).default_id, (n.budget).span as window, (n.budget).window_s, (n.budget).limit_utok, (n.budget).hard, (n.budget).thresholds,
    (n.budget).lane, (n.budget).operator, (n.budget).created_at, (n.budget).removed_at,
    n.used_utok, n.held_utok, n.left_utok, (n.rolled).started_at as since, n.comes_back_at as resets_at
from admission.budgets_now($1) n
order by (n.budget).id

-- name: find
-- What defaults have opened is shown with its end user alone: there may be very many.
select b.id
from admission.budgets b
where b.removed_at is null
    and ($1::uuid is null or b.organisation_id = $1)
    and ($2::uuid is null or b.project_id = $2)
    and ($3::uuid is null or b.key_id = $3)
    and ($4::text is null and b.default_id is null or b.scope = 'end_user' and b.end_user = $4)
    and ($5::uuid is null or b.id < $5)
order by b.id desc
limit $6

-- name: bounding
-- A default is shown as itself where it has not been opened.
select
    (n.budget).id, (n.budget).scope, (n.budget).organisation_id, (n.budget).project_id, (n.budget).key_id, (n.budget).end_user,
    (n.budget).default_id, (n.budget).span as window, (n.budget).window_s, (n.budget).limit_utok, (n.budget).hard, (n.budget).thresholds,
    (n.budget).lane, (n.budget).operator, (n.budget).created_at, (n.budget).removed_at,
    n.used_utok, n.held_utok, n.left_utok, (n.rolled).started_at as since, n.comes_back_at as resets_at
from admission.budgets_now(array(
    select (e ->> 'id')::uuid from jsonb_array_elements(admission.budgets_of($1, $2, $3)) e where e ->> 'account' <> '0'
    union all
    select u.id from admission.budgets_of_end_user($2, $4) u
    union all
    select d.id
    from admission.budgets d
    where d.scope = 'end_user' and coalesce(d.key_id, d.project_id, d.organisation_id) = $2 and coalesce(d.end_user, '') = '' and d.removed_at is null
        and not exists (
            select from admission.budgets_of_end_user($2, $4) u
            where u.default_id = d.id or u.default_id is null and u.span = d.span and coalesce(u.window_s, 0) = coalesce(d.window_s, 0)
        )
)) n
order by (n.budget).id

-- name: open_for
select admission.open_end_user_budgets($1, $2)
