-- What the sender of a request has from plans: grants, credit line, subscription.

-- Expiring first, then by priority (the lowest number first), then what can be spent on less, then the oldest.  Grants that have
-- nothing left or are over are left out; more than 40 nobody could spend in one request anyway.  What each has left is told only
-- where there are more than seven, which pay for one request: it changes with every request.
create or replace function admission.grants_of(p_project uuid) returns jsonb language sql stable as $$
    select coalesce(
        jsonb_agg(
            jsonb_build_object(
                'account', g.account,
                -- What has begun by this clock has begun for a gateway whose own is slow.
                'starts_ms', case when g.starts_at > clock_timestamp() then floor(extract(epoch from g.starts_at) * 1000)::bigint else 0 end,
                'expires_ms', floor(extract(epoch from g.expires_at) * 1000)::bigint, 'modality', g.modality,
                'free_utok', case when g.open > 7 then g.free_utok else 0 end
            )
            order by g.expires_at nulls last, g.priority, g.modality nulls last, g.created_at, g.id
        ),
        '[]'::jsonb
    )
    from (
        select n.*, count(*) over () as open, a.credits_posted - a.debits_posted - a.debits_pending as free_utok
        from admission.grants n
        join ledger.accounts a on a.id = n.account
        where n.project_id = p_project and n.closed_at is null and a.credits_posted > a.debits_posted
            and (n.expires_at is null or n.expires_at > clock_timestamp())
        order by n.expires_at nulls last, n.priority, n.modality nulls last, n.created_at, n.id
        limit 40
    ) g
$$;

create or replace function admission.postpaid_of(p_project uuid) returns bigint language sql stable as $$
    select c.account from admission.credit_lines c where c.project_id = p_project and c.active
$$;

create or replace function admission.subscription_of(p_project uuid) returns text language sql stable as $$
    select s.plan from admission.subscriptions s where s.project_id = p_project
$$;
