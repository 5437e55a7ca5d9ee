-- Refunds: Tokens that an operator gives back for a settled request.  A refund is a transfer of its own and never a rewrite
-- of the settlement; its row and its transfer are one transaction, and both are append-only.

create table metering.refunds (
    id uuid primary key,                      -- made from the request's id and the reference; also the id of the transfer
    request_id uuid not null references metering.requests (id),
    project_id uuid not null,
    reference text not null check (char_length(reference) between 1 and 255),
    requested_utok bigint,                    -- null: all that was left
    amount_utok bigint not null check (amount_utok > 0),
    prepaid_utok bigint not null check (prepaid_utok >= 0),
    allowance_utok bigint not null check (allowance_utok >= 0),
    reason text not null check (char_length(reason) between 1 and 500),
    operator text not null check (char_length(operator) between 1 and 200),
    created_at timestamptz not null default clock_timestamp(),
    unique (request_id, reference),
    constraint parts_make_the_amount check (prepaid_utok + allowance_utok = amount_utok),
    constraint as_requested check (requested_utok is null or requested_utok = amount_utok)
);
create index refunds_by_project on metering.refunds (project_id, created_at);

-- What wallets paid for a request, by the log: its settlement, what was taken above the hold, and what was charged late.
-- The operator's shortfall is no leg of a wallet, so nobody gets it back.
create function metering.paid(p_request uuid) returns table (account bigint, revenue bigint, code smallint, amount_utok bigint)
language sql stable set search_path = pg_catalog, metering as $$
    select t.debit, min(t.credit), min(a.code)::smallint, sum(t.amount)::bigint
    from ledger.transfers t
    join ledger.accounts a on a.id = t.debit
    where t.id = p_request and t.phase in (1, 2) and t.kind in (2, 6, 8) and t.cascade
    group by t.debit
$$;

-- The second opinion: whoever writes a row, and whatever metering.refund decided, refunds never add up to more than was charged,
-- neither in all nor on one of the wallet's accounts.
create function metering.check_refund() returns trigger language plpgsql security definer set search_path = pg_catalog, metering as $$
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
    select coalesce(sum(p.amount_utok) filter (where p.code <> 1), 0), coalesce(sum(p.amount_utok) filter (where p.code = 1), 0)
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

create trigger never_above_the_charge before insert on metering.refunds for each row execute function metering.check_refund();
create trigger append_only before update or delete on metering.refunds for each row execute function ledger.refuse_rewrite();
create trigger append_only_truncate before truncate on metering.refunds for each statement execute function ledger.refuse_rewrite();

-- Gives back what wallets paid for a request, or the part that is asked for, and writes it down.
--
-- What was bought goes back before what was granted: an allowance may expire, so this order never takes value from the owner,
-- and the parts of several refunds come to the same whatever their sizes.
--
-- Outcomes: refunded | replayed (the same refund was made before) | different (this reference, with another amount or reason)
--           no_request | not_settled | nothing_charged | above_charge | closed (the account takes no transfers)
create function metering.refund(
    p_id uuid, p_request uuid, p_reference text, p_requested bigint, p_reason text, p_operator text
) returns table (outcome text, charged_utok bigint, left_utok bigint, refund metering.refunds)
language plpgsql security definer
set search_path = pg_catalog, metering
as $$
#variable_conflict use_column
declare
    c_refund_code constant int := 102;
    v_project uuid; v_lane smallint; v_row metering.refunds;
    v_prepaid_account bigint; v_allowance_account bigint; v_revenue bigint;
    v_prepaid bigint; v_allowance bigint; v_charged bigint; v_amount bigint; v_status smallint;
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

    select max(p.account) filter (where p.code <> 1), max(p.account) filter (where p.code = 1), max(p.revenue),
           coalesce(sum(p.amount_utok) filter (where p.code <> 1), 0), coalesce(sum(p.amount_utok) filter (where p.code = 1), 0)
    into v_prepaid_account, v_allowance_account, v_revenue, v_prepaid, v_allowance
    from metering.paid(p_request) p;
    v_charged := v_prepaid + v_allowance;
    select v_prepaid - coalesce(sum(f.prepaid_utok), 0), v_allowance - coalesce(sum(f.allowance_utok), 0)
    into v_prepaid, v_allowance
    from metering.refunds f where f.request_id = p_request;

    select * into v_row from metering.refunds f where f.request_id = p_request and f.reference = p_reference;
    if found then
        return query select
            case when v_row.requested_utok is not distinct from p_requested and v_row.reason = p_reason then 'replayed' else 'different' end,
            v_charged, v_prepaid + v_allowance, v_row;
        return;
    end if;
    v_amount := coalesce(p_requested, v_prepaid + v_allowance);
    if exists (select from ledger.holds h where h.id = p_request) or not exists (select from metering.receipts r where r.id = p_request) then
        return query select 'not_settled', v_charged, v_prepaid + v_allowance, null::metering.refunds;
        return;
    elsif v_charged = 0 then
        return query select 'nothing_charged', v_charged, 0::bigint, null::metering.refunds;
        return;
    elsif v_amount = 0 or v_amount > v_prepaid + v_allowance then
        return query select 'above_charge', v_charged, v_prepaid + v_allowance, null::metering.refunds;
        return;
    end if;
    v_prepaid := least(v_amount, v_prepaid);
    v_allowance := v_amount - v_prepaid;

    select r.status into v_status
    from ledger.post(
        v_lane, array[p_id], array[5]::smallint[], array[v_amount], array[0], array[c_refund_code],
        array[substring(sha256(convert_to(concat_ws('/', p_request, p_reference, v_prepaid, v_allowance), 'UTF8')) for 16)],
        array_remove(array[case when v_prepaid > 0 then 1 end, case when v_allowance > 0 then 1 end], null),
        array_remove(array[case when v_prepaid > 0 then v_revenue end, case when v_allowance > 0 then v_revenue end], null),
        array_remove(array[case when v_prepaid > 0 then v_prepaid_account end, case when v_allowance > 0 then v_allowance_account end], null),
        array_remove(array[case when v_prepaid > 0 then v_prepaid end, case when v_allowance > 0 then v_allowance end], null),
        array_remove(array[case when v_prepaid > 0 then false end, case when v_allowance > 0 then false end], null)
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

revoke all on function metering.refund, metering.paid, metering.check_refund from public;
grant select on metering.refunds to taximeter_app;
grant execute on function metering.refund to taximeter_app;
