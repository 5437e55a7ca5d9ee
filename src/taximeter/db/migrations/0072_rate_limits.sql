-- Rate limits of keys, in the transaction of the hold: exact with any number of gateways, and nothing to give back when a hold
-- is refused.  The generic cell rate algorithm (GCRA): one moment per limit, the theoretical arrival time of the next unit.

alter table identity.api_keys
    add column requests_per_minute int check (requests_per_minute > 0),
    add column tokens_per_minute_utok bigint check (tokens_per_minute_utok > 0);

create schema admission;

-- Not logged: after a crash of the database every key begins with a full minute, and no request waits for the disk.
create unlogged table admission.buckets (
    id uuid primary key,                      -- the key
    requests_at bigint not null default 0,    -- theoretical arrival times, nanoseconds since 1970
    tokens_at bigint not null default 0
) with (fillfactor = 50);

-- How far an amount moves the arrival time of a limit.  Rounded down, so that a whole minute's worth fits into a minute.
create function admission.step(p_amount bigint, p_per_minute bigint) returns bigint language sql immutable as $$
    select div(p_amount::numeric * 60000000000, p_per_minute)::bigint
$$;

-- Takes one request and p_amounts Tokens for each position, in order; null limits are not checked.  Answers null where all
-- limits allow it, and otherwise how many nanoseconds must pass first, -1 when it never fits; then nothing is taken.
create function admission.take(p_buckets uuid[], p_requests int[], p_tokens bigint[], p_amounts bigint[]) returns bigint[]
language plpgsql security definer
set search_path = pg_catalog, admission
set enable_seqscan = off
set plan_cache_mode = force_generic_plan
as $$
declare
    c_minute constant bigint := 60000000000;
    v_now constant bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
    b_id uuid[]; b_requests bigint[]; b_tokens bigint[]; v_waits bigint[] := array_fill(null::bigint, array[cardinality(p_buckets)]);
    i int; b int; v_requests bigint; v_tokens bigint; v_wait bigint;
begin
    insert into admission.buckets (id)
    select distinct u.id from unnest(p_buckets) u (id) order by u.id
    on conflict do nothing;
    select array_agg(q.id), array_agg(q.requests_at), array_agg(q.tokens_at)
    into b_id, b_requests, b_tokens
    from (select * from admission.buckets where id = any (p_buckets) order by id for update) q;
    for i in 1..cardinality(p_buckets) loop
        b := array_position(b_id, p_buckets[i]);
        v_requests := b_requests[b]; v_tokens := b_tokens[b]; v_wait := 0;
        if p_requests[i] is not null then
            v_requests := greatest(v_requests, v_now) + admission.step(1, p_requests[i]);
            v_wait := v_requests - v_now - c_minute;
        end if;
        if p_tokens[i] is not null then
            v_tokens := greatest(v_tokens, v_now) + admission.step(p_amounts[i], p_tokens[i]);
            v_wait := case when p_amounts[i] > p_tokens[i] then -1 else greatest(v_wait, v_tokens - v_now - c_minute) end;
        end if;
        if v_wait > 0 or p_amounts[i] > p_tokens[i] then
            v_waits[i] := v_wait;
        else
            b_requests[b] := v_requests; b_tokens[b] := v_tokens;
        end if;
    end loop;
    update admission.buckets a
    set requests_at = u.requests_at, tokens_at = u.tokens_at
    from unnest(b_id, b_requests, b_tokens) u (id, requests_at, tokens_at)
    where a.id = any (b_id) and a.id = u.id;
    return v_waits;
end
$$;

-- Gives back Tokens that were taken and not used; the request itself stays counted.
create function admission.give_back(p_buckets uuid[], p_tokens bigint[], p_amounts bigint[]) returns void
language sql security definer set search_path = pg_catalog, admission as $$
    update admission.buckets a
    set tokens_at = a.tokens_at - u.ns
    from (
        select g.id, sum(admission.step(g.amount, g.tokens))::bigint as ns
        from unnest(p_buckets, p_tokens, p_amounts) g (id, tokens, amount)
        where g.amount > 0
        group by g.id
    ) u
    where a.id = any (p_buckets) and a.id = u.id
$$;

revoke all on function admission.step, admission.take, admission.give_back from public;

-- metering.post as before, and holds that a key's limits do not allow go no further:
--   fact {"limits": {"key_id", "requests_per_minute", "tokens_per_minute_utok", "amount_utok"}, ...}   with a hold: what to take
--   fact {"limits": {"key_id", "tokens_per_minute_utok", "amount_utok"}, ...}                          with a resolution: what to give back
-- Status 21, above the key's rate limit: available is how many nanoseconds must pass, -1 when it never fits.
alter function metering.post(
    smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[], jsonb[]
) rename to post_keys;
revoke all on function metering.post_keys from public, taximeter_app;

