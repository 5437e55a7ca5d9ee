-- Refunds know all accounts of a wallet.  What was bought is prepaid and postpaid; what was granted is the allowance and grants.

create or replace function metering.check_refund() returns trigger language plpgsql security definer set search_path = pg_catalog, metering as $$
declare
    v_charged bigint; v_prepaid bigint; v_allowance bigint;
    v_before bigint; v_before_prepaid bigint; v_before_allowance bigint;
begin
    -- A statement of its own: the next ones see what the refund that held the row before has written.
    perform from metering.requests q where q.id = new.request_id and q.project_id = new.project_id for no key update;
    if not found then
        raise exception 'refund % names no request of its project', new.id using errcode = 'foreign_key_violation';
    end if;
    if exists (select from ledger.holds h where h.id = new.request_id) then
        raise exception 'refund % of request %, whose hold is open', new.id, new.request_id using errcode = 'check_violation';
    end if;
    select coalesce(sum(r.charged_utok), 0) into v_charged from metering.receipts r where r.id = new.request_id;
    select coalesce(sum(p.amount_utok) filter (where p.code not in (1, 5)), 0), coalesce(sum(p.amount_utok) filter (where p.code in (1, 5)), 0)
    into v_prepaid, v_allowance
    from metering.paid(new.request_id) p;
    select coalesce(sum(f.amount_utok), 0), coalesce(sum(f.prepaid_utok), 0), coalesce(sum(f.allowance_utok), 0)
    into v_before, v_before_prepaid, v_before_allowance
    from metering.refunds f where f.request_id = new.request_id;
    if v_before + new.amount_utok > v_charged
        or v_before_prepaid + new.prepaid_utok > v_prepaid
        or v_before_allowance + new.allowance_utok > v_allowance
    then
        raise exception 'refund % of % for request %: % was charged and % was given back before',
            new.id, new.amount_utok, new.request_id, v_charged, v_before using errcode = 'check_violation';
    end if;
    return new;
end
$$;

-- Which part of what a request has paid a refund gives back to which account.
--
-- In a fixed order, so that parts of several refunds never overlap: prepaid, then postpaid (less is owed); then the allowance, then
-- grants, the one that lives longest first.  What was paid from a grant that is over goes to the allowance, which does not expire:
-- given back to the grant, it would be lost the next moment.
create function metering.refund_legs(
    p_request uuid, p_project uuid, p_prepaid_before bigint, p_prepaid bigint, p_allowance_before bigint, p_allowance bigint
) returns table (account bigint, revenue bigint, amount_utok bigint)
language sql stable security definer set search_path = pg_catalog, metering as $$
    with paid as (
        select p.account, p.revenue, p.amount_utok, p.code in (1, 5) as granted, g.expires_at <= clock_timestamp() as over,
               coalesce(
                   sum(p.amount_utok) over (
                       partition by p.code in (1, 5) order by p.code, g.expires_at desc nulls first, p.account desc
                       rows between unbounded preceding and 1 preceding
                   ),
                   0
               )::bigint as before
        from metering.paid(p_request) p
        left join admission.grants g on g.account = p.account
    ),
    parts as (
        select case when d.over then w.id else d.account end as account, d.revenue,
               least(d.before + d.amount_utok, c.first + c.amount) - greatest(d.before, c.first) as amount_utok
        from paid d
        cross join lateral (
            select case when d.granted then p_allowance_before else p_prepaid_before end as first,
                   case when d.granted then p_allowance else p_prepaid end as amount
        ) c
        left join ledger.accounts w on w.owner = p_project and w.code = 1
    )
    select p.account, min(p.revenue), sum(p.amount_utok)::bigint from parts p where p.amount_utok > 0 group by p.account order by p.account
$$;

create or replace function metering.refund(
    p_id uuid, p_request uuid, p_reference text, p_requested bigint, p_reason text, p_operator text
) returns table (outcome text, charged_utok bigint, left_utok bigint, refund metering.refunds)
language plpgsql security definer
set search_path = pg_catalog, metering
as $$
#variable_conflict use_column
declare
    c_refund_code constant int := 102;
    v_project uuid; v_lane smallint; v_row metering.refunds;
    v_prepaid bigint; v_allowance bigint; v_prepaid_left bigint; v_allowance_left bigint; v_charged bigint; v_amount bigint; v_status smallint;
    v_accounts bigint[]; v_revenues bigint[]; v_amounts bigint[];
