-- metering.post_limits as before, with less to do per call and per limit: what a batch's limits are comes once, in arrays, and a hold
-- names its list of them; a limit is one level, whatever it counts; and a batch goes past the layers that have nothing to decide.
--   fact {"take": 3, ...}          with a hold: it must fit into the third list; what it takes of Tokens is its own amount
--   fact {"lists": {...}, ...}    with one operation of the batch: the lists, end to end; "ends" says which limit is the last of each
-- Notes 100 + place tell of each kind the limit with the least left: what is left of it, and in how many nanoseconds all of it is there.
-- Facts of an earlier release, {"take": [{"bucket", "kind", "most", "window_s", "amount", "shadow"}], ...}, are read as before.

create or replace function metering.post_limits(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
set enable_seqscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    c_never constant bigint := 4000000000000000000;  -- A step that fits into nothing.
    v_ends constant boolean := p_kinds && array[2, 3, 4]::smallint[];
    v_now bigint; v_spelled boolean; v_layers boolean;
    -- Holds with limits: which, the first and the last of its limits below, its Tokens, its first place in k, and whether it has taken.
    o_i int[]; o_from int[]; o_to int[]; o_amount bigint[]; o_k int[]; o_took boolean[];
    -- Limits.  Kind 1 requests, 2 Tokens, 3 requests at the same time.  Slot: where its level stands; span: how far that may be ahead.
    l_bucket uuid[]; l_kind smallint[]; l_most bigint[]; l_window_s int[]; l_shadow boolean[]; l_step bigint[]; l_slot int[]; l_span bigint[];
    v_last int[]; q record;
    -- What each hold found or left, limit by limit; over: places of shadows that would have refused.
    k_at bigint[]; v_over int[];
    -- Tokens that the batch's resolutions took once.
    e_i int[]; e_bucket uuid[]; e_b int[]; e_most bigint[]; e_window_s int[]; e_amount bigint[]; e_full_at bigint[];
    -- Levels: n of requests, n of Tokens, n of slots; those stand as many nanoseconds after now as requests run.
    v_wanted uuid[]; b_id uuid[]; b_requests bigint[]; b_tokens bigint[]; b_running bigint[]; v_level bigint[]; n int;
    v_refused int[]; v_by int[]; v_waits bigint[]; v_left int[];
    r_pos int[]; r_status smallint[]; r_total bigint[]; r_available bigint[]; v_status smallint[]; v_total bigint[];
    m int := 0; j int; k int; f int; t int; s int; v_fits boolean; v_wait bigint; v_longest bigint; v_blamed int; v_back bigint;
begin
    -- The ledger's lock, before the first look at a bucket: what is open now stays so until this batch ends it.
    perform pg_advisory_xact_lock(7466, p_lane);

    -- A hold that is open already is sent again because its answer was lost; it takes nothing again.
    select array_agg(x.i order by x.i) filter (where x.list is not null), array_agg(x.list order by x.i) filter (where x.list is not null),
           bool_or(x.spelled), bool_or(x.layers)
    into o_i, o_to, v_spelled, v_layers
    from (
        select o.i::int as i, o.fact ?| array['quote', 'idempotency'] as layers,
               case when h.seen is null and jsonb_typeof(o.fact -> 'take') = 'number' then (o.fact -> 'take')::int end as list,
               h.seen is null and jsonb_typeof(o.fact -> 'take') = 'array' as spelled
        from unnest(p_ids, p_kinds, p_facts) with ordinality o (id, kind, fact, i)
        left join lateral (select true as seen from ledger.holds h where h.id = o.id and o.kind = 1 and o.fact ? 'take' limit 1) h on true
    ) x;
    if o_i is not null then
        select (x.l ->> 'bucket')::uuid[], (x.l ->> 'kind')::smallint[], (x.l ->> 'most')::bigint[], (x.l ->> 'window_s')::int[],
               (x.l ->> 'shadow')::boolean[], (x.l ->> 'ends')::int[]
        into l_bucket, l_kind, l_most, l_window_s, l_shadow, v_last
        from (select f -> 'lists' as l from unnest(p_facts) f where f ? 'lists' limit 1) x;
        for j in 1..cardinality(o_i) loop
            k := o_to[j];
            o_from[j] := case when k = 1 then 1 else v_last[k - 1] + 1 end;
            o_to[j] := v_last[k];
            o_amount[j] := p_amounts[o_i[j]];
        end loop;
        select array_agg(case x.kind when 1 then admission.step(1, x.most, x.window_s) else 1 end order by x.k) into l_step
        from unnest(l_kind, l_most, l_window_s) with ordinality x (kind, most, window_s, k);
    end if;
    if v_spelled then
        for q in
            select o.i::int as i, o.fact -> 'take' as take
            from unnest(p_ids, p_kinds, p_facts) with ordinality o (id, kind, fact, i)
            left join lateral (select true as seen from ledger.holds h where h.id = o.id limit 1) h on true
            where o.kind = 1 and h.seen is null and jsonb_typeof(o.fact -> 'take') = 'array' and o.fact -> 'take' <> '[]'
            order by o.i
        loop
            o_i := o_i || q.i; o_from := o_from || coalesce(cardinality(l_kind), 0) + 1;
            select l_bucket || array_agg(x.bucket), l_most || array_agg(x.most), l_window_s || array_agg(x.window_s),
                   l_shadow || array_agg(x.shadow), o_amount || coalesce(max(x.amount) filter (where x.kind = 'tokens'), 0),
                   l_kind || array_agg((case x.kind when 'requests' then 1 when 'tokens' then 2 else 3 end)::smallint),
                   l_step || array_agg(case x.kind when 'requests' then admission.step(x.amount, x.most, x.window_s) else 1 end)
            into l_bucket, l_most, l_window_s, l_shadow, o_amount, l_kind, l_step
            from jsonb_to_recordset(q.take) x (bucket uuid, kind text, most bigint, window_s int, amount bigint, shadow boolean);
            o_to := o_to || cardinality(l_kind);
        end loop;
        select array_agg(x.i order by x.i), array_agg(x.f order by x.i), array_agg(x.t order by x.i), array_agg(x.amount order by x.i)
        into o_i, o_from, o_to, o_amount
        from unnest(o_i, o_from, o_to, o_amount) x (i, f, t, amount);
    end if;

    if v_ends then
        select array_agg(o.i::int), array_agg(x.bucket), array_agg(x.most), array_agg(x.window_s), array_agg(t.amount_utok), array_agg(x.full_at)
        into e_i, e_bucket, e_most, e_window_s, e_amount, e_full_at
        from unnest(p_ids, p_kinds) with ordinality o (id, kind, i)
        cross join lateral (select * from admission.taken a where a.request_id = o.id limit 1) t
        cross join lateral unnest(t.buckets, t.mosts, t.windows_s, t.full_at) x (bucket, most, window_s, full_at)
        where o.kind in (2, 3, 4);
    end if;

    if o_i is not null or e_i is not null then
        -- Other lanes may count in the same buckets: one statement locks them all, in order, and holds them to the end.  Those that are
        -- not there are made before any is locked.
        select array_agg(distinct u.id) into v_wanted from unnest(l_bucket || e_bucket) u (id);
        if (select count(*) from admission.buckets a where a.id = any (v_wanted)) < cardinality(v_wanted) then
            insert into admission.buckets (id) select u.id from unnest(v_wanted) u (id) order by u.id on conflict do nothing;
        end if;
        select array_agg(x.id), array_agg(x.requests_at), array_agg(x.tokens_at)
        into b_id, b_requests, b_tokens
        from (select * from admission.buckets a where a.id = any (v_wanted) order by a.id for update) x;
        n := cardinality(b_id);
    end if;
    v_now := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
    if o_i is not null then
        select array_agg(x.b::int + (u.kind - 1) * n order by u.k),
               array_agg(case when u.kind = 3 then u.most else u.window_s * 1000000000::bigint end order by u.k)
        into l_slot, l_span
        from unnest(l_bucket, l_kind, l_most, l_window_s) with ordinality u (id, kind, most, window_s, k)
        join unnest(b_id) with ordinality x (id, b) on x.id = u.id;
        b_running := array_fill(v_now, array[n]);
        if 3 = any (l_kind) then
            -- A statement of its own: it sees what those who had the lock before have written.
            select array_agg(v_now + coalesce(c.n, 0) order by x.b) into b_running
            from unnest(b_id) with ordinality x (id, b)
            left join (
                select a.bucket, count(*) as n
                from admission.running a
                where a.bucket = any (array(select u.bucket from unnest(l_bucket, l_kind) u (bucket, kind) where u.kind = 3))
                group by a.bucket
            ) c on c.bucket = x.id;
        end if;
    end if;
    v_level := b_requests || b_tokens || b_running;

    for j in 1..coalesce(cardinality(o_i), 0) loop
        -- The limits of one hold.  First whether all allow it, then it takes from all.
        f := o_from[j]; t := o_to[j]; o_k[j] := m + 1; o_took[j] := true; v_fits := true;
        for k in f..t loop
            if l_kind[k] = 2 then
                l_step[k] := case when o_amount[j] > l_most[k] then c_never else admission.step(o_amount[j], l_most[k], l_window_s[k]) end;
            end if;
            v_fits := v_fits and greatest(v_level[l_slot[k]], v_now) + l_step[k] <= v_now + l_span[k];
        end loop;
        if v_fits then
            for k in f..t loop
                s := l_slot[k]; m := m + 1;
                v_level[s] := greatest(v_level[s], v_now) + l_step[k]; k_at[m] := v_level[s];
            end loop;
            continue;
        end if;

        v_longest := 0; v_blamed := null;
        for k in f..t loop
            m := m + 1; k_at[m] := v_level[l_slot[k]];
            v_wait := greatest(0, greatest(k_at[m], v_now) + l_step[k] - v_now - l_span[k]);
            continue when v_wait = 0;
            if l_kind[k] = 3 then
                -- Nobody knows when a slot will be free: a second is worth a try.
                v_wait := 1000000000;
            elsif l_step[k] = c_never then
                -- Above 0 it is a wait, and -1 means never: steps are rounded down, so a nanosecond may be left of a window.
                v_wait := -1;
            end if;
            if l_shadow[k] then
                v_over := v_over || m;
            elsif v_longest <> -1 and (v_wait = -1 or v_wait > v_longest) then
                v_longest := v_wait; v_blamed := k - f;
            end if;
        end loop;
        if v_blamed is not null then
            o_took[j] := false; v_refused := v_refused || o_i[j]; v_by := v_by || v_blamed; v_waits := v_waits || v_longest;
            continue;
        end if;
        for k in f..t loop
            continue when o_k[j] + k - f = any (v_over);
            s := l_slot[k];
            v_level[s] := greatest(v_level[s], v_now) + l_step[k]; k_at[o_k[j] + k - f] := v_level[s];
        end loop;
    end loop;

    if v_refused is not null then
        return query select u.i, 21::smallint, u.by::bigint, u.wait from unnest(v_refused, v_by, v_waits) u (i, by, wait);
        select array_agg(o.i::int order by o.i) into v_left from unnest(p_ids) with ordinality o (id, i) where o.i <> all (v_refused);
        if v_left is not null then
            select array_agg(v_left[r.pos]), array_agg(r.status), array_agg(r.total), array_agg(r.available)
            into r_pos, r_status, r_total, r_available
            from ledger.pick(
                v_left, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
                p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades
            ) c
            cross join (
                select array_agg(o.fact order by o.i) as facts from unnest(p_facts) with ordinality o (fact, i) where o.i = any (v_left)
            ) a
            cross join lateral metering.post_admitted(
                p_lane, c.ids, c.kinds, c.amounts, c.ttls, c.codes, c.digests,
                c.leg_groups, c.leg_debits, c.leg_credits, c.leg_amounts, c.leg_cascades, a.facts
            ) r;
        end if;
    elsif v_layers then
        select array_agg(r.pos), array_agg(r.status), array_agg(r.total), array_agg(r.available)
        into r_pos, r_status, r_total, r_available
        from metering.post_admitted(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        ) r;
    else
        select array_agg(r.pos), array_agg(r.status), array_agg(r.total), array_agg(r.available)
        into r_pos, r_status, r_total, r_available
        from metering.post_facts(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        ) r;
    end if;
    return query select * from unnest(r_pos, r_status, r_total, r_available);

    -- By position: what became of it, and what was charged.
    v_status := array_fill(null::smallint, array[cardinality(p_ids)]);
    for s in 1..coalesce(cardinality(r_pos), 0) loop
        v_status[r_pos[s]] := r_status[s]; v_total[r_pos[s]] := r_total[s];
    end loop;

    -- A hold that was not made took nothing.
    for j in 1..coalesce(cardinality(o_i), 0) loop
        continue when not o_took[j] or v_status[o_i[j]] = 0;
        o_took[j] := false;
        for k in o_from[j]..o_to[j] loop
            m := o_k[j] + k - o_from[j];
            continue when m = any (v_over);
            v_back := case when l_kind[k] = 2 then admission.step(o_amount[j], l_most[k], l_window_s[k]) else l_step[k] end;
            k_at[m] := k_at[m] - v_back; v_level[l_slot[k]] := v_level[l_slot[k]] - v_back;
        end loop;
    end loop;

    if v_ends then
        if e_i is not null then
            -- What an ended request did not use comes back, as far as it has not come back with time; what it used above that is taken.
            select array_agg(x.b::int order by e.k) into e_b
            from unnest(e_bucket) with ordinality e (id, k) left join unnest(b_id) with ordinality x (id, b) on x.id = e.id;
            for k in 1..cardinality(e_i) loop
                s := n + e_b[k];
                continue when s is null or v_status[e_i[k]] is distinct from 0;
                v_back := admission.step(e_amount[k], e_most[k], e_window_s[k])
                    - admission.step(case when p_kinds[e_i[k]] = 2 then v_total[e_i[k]] else 0 end, e_most[k], e_window_s[k]);
                v_level[s] := v_level[s] - least(v_back, greatest(e_full_at[k] - v_now, 0));
            end loop;
            delete from admission.taken a where a.request_id = any (array(select p_ids[u.i] from unnest(e_i) u (i) where v_status[u.i] = 0));
        end if;
        delete from admission.running a
        where a.request_id = any (array(select p_ids[u.i] from unnest(p_kinds, v_status) with ordinality u (kind, status, i) where u.kind in (2, 3, 4) and u.status = 0));
    end if;

    if o_i is not null then
        if 3 = any (l_kind) then
            insert into admission.running (request_id, bucket)
            select p_ids[o.i], l_bucket[l.k]
            from unnest(o_i, o_from, o_to, o_k, o_took) o (i, f, t, k, took)
            cross join lateral generate_series(o.f, o.t) l (k)
            where o.took and l_kind[l.k] = 3 and (v_over is null or o.k + l.k - o.f <> all (v_over));
        end if;
        if 2 = any (l_kind) then
            insert into admission.taken (request_id, amount_utok, buckets, mosts, windows_s, full_at)
            select p_ids[o.i], o.amount, array_agg(l_bucket[l.k]), array_agg(l_most[l.k]), array_agg(l_window_s[l.k]), array_agg(k_at[o.k + l.k - o.f])
            from unnest(o_i, o_from, o_to, o_k, o_took, o_amount) o (i, f, t, k, took, amount)
            cross join lateral generate_series(o.f, o.t) l (k)
            where o.took and l_kind[l.k] = 2 and (v_over is null or o.k + l.k - o.f <> all (v_over))
            group by o.i, o.amount;
        end if;
        if v_over is not null then
            insert into admission.shadow_refusals as a (bucket, day, refused)
            select l_bucket[l.k], (clock_timestamp() at time zone 'UTC')::date, count(*)
            from unnest(o_i, o_from, o_to, o_k) o (i, f, t, k)
            cross join lateral generate_series(o.f, o.t) l (k)
            where o.k + l.k - o.f = any (v_over) and v_status[o.i] = 0
            group by l_bucket[l.k]
            order by l_bucket[l.k]
            on conflict (bucket, day) do update set refused = a.refused + excluded.refused;
        end if;
    end if;
    if n > 0 then
        update admission.buckets a
        set requests_at = u.requests_at, tokens_at = u.tokens_at
        from unnest(b_id, v_level[1:n], v_level[n + 1:2 * n]) u (id, requests_at, tokens_at)
        where a.id = any (b_id) and a.id = u.id and (a.requests_at, a.tokens_at) is distinct from (u.requests_at, u.tokens_at);
    end if;

    if o_i is not null then
        return query
        -- Of several limits of a kind the one with the least left is told, and of those the one that is full again last.
        select distinct on (v.i, v.kind) v.i, (100 + v.place)::smallint, v.rest, v.ahead
        from (
            select u.i, u.kind, u.place,
                   case
                       when u.kind = 3 then greatest(u.most - u.ahead, 0)
                       when u.ahead >= u.span then 0
                       when u.most <= 9000000000000000000 / (u.span - u.ahead) then (u.span - u.ahead) * u.most / u.span
                       else div((u.span - u.ahead)::numeric * u.most, u.span)::bigint
                   end as rest,
                   case when u.kind = 3 then 0 else u.ahead end as ahead
            from (
                select o.i, l.k - o.f as place, l_kind[l.k] as kind, l_most[l.k] as most, l_span[l.k] as span,
                       greatest(k_at[o.k + l.k - o.f] - v_now, 0) as ahead
                from unnest(o_i, o_from, o_to, o_k) o (i, f, t, k)
                cross join lateral generate_series(o.f, o.t) l (k)
                where not l_shadow[l.k]
            ) u
        ) v
        order by v.i, v.kind, v.rest, v.ahead desc, v.place;
    end if;
end
$$;

-- As before, and one look at the facts for what is within: limits, then quotes and keys, then what is written beside the ledger.
create or replace function metering.post_unqueued(
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
    v_budgets boolean; v_limited boolean; v_due uuid[];
begin
    select bool_or(f ? 'budgets'), coalesce(bool_or(f ? 'take'), false) into v_budgets, v_limited from unnest(p_facts) f;
    if v_budgets then
        -- The ledger's lock, before the first look at the clock: what is posted below is posted in the period that is looked up here.
        perform pg_advisory_xact_lock(7466, p_lane);
        v_due := metering.due_budgets(p_ids, p_kinds, p_facts);
        if v_due is not null then
            -- Another lane's batch that rolls nothing locks its buckets first and then the accounts: so does this one.
            perform from admission.buckets b
            where b.id = any (
                array(select u.id from unnest(p_facts) f cross join lateral unnest((f #>> '{lists,bucket}')::uuid[]) u (id))
                || array(
                    select (q ->> 'bucket')::uuid
                    from unnest(p_facts) f
                    cross join lateral jsonb_array_elements(case when jsonb_typeof(f -> 'take') = 'array' then f -> 'take' end) q
                )
                || array(select u.id from admission.taken t cross join lateral unnest(t.buckets) u (id) where t.request_id = any (p_ids))
            )
            order by b.id for update;
            -- A budget of an organisation is on several lanes.  All budgets of the batch are locked at once, in their order: what is
            -- posted below locks them again together.
            perform admission.roll_budgets(
                p_lane, v_due,
                p_leg_debits || array(select h.debit from ledger.holds h where h.id = any (p_ids) and not h.cascade)
            );
        end if;
    end if;
    if not v_limited and p_kinds && array[2, 3, 4]::smallint[] then
        -- First the lane: a hold that another backend is posting may be what is ended here.
        perform pg_advisory_xact_lock(7466, p_lane);
        v_limited := (metering.took(p_ids)).limited;
    end if;
    if v_limited then
        return query select * from metering.post_limits(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    else
        return query select * from metering.post_admitted(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
    end if;
end
$$;

drop function metering.post_in_period;
revoke all on function metering.post_unqueued, metering.post_limits from public, taximeter_app;