-- One of its statements could be planned to read all answers that are kept; name those that are meant.
do $patch$
declare
    v_old text := pg_get_functiondef('metering.post_keys'::regproc);
    v_new text := replace(v_old, $old$
        delete from metering.idempotent_answers a
        using unnest(k_project, k_key, r_status) with ordinality o (project_id, key, status, i)
        cross join lateral (
            select e.request_id from metering.idempotency e where e.project_id = o.project_id and e.key = o.key limit 1
        ) x
        where o.i = any (v_now) and o.status = 0 and a.request_id = x.request_id;
$old$, $new$
        delete from metering.idempotent_answers a
        where a.request_id = any (array(
            select x.request_id
            from unnest(k_project, k_key, r_status) with ordinality o (project_id, key, status, i)
            cross join lateral (
                select e.request_id from metering.idempotency e where e.project_id = o.project_id and e.key = o.key limit 1
            ) x
            where o.i = any (v_now) and o.status = 0
        ));
$new$);
begin
    assert v_new <> v_old, 'post_keys has the statement that is mended';
    execute v_new;
end
$patch$;

create function metering.post(
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
    l_i int[]; l_key uuid[]; l_requests int[]; l_tokens bigint[]; l_amounts bigint[]; v_waits bigint[];
    v_refused int[]; v_left int[]; v_key uuid[]; v_tokens bigint[]; v_amounts bigint[];
    r_pos int[]; r_status smallint[]; r_total bigint[]; r_available bigint[];
begin
    if not exists (select from unnest(p_facts) f where f ? 'limits') then
        if not exists (select from unnest(p_facts) f where f ? 'idempotency') then
            return query select * from metering.post_facts(
                p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
                p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
            );
        else
            return query select * from metering.post_keys(
                p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
                p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
            );
        end if;
        return;
    end if;
    -- The ledger's lock, before the first look at a bucket: a key has one lane, so its holds come one batch after the other.
    perform pg_advisory_xact_lock(7466, p_lane);

    -- A hold that is open already is sent again because its answer was lost; it takes nothing again.
    select array_agg(o.i::int order by o.i), array_agg(q.key_id order by o.i), array_agg(q.requests_per_minute order by o.i),
           array_agg(q.tokens_per_minute_utok order by o.i), array_agg(q.amount_utok order by o.i)
    into l_i, l_key, l_requests, l_tokens, l_amounts
    from unnest(p_ids, p_kinds, p_facts) with ordinality o (id, kind, fact, i)
    cross join lateral jsonb_to_record(o.fact -> 'limits') q (
        key_id uuid, requests_per_minute int, tokens_per_minute_utok bigint, amount_utok bigint
    )
    left join lateral (select true as seen from ledger.holds h where h.id = o.id limit 1) h on true
    where o.kind = 1 and o.fact ? 'limits' and h.seen is null;
    if l_i is not null then
        v_waits := admission.take(l_key, l_requests, l_tokens, l_amounts);
        select array_agg(u.i) into v_refused from unnest(l_i, v_waits) u (i, wait) where u.wait is not null;
    end if;
    if v_refused is not null then
        return query
        select u.i, 21::smallint, 0::bigint, u.wait from unnest(l_i, v_waits) u (i, wait) where u.wait is not null;
    end if;
    select coalesce(array_agg(o.i::int order by o.i), '{}') into v_left
    from unnest(p_ids) with ordinality o (id, i) where o.i <> all (coalesce(v_refused, '{}'));
    if v_left = '{}' then
        return;
    end if;

    select array_agg(v_left[r.pos]), array_agg(r.status), array_agg(r.total), array_agg(r.available)
    into r_pos, r_status, r_total, r_available
    from ledger.pick(
        v_left, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
        p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades
    ) c
    cross join (select array_agg(o.fact order by o.i) as facts from unnest(p_facts) with ordinality o (fact, i) where o.i = any (v_left)) f
    cross join lateral metering.post_keys(
        p_lane, c.ids, c.kinds, c.amounts, c.ttls, c.codes, c.digests,
        c.leg_groups, c.leg_debits, c.leg_credits, c.leg_amounts, c.leg_cascades, f.facts
    ) r;
    return query select * from unnest(r_pos, r_status, r_total, r_available);

    -- What a hold that was not made had taken, and what a resolution did not use.
    select array_agg(q.key_id), array_agg(q.tokens_per_minute_utok), array_agg(q.amount_utok)
    into v_key, v_tokens, v_amounts
    from unnest(p_kinds, p_facts) with ordinality o (kind, fact, i)
    join unnest(r_pos, r_status) r (i, status) on r.i = o.i
    cross join lateral jsonb_to_record(o.fact -> 'limits') q (key_id uuid, tokens_per_minute_utok bigint, amount_utok bigint)
    where o.fact ? 'limits' and q.tokens_per_minute_utok is not null
        and (o.kind = 1 and r.status <> 0 and o.i = any (l_i) or o.kind <> 1 and r.status in (0, 9));
    if v_key is not null then
        perform admission.give_back(v_key, v_tokens, v_amounts);
    end if;
end
$$;

revoke all on function metering.post from public;
grant execute on function metering.post to taximeter_app;
