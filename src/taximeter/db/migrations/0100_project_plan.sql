-- What a project pays for a Token depends on its plan, by its name in the catalog, and on its currency (ISO 4217).
-- Every project so far has what everybody had: the plan `standard`, in US dollars.

alter table identity.projects
    add column plan text not null default 'standard',
    add column currency text not null default 'USD',
    add constraint projects_plan_is_a_name check (plan ~ '^[a-z0-9][a-z0-9._-]{0,99}$'),
    add constraint projects_currency_is_a_code check (currency ~ '^[A-Z]{3}$');

grant update (plan, currency) on identity.projects to taximeter_app;
