-- What plans owe and gave for the present period of each project: a plan that is left and taken again gives no month twice.

-- Stays when the subscription ends, and is what a new one within the same period goes on with.
create table admission.plan_periods (
    project_id uuid primary key,
    anchor date not null,                     -- as in admission.subscriptions, like the next three
    month int not null,
    period_start timestamptz not null,
    period_end timestamptz not null,
    due_utok bigint not null check (due_utok >= 0),      -- each plan's month for the part of the period that the project has it
    given_utok bigint not null check (given_utok >= 0)   -- what was granted for the period, less what was taken back
);

-- Of periods that run already, whatever was granted was due.
insert into admission.plan_periods (project_id, anchor, month, period_start, period_end, due_utok, given_utok)
select s.project_id, s.anchor, s.month, s.period_start, s.period_end, g.given_utok, g.given_utok
from admission.subscriptions s
cross join lateral (
    select coalesce(sum(n.amount_utok), 0)::bigint as given_utok
    from admission.grants n
    where n.project_id = s.project_id and n.expires_at = s.period_end and n.kind in ('renewal', 'proration')
) g;

grant select, insert, update on admission.plan_periods to taximeter_app;
