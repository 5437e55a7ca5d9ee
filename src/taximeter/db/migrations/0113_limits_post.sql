-- metering.post as before, and holds that a limit does not allow go no further:
--   fact {"take": [{"bucket", "kind", "most", "window_s", "amount", "shadow"}], ...}   with a hold: the limits that it must fit into
-- All of them or none are taken.  Status 21, above a limit: total is the limit's place in the list, from 0, and available how many
-- nanoseconds must pass: -1 when it never fits.
-- Notes 100 + place: what is left of a limit, and in how many nanoseconds all of it will be there.
-- A resolution needs no fact: what its hold took is on record.

drop function admission.take, admission.give_back, admission.step;

-- How far an amount moves the arrival time of a limit.  Rounded down, so that all that fits into a time fits into it.
create function admission.step(p_amount bigint, p_most bigint, p_window_s int) returns bigint language sql immutable as $$
    select div(p_amount::numeric * p_window_s * 1000000000, p_most)::bigint
$$;
revoke all on function admission.step from public;

-- The layers within: quotes, then idempotency keys, then what is written beside the ledger.
alter function metering.post(
    smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[], jsonb[]
) rename to post_admitted;
revoke all on function metering.post_admitted from public, taximeter_app;

do $patch$
declare
    v_quotes text := pg_get_functiondef('metering.post_quotes'::regproc);
    v_post text := pg_get_functiondef('metering.post_admitted'::regproc);
    v_branch constant text := $old$    elsif v_limits then
        return query select * from metering.post_limits(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
$old$;
begin
    assert position('metering.post_limits' in v_quotes) > 0 and position(v_branch in v_post) > 0, 'what is mended is there';
    execute replace(v_quotes, 'metering.post_limits', 'metering.post_keys');
    v_post := replace(v_post, v_branch, '');
    v_post := replace(v_post, $old$bool_or(f ? 'quote'), bool_or(f ? 'limits'), bool_or(f ? 'idempotency') into v_quote, v_limits, v_key$old$,
        $new$bool_or(f ? 'quote'), bool_or(f ? 'idempotency') into v_quote, v_key$new$);
    v_post := replace(v_post, 'v_quote boolean; v_limits boolean; v_key boolean;', 'v_quote boolean; v_key boolean;');
    assert position('v_limits' in v_post) = 0, 'nothing of the old limits is left';
    execute v_post;
end
$patch$;
drop function metering.post_limits;

create function metering.post_limits(
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
    v_now bigint;
    -- Limits of the holds, one a place: its hold, its place in that one's list, and what it asks for.  b: its bucket below.
    k_i int[]; k_n int[]; k_bucket uuid[]; k_kind text[]; k_most bigint[]; k_window bigint[]; k_amount bigint[]; k_step bigint[];
    k_shadow boolean[]; k_b int[]; k_window_s int[];
    -- How full it was found or left, and whether it was taken from; over: a shadow that would have refused.
    k_at bigint[]; k_taken boolean[]; k_over boolean[];
    -- Tokens that the batch's resolutions took once.
    e_i int[]; e_bucket uuid[]; e_b int[]; e_most bigint[]; e_window_s int[]; e_amount bigint[]; e_full_at bigint[];
    b_id uuid[]; b_requests bigint[]; b_tokens bigint[]; b_running bigint[];
    v_refused int[]; v_by int[]; v_waits bigint[]; v_left int[];
    r_pos int[]; r_status smallint[]; r_total bigint[]; r_available bigint[]; v_status smallint[]; v_total bigint[];
    m int; k int; f int; b int; v_op int; v_wait bigint; v_longest bigint; v_blamed int; v_back bigint;
begin
    -- The ledger's lock, before the first look at a bucket: what is open now stays so until this batch ends it.
    perform pg_advisory_xact_lock(7466, p_lane);

    -- A hold that is open already is sent again because its answer was lost; it takes nothing again.
    select array_agg(s.i), array_agg(s.n), array_agg(s.bucket), array_agg(s.kind), array_agg(s.most), array_agg(s.window_s),
           array_agg(s.window_s * 1000000000::bigint), array_agg(s.amount),
           array_agg(case when s.kind = 'concurrency' then 1 else admission.step(s.amount, s.most, s.window_s) end), array_agg(s.shadow),
           array_agg(0::bigint), array_agg(false), array_agg(false)
    into k_i, k_n, k_bucket, k_kind, k_most, k_window_s, k_window, k_amount, k_step, k_shadow, k_at, k_taken, k_over
    from (
        select o.i::int as i, q.n::int - 1 as n, q.bucket, q.kind, q.most, q.window_s, q.amount, q.shadow
        from unnest(p_ids, p_kinds, p_facts) with ordinality o (id, kind, fact, i)
        cross join lateral rows from (
            jsonb_to_recordset(o.fact -> 'take') as (bucket uuid, kind text, most bigint, window_s int, amount bigint, shadow boolean)
        ) with ordinality q (bucket, kind, most, window_s, amount, shadow, n)
        left join lateral (select true as seen from ledger.holds h where h.id = o.id limit 1) h on true
        where o.kind = 1 and o.fact ? 'take' and h.seen is null
        order by o.i, q.n
    ) s;
    m := coalesce(cardinality(k_i), 0);

    select array_agg(o.i::int), array_agg(x.bucket), array_agg(x.most), array_agg(x.window_s), array_agg(t.amount_utok), array_agg(x.full_at)
    into e_i, e_bucket, e_most, e_window_s, e_amount, e_full_at
    from unnest(p_ids, p_kinds) with ordinality o (id, kind, i)
    cross join lateral (select * from admission.taken a where a.request_id = o.id limit 1) t
    cross join lateral unnest(t.buckets, t.mosts, t.windows_s, t.full_at) x (bucket, most, window_s, full_at)
    where o.kind in (2, 3, 4);

    -- Other lanes may count in the same buckets: one statement locks them all, in order, and holds them to the end.
    select array_agg(distinct u.id) into b_id from unnest(k_bucket || e_bucket) u (id);
    insert into admission.buckets (id)
    select u.id
    from unnest(b_id) u (id)
    left join lateral (select true as known from admission.buckets a where a.id = u.id limit 1) b on true
    where b.known is null
    order by u.id
    on conflict do nothing;
    select array_agg(q.id), array_agg(q.requests_at), array_agg(q.tokens_at), array_agg(0::bigint)
    into b_id, b_requests, b_tokens, b_running
    from (select * from admission.buckets a where a.id = any (b_id) order by a.id for update) q;
    select array_agg(x.b order by k.n) into k_b
    from unnest(k_bucket) with ordinality k (id, n) join unnest(b_id) with ordinality x (id, b) on x.id = k.id;
    select array_agg(x.b order by e.n) into e_b
    from unnest(e_bucket) with ordinality e (id, n) left join unnest(b_id) with ordinality x (id, b) on x.id = e.id;
    if 'concurrency' = any (k_kind) then
        -- A statement of its own: it sees what those who had the lock before have written.
        select array_agg(coalesce(c.n, 0) order by x.b) into b_running
        from unnest(b_id) with ordinality x (id, b)
        left join (
            select a.bucket, count(*) as n
            from admission.running a
            where a.bucket = any (b_id)
            group by a.bucket
        ) c on c.bucket = x.id;
    end if;
    v_now := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;

    k := 1;
    while k <= m loop
        -- The limits of one hold.  First whether all allow it, then it takes from all.
        v_op := k_i[k]; f := k; v_longest := 0; v_blamed := null;
        while k <= m and k_i[k] = v_op loop
            b := k_b[k];
            if k_kind[k] = 'tokens' then
                v_wait := case when k_amount[k] > k_most[k] then -1 else greatest(0, greatest(b_tokens[b], v_now) + k_step[k] - v_now - k_window[k]) end;
                k_at[k] := b_tokens[b];
            elsif k_kind[k] = 'requests' then
                -- Below 0 there is room to spare, and -1 means never: steps are rounded down, so a nanosecond may be left of a window.
                v_wait := greatest(0, greatest(b_requests[b], v_now) + k_step[k] - v_now - k_window[k]);
                k_at[k] := b_requests[b];
            else
                -- Nobody knows when a slot will be free: a second is worth a try.
                v_wait := case when b_running[b] < k_most[k] then 0 else 1000000000 end;
                k_at[k] := b_running[b];
            end if;
            if v_wait = -1 or v_wait > 0 then
                if k_shadow[k] then
                    k_over[k] := true;
                elsif v_longest <> -1 and (v_wait = -1 or v_wait > v_longest) then
                    v_longest := v_wait; v_blamed := k_n[k];
                end if;
            end if;
            k := k + 1;
        end loop;
        if v_blamed is not null then
            v_refused := v_refused || v_op; v_by := v_by || v_blamed; v_waits := v_waits || v_longest;
            continue;
        end if;
        for j in f..k - 1 loop
            continue when k_over[j];
            b := k_b[j]; k_taken[j] := true;
            if k_kind[j] = 'tokens' then
                b_tokens[b] := greatest(b_tokens[b], v_now) + k_step[j]; k_at[j] := b_tokens[b];
            elsif k_kind[j] = 'requests' then
                b_requests[b] := greatest(b_requests[b], v_now) + k_step[j]; k_at[j] := b_requests[b];
            else
                b_running[b] := b_running[b] + 1; k_at[j] := b_running[b];
            end if;
        end loop;
    end loop;

    if v_refused is null then
        select array_agg(r.pos), array_agg(r.status), array_agg(r.total), array_agg(r.available)
        into r_pos, r_status, r_total, r_available
        from metering.post_admitted(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        ) r;
    else
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
    end if;
    return query select * from unnest(r_pos, r_status, r_total, r_available);

    -- By position: what became of it, and what was charged.
    select array_agg(r.status order by o.i), array_agg(r.total order by o.i)
    into v_status, v_total
    from unnest(p_ids) with ordinality o (id, i)
    left join unnest(r_pos, r_status, r_total) r (pos, status, total) on r.pos = o.i and r.status < 100;

    -- A hold that was not made took nothing.
    for k in 1..m loop
        continue when not k_taken[k] or v_status[k_i[k]] = 0;
        b := k_b[k]; k_taken[k] := false; k_at[k] := k_at[k] - k_step[k];
        if k_kind[k] = 'tokens' then
            b_tokens[b] := b_tokens[b] - k_step[k];
        elsif k_kind[k] = 'requests' then
            b_requests[b] := b_requests[b] - k_step[k];
        end if;
    end loop;

    -- What an ended request did not use comes back, as far as it has not come back with time; what it used above that is taken.
    if e_i is not null then
        for k in 1..cardinality(e_i) loop
            b := e_b[k];
            continue when b is null or v_status[e_i[k]] is distinct from 0;
            v_back := admission.step(e_amount[k], e_most[k], e_window_s[k])
                - admission.step(case when p_kinds[e_i[k]] = 2 then v_total[e_i[k]] else 0 end, e_most[k], e_window_s[k]);
            b_tokens[b] := b_tokens[b] - least(v_back, greatest(e_full_at[k] - v_now, 0));
        end loop;
    end if;
    delete from admission.running a
    where a.request_id = any (array(select p_ids[u.i] from unnest(p_kinds, v_status) with ordinality u (kind, status, i) where u.kind in (2, 3, 4) and u.status = 0));
    if e_i is not null then
        delete from admission.taken a where a.request_id = any (array(select p_ids[u.i] from unnest(e_i) u (i) where v_status[u.i] = 0));
    end if;

    if m > 0 then
        insert into admission.running (request_id, bucket)
        select p_ids[u.i], u.bucket from unnest(k_i, k_bucket, k_kind, k_taken) u (i, bucket, kind, taken) where u.kind = 'concurrency' and u.taken;
        insert into admission.taken (request_id, amount_utok, buckets, mosts, windows_s, full_at)
        select p_ids[u.i], max(u.amount), array_agg(u.bucket), array_agg(u.most), array_agg(u.window_s), array_agg(u.at)
        from unnest(k_i, k_bucket, k_kind, k_taken, k_amount, k_most, k_window_s, k_at) u (i, bucket, kind, taken, amount, most, window_s, at)
        where u.kind = 'tokens' and u.taken
        group by u.i;
        if true = any (k_over) then
            insert into admission.shadow_refusals as a (bucket, day, refused)
            select u.bucket, (clock_timestamp() at time zone 'UTC')::date, count(*)
            from unnest(k_i, k_bucket, k_over) u (i, bucket, over)
            where u.over and v_status[u.i] = 0
            group by u.bucket
            order by u.bucket
            on conflict (bucket, day) do update set refused = a.refused + excluded.refused;
        end if;
    end if;
    update admission.buckets a
    set requests_at = u.requests_at, tokens_at = u.tokens_at
    from unnest(b_id, b_requests, b_tokens) u (id, requests_at, tokens_at)
    where a.id = any (b_id) and a.id = u.id and (a.requests_at, a.tokens_at) is distinct from (u.requests_at, u.tokens_at);

    if m > 0 then
        return query
        select u.i, (100 + u.n)::smallint,
               case
                   when u.kind = 'concurrency' then greatest(u.most - u.at, 0)
                   else greatest(div((u.span - greatest(u.at - v_now, 0))::numeric * u.most, u.span)::bigint, 0)
               end,
               case when u.kind = 'concurrency' then 0 else greatest(u.at - v_now, 0) end
        from unnest(k_i, k_n, k_kind, k_most, k_window, k_at, k_shadow) u (i, n, kind, most, span, at, shadow)
        where not u.shadow;
    end if;
end
$$;

-- Most batches meet no limit: they pay for one look at their facts, and for two at indexes when something ends.
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
    v_limited boolean := exists (select from unnest(p_facts) f where f ? 'take');
begin
    if not v_limited and p_kinds && array[2, 3, 4]::smallint[] then
        -- First the lane: a hold that another backend is posting may be what is ended here.
        perform pg_advisory_xact_lock(7466, p_lane);
        v_limited := exists (select from admission.running a where a.request_id = any (p_ids))
            or exists (select from admission.taken a where a.request_id = any (p_ids));
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

revoke all on function metering.post, metering.post_limits from public;
grant execute on function metering.post to taximeter_app;
