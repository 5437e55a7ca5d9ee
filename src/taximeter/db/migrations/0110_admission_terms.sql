-- What admission needs to know about the sender of a request is read with the verdict on his key: one round trip, half a second
-- old at most.  Each part of it is a function of its own, so that each may be built and changed by itself.

-- Grants are accounts of their own, as many as a project is given; budgets too.
drop index ledger.accounts_by_owner;
create unique index accounts_by_owner on ledger.accounts (owner, code, unit) where owner is not null and code not in (4, 5);

-- 14: what expired unused; 15: the other side of budgets, which are no money; 16: the other side of credit lines.
insert into ledger.accounts (id, code, lane)
select c * 100 + l, c, l from unnest(array[14, 15, 16]) c, generate_series(0, 63) l;

-- Grants in the order in which they are spent: [{"account", "starts_ms", "expires_ms", "modality"}]; and the credit line's account.
create function admission.grants_of(p_project uuid) returns jsonb language sql stable as $$ select '[]'::jsonb $$;
create function admission.postpaid_of(p_project uuid) returns bigint language sql stable as $$ select null::bigint $$;

-- The plan that a project has subscribed to, by its name in the catalog; null: it pays as it goes, and no plan limits it.
create function admission.subscription_of(p_project uuid) returns text language sql stable as $$ select null::text $$;

-- Budgets that each of its requests is held on: [{"id", "account", "scope", "hard"}].
create function admission.budgets_of(p_organisation uuid, p_project uuid, p_key uuid) returns jsonb language sql stable as $$ select '[]'::jsonb $$;

-- Limits of key, project and models: [{"bucket", "scope", "model", "kind", "most", "window_s", "shadow"}].
create function admission.limits_of(p_project uuid, p_key uuid) returns jsonb language sql stable as $$ select '[]'::jsonb $$;

create function admission.terms_of(p_organisation uuid, p_project uuid, p_key uuid) returns jsonb
language sql stable security definer set search_path = pg_catalog, admission as $$
    select jsonb_build_object(
        'grants', admission.grants_of(p_project),
        'postpaid', admission.postpaid_of(p_project),
        'subscription', admission.subscription_of(p_project),
        'budgets', admission.budgets_of(p_organisation, p_project, p_key),
        'limits', admission.limits_of(p_project, p_key)
    )
$$;

revoke all on function admission.grants_of, admission.postpaid_of, admission.subscription_of, admission.budgets_of, admission.limits_of from public;
revoke all on function admission.terms_of from public;
grant usage on schema admission to taximeter_app;
grant execute on function admission.terms_of to taximeter_app;