begin
    select q.project_id, a.lane into v_project, v_lane
    from metering.requests q
    join ledger.transfers t on t.id = q.id and t.leg = 0 and t.phase = 0
    join ledger.accounts a on a.id = t.debit
    where q.id = p_request;
    if not found then
        return query select 'no_request', 0::bigint, 0::bigint, null::metering.refunds;
        return;
    end if;
    -- As in ledger.post, and before it: settlements of this request and its other refunds come one after the other.
    perform pg_advisory_xact_lock(7466, v_lane);

    select coalesce(sum(p.amount_utok) filter (where p.code not in (1, 5)), 0), coalesce(sum(p.amount_utok) filter (where p.code in (1, 5)), 0)
    into v_prepaid, v_allowance
    from metering.paid(p_request) p;
    v_charged := v_prepaid + v_allowance;
    select v_prepaid - coalesce(sum(f.prepaid_utok), 0), v_allowance - coalesce(sum(f.allowance_utok), 0)
    into v_prepaid_left, v_allowance_left
    from metering.refunds f where f.request_id = p_request;

    select * into v_row from metering.refunds f where f.request_id = p_request and f.reference = p_reference;
    if found then
        return query select
            case when v_row.requested_utok is not distinct from p_requested and v_row.reason = p_reason then 'replayed' else 'different' end,
            v_charged, v_prepaid_left + v_allowance_left, v_row;
        return;
    end if;
    v_amount := coalesce(p_requested, v_prepaid_left + v_allowance_left);
    if exists (select from ledger.holds h where h.id = p_request) or not exists (select from metering.receipts r where r.id = p_request) then
        return query select 'not_settled', v_charged, v_prepaid_left + v_allowance_left, null::metering.refunds;
        return;
    elsif v_charged = 0 then
        return query select 'nothing_charged', v_charged, 0::bigint, null::metering.refunds;
        return;
    elsif v_amount = 0 or v_amount > v_prepaid_left + v_allowance_left then
        return query select 'above_charge', v_charged, v_prepaid_left + v_allowance_left, null::metering.refunds;
        return;
    end if;

    select array_agg(l.account), array_agg(l.revenue), array_agg(l.amount_utok)
    into v_accounts, v_revenues, v_amounts
    from metering.refund_legs(
        p_request, v_project,
        v_prepaid - v_prepaid_left, least(v_amount, v_prepaid_left),
        v_allowance - v_allowance_left, v_amount - least(v_amount, v_prepaid_left)
    ) l;
    v_allowance := v_amount - least(v_amount, v_prepaid_left);
    v_prepaid := v_amount - v_allowance;

    select r.status into v_status
    from ledger.post(
        v_lane, array[p_id], array[5]::smallint[], array[v_amount], array[0], array[c_refund_code],
        array[substring(sha256(convert_to(concat_ws('/', p_request, p_reference, v_prepaid, v_allowance), 'UTF8')) for 16)],
        array_fill(1, array[cardinality(v_accounts)]), v_revenues, v_accounts, v_amounts, array_fill(false, array[cardinality(v_accounts)])
    ) r;
    if v_status = 8 then
        return query select 'closed', v_charged, v_amount, null::metering.refunds;
        return;
    end if;
    assert v_status = 0, format('refund %s of request %s was answered with status %s', p_id, p_request, v_status);

    insert into metering.refunds (id, request_id, project_id, reference, requested_utok, amount_utok, prepaid_utok, allowance_utok, reason, operator)
    values (p_id, p_request, v_project, p_reference, p_requested, v_amount, v_prepaid, v_allowance, p_reason, p_operator)
    returning * into v_row;
    return query select 'refunded', v_charged, v_charged - (select sum(f.amount_utok)::bigint from metering.refunds f where f.request_id = p_request), v_row;
end
$$;

revoke all on function metering.refund_legs from public;
