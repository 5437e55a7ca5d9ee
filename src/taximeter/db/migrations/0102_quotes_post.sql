-- metering.post as before, and a quote goes to one request:
--   fact {"quote": quote's id, ...}   with a hold, and with its settlement
-- A hold whose quote another request has used, or that is not on record any more, does not reach the ledger: status 22, quote used.
-- A refused hold uses no quote, and the quote of a request that was released goes to the next hold that asks for it; the request
-- that lost it cannot be charged late.

alter function metering.post(
    smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[], jsonb[]
) rename to post_limits;
revoke all on function metering.post_limits from public, taximeter_app;

create function metering.post_quotes(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    k_quote uuid[]; v_codes int[];
    v_left int[]; v_now int[]; v_used int[]; v_later int[];
    r_status smallint[] := array_fill(22::smallint, array[cardinality(p_ids)]);
    r_total bigint[] := array_fill(0::bigint, array[cardinality(p_ids)]);
    r_available bigint[] := array_fill(0::bigint, array[cardinality(p_ids)]);
    v_row record;
begin
    -- The ledger's lock, before the first look at a quote: a project has one lane, so its holds come one batch after the other.
    perform pg_advisory_xact_lock(7466, p_lane);

    -- Code 2: a settlement that never charges late.
    select array_agg(case when o.kind = 1 then (o.fact ->> 'quote')::uuid end order by o.i),
           array_agg(case when o.kind = 2 and x.request_id <> o.id then 2 else o.code end order by o.i), array_agg(o.i::int order by o.i)
    into k_quote, v_codes, v_left
    from unnest(p_ids, p_kinds, p_codes, p_facts) with ordinality o (id, kind, code, fact, i)
    left join lateral (
        select u.request_id from metering.quote_uses u where u.quote_id = (o.fact ->> 'quote')::uuid limit 1
    ) x on true;

    -- One round, mostly, as with keys: a hold waits for the next one when this round decides about its quote.
    while v_left is not null loop
        with asked as (
            select o.id, o.i, o.quote, k.known, x.request_id as holder,
                   x.request_id <> o.id and x.request_id in (select p_ids[l] from unnest(v_left) l) as waits
            from unnest(p_ids, k_quote) with ordinality o (id, quote, i)
            left join lateral (select true as known from metering.quotes e where e.id = o.quote limit 1) k on true
            left join lateral (select u.request_id from metering.quote_uses u where u.quote_id = o.quote limit 1) x on true
            where o.i = any (v_left)
        ),
        judged as (
            select a.*,
                   a.quote is not null and (
                       a.known is null or coalesce(a.holder <> a.id and not a.waits and not metering.is_released(a.holder), false)
                   ) as used
            from asked a
        ),
        ranked as (
            select j.i::int as i, j.used,
                   coalesce(j.waits, false) or j.quote is not null and row_number() over (
                       partition by j.quote, j.used, coalesce(j.waits, false) order by j.i
                   ) > 1 as later
            from judged j
        )
        select array_agg(k.i order by k.i) filter (where k.used), array_agg(k.i order by k.i) filter (where not k.used and not k.later),
               array_agg(k.i order by k.i) filter (where not k.used and k.later)
        into v_used, v_now, v_later
        from ranked k;
        assert v_now is not null or v_used is not null, 'a round decides something';

        exit when v_now is null;  -- The rest are used: whoever waits, waits for one of v_now.
        for v_row in
            select v_now[r.pos] as i, r.status, r.total, r.available
            from ledger.pick(
                v_now, p_ids, p_kinds, p_amounts, p_ttls, v_codes, p_digests,
                p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades
            ) c
            cross join (select array_agg(o.fact order by o.i) as facts from unnest(p_facts) with ordinality o (fact, i) where o.i = any (v_now)) f
            cross join lateral metering.post_limits(
                p_lane, c.ids, c.kinds, c.amounts, c.ttls, c.codes, c.digests,
                c.leg_groups, c.leg_debits, c.leg_credits, c.leg_amounts, c.leg_cascades, f.facts
            ) r
        loop
            r_status[v_row.i] := v_row.status; r_total[v_row.i] := v_row.total; r_available[v_row.i] := v_row.available;
        end loop;

        insert into metering.quote_uses (quote_id, request_id)
        select o.quote, o.id
        from unnest(p_ids, k_quote, r_status) with ordinality o (id, quote, status, i)
        where o.i = any (v_now) and o.quote is not null and o.status = 0
        on conflict (quote_id) do update set request_id = excluded.request_id, created_at = excluded.created_at;
        v_left := v_later;
    end loop;

    return query select o.i::int, o.status, o.total, o.available from unnest(r_status, r_total, r_available) with ordinality o (status, total, available, i);
end
$$;

-- Each batch goes to the outermost layer that has something to decide about it, and no further out.
create function metering.post(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
as $$
#variable_conflict use_column
declare
    v_quote boolean; v_limits boolean; v_key boolean;
begin
    select bool_or(f ? 'quote'), bool_or(f ? 'limits'), bool_or(f ? 'idempotency') into v_quote, v_limits, v_key from unnest(p_facts) f;
    if v_quote then
        return query select * from metering.post_quotes(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    elsif v_limits then
        return query select * from metering.post_limits(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    elsif v_key then
        return query select * from metering.post_keys(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    else
        return query select * from metering.post_facts(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    end if;
end
$$;

revoke all on function metering.post, metering.post_quotes from public;
grant execute on function metering.post to taximeter_app;
