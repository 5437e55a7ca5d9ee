-- One call posts a batch of groups.  A group is 1 to 6 legs that succeed or fail together.
--
-- Groups come from callers that do not wait for each other, so any serial order is right: this function takes the
-- order of the arrays and decides each group exactly, on account balances that it holds locked.  It touches each
-- account row once, whatever the size of the batch.
--
-- Statuses: 0 applied  1 refused, not enough available  2 replay of an applied one  3 replay of a refused one
--           4 same id, other body  5 no such hold  6 already resolved otherwise  7 no such account  8 account closed
--           9 settled late (the hold had been released before)
create function ledger.post(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[],                                           -- the position of each leg's group; holds and directs only
    p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, ledger
-- ledger.holds is empty most of the time, which tempts the planner into scanning it once per item; and it takes arrays
-- for short, which tempts it into joining two of them row by row.  Probes of tables are lateral with a fence (limit, offset).
set enable_seqscan = off
set enable_nestloop = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    c_shortfall_leg constant smallint := 32;
    n constant int := cardinality(p_ids);
    v_batch bigint;
    -- What the log already says, by position.
    k0 smallint[]; s0 smallint[]; same0 boolean[]; total0 bigint[];
    k1 smallint[]; same1 boolean[]; total1 bigint[];
    same2 boolean[]; total2 bigint[];
    -- Legs of every group: given ones for holds and directs, stored ones for resolutions.
    g_first int[] := array_fill(1, array[cardinality(p_ids)]); g_count int[] := array_fill(0, array[cardinality(p_ids)]);
    g_group int[]; g_leg smallint[]; g_debit bigint[]; g_credit bigint[]; g_amount bigint[]; g_cascade boolean[]; g_di int[]; g_ci int[];
    -- Accounts: balances that change in memory first.
    a_id bigint[]; a_flags smallint[]; a_dp bigint[]; a_do bigint[]; a_cp bigint[]; a_co bigint[]; a_touched boolean[];
    -- Rows to write.
    w int := 0; w_id uuid[]; w_leg smallint[]; w_phase smallint[]; w_kind smallint[]; w_status smallint[];
    w_debit bigint[]; w_credit bigint[]; w_amount bigint[]; w_hold bigint[]; w_cascade boolean[];
    w_requested bigint[]; w_total bigint[]; w_ttl int[]; w_code int[]; w_digest bytea[]; w_pos int[];
    gone uuid[] := '{}';
    -- The item at hand.
    i int; j int; f int; l int; d int; c int;
    v_kind smallint; v_amount bigint; v_rest bigint; v_take bigint; v_free bigint; v_total bigint; v_status smallint;
    v_phase smallint; v_short_i int; v_rev_i int; v_w0 int; v_base smallint; v_cascades boolean;
begin
    assert current_setting('transaction_isolation') = 'read committed', 'post needs read committed';
    if n = 0 then
        return;
    end if;
    -- A statement of its own: the ones after it see what the lane's previous holder committed.
    perform pg_advisory_xact_lock(7466, p_lane);
    v_batch := nextval('ledger.batches');

    select array_agg(t.kind order by o.i), array_agg(t.status order by o.i),
           array_agg(t.digest = o.digest order by o.i), array_agg(t.total order by o.i)
    into k0, s0, same0, total0
    from unnest(p_ids, p_digests) with ordinality o (id, digest, i)
    left join lateral (
        select x.kind, x.status, x.digest, x.total from ledger.transfers x where x.id = o.id and x.leg = 0 and x.phase = 0 limit 1
    ) t on true;

    select array_agg(t.kind order by o.i), array_agg(t.digest = o.digest order by o.i), array_agg(t.total order by o.i)
    into k1, same1, total1
    from unnest(p_ids, p_digests) with ordinality o (id, digest, i)
    left join lateral (
        select x.kind, x.digest, x.total from ledger.transfers x where x.id = o.id and x.leg = 0 and x.phase = 1 limit 1
    ) t on true;

    if exists (select from unnest(p_kinds, k1) u (kind, k1) where u.kind = 2 and u.k1 in (3, 4)) then
        select array_agg(t.digest = o.digest order by o.i), array_agg(t.total order by o.i)
        into same2, total2
        from unnest(p_ids, p_digests) with ordinality o (id, digest, i)
        left join lateral (
            select x.digest, x.total from ledger.transfers x where x.id = o.id and x.leg = 0 and x.phase = 2 limit 1
        ) t on true;
    end if;

    -- Legs in the order of the groups.  A settlement after expiry or void finds its legs in the log, with nothing held.
    with legs as (
        select s.i, (row_number() over (partition by s.i order by s.k) - 1)::smallint as leg, s.debit, s.credit, s.amount, s.cascade
        from unnest(p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades)
            with ordinality s (i, debit, credit, amount, cascade, k)
        union all
        select o.i, h.leg, h.debit, h.credit, h.amount, h.cascade
        from unnest(p_ids, p_kinds) with ordinality o (id, kind, i)
        cross join lateral (select * from ledger.holds x where x.id = o.id offset 0) h
        where o.kind in (2, 3, 4)
        union all
        select o.i, t.leg, t.debit, t.credit, 0, t.cascade
        from unnest(p_ids, p_kinds, k1) with ordinality o (id, kind, k1, i)
        cross join lateral (select * from ledger.transfers x where x.id = o.id and x.phase = 0 and x.status = 0 offset 0) t
        where o.kind = 2 and o.k1 in (3, 4)
    )
    select array_agg(q.i::int order by q.i, q.leg), array_agg(q.leg order by q.i, q.leg), array_agg(q.debit order by q.i, q.leg),
           array_agg(q.credit order by q.i, q.leg), array_agg(q.amount order by q.i, q.leg), array_agg(q.cascade order by q.i, q.leg)
    into g_group, g_leg, g_debit, g_credit, g_amount, g_cascade
    from legs q;
    for j in 1..coalesce(cardinality(g_group), 0) loop
        i := g_group[j];
        if g_count[i] = 0 then
            g_first[i] := j;
        end if;
        g_count[i] := g_count[i] + 1;
    end loop;

    -- Locks in ascending order of id, taken by a statement whose plan cannot reorder them.
    select array_agg(a.id order by a.id), array_agg(a.flags order by a.id),
           array_agg(a.debits_pending order by a.id), array_agg(a.debits_posted order by a.id),
           array_agg(a.credits_pending order by a.id), array_agg(a.credits_posted order by a.id),
           array_agg(false order by a.id)
    into a_id, a_flags, a_dp, a_do, a_cp, a_co, a_touched
    from (
        select * from ledger.accounts
        where id = any (g_debit || g_credit || array[1300 + p_lane]::bigint[])
        order by id for update
    ) a;

    select array_agg(x.i order by l.k), array_agg(y.i order by l.k)
    into g_di, g_ci
    from unnest(g_debit, g_credit) with ordinality l (debit, credit, k)
    left join unnest(a_id) with ordinality x (id, i) on x.id = l.debit
    left join unnest(a_id) with ordinality y (id, i) on y.id = l.credit;
    v_short_i := array_position(a_id, (1300 + p_lane)::bigint);

    for i in 1..n loop
        v_kind := p_kinds[i]; v_amount := p_amounts[i];
        f := g_first[i]; l := g_count[i];
        v_status := 0; v_total := 0; v_w0 := w;

        if v_kind in (1, 5) then
            ---------------------------------------------------------------- hold or direct transfer
            if k0[i] is not null then
                if not same0[i] or k0[i] <> v_kind then
                    v_status := 4;
                elsif s0[i] = 0 then
                    v_status := 2; v_total := total0[i];
                else
                    v_status := 3;
                end if;
            else
                for j in f..f + l - 1 loop
                    if g_di[j] is null or g_ci[j] is null then
                        v_status := 7;
                    elsif (a_flags[g_di[j]] | a_flags[g_ci[j]]) & 6 <> 0 and v_status = 0 then
                        v_status := 8;
                    end if;
                end loop;
                if v_status = 0 then
                    v_rest := v_amount; v_cascades := false;
                    for j in f..f + l - 1 loop
                        d := g_di[j]; c := g_ci[j]; v_cascades := v_cascades or g_cascade[j];
                        v_free := a_co[d] - a_do[d] - a_dp[d];
                        if g_cascade[j] then
                            v_take := case when a_flags[d] & 1 = 1 then least(v_rest, greatest(v_free, 0)) else v_rest end;
                            v_rest := v_rest - v_take; v_total := v_total + v_take;
                        else
                            v_take := g_amount[j];
                            if a_flags[d] & 1 = 1 and v_take > v_free then
                                v_status := 1;
                                exit;
                            end if;
                        end if;
                        if v_kind = 1 then
                            a_dp[d] := a_dp[d] + v_take; a_cp[c] := a_cp[c] + v_take;
                        else
                            a_do[d] := a_do[d] + v_take; a_co[c] := a_co[c] + v_take;
                        end if;
                        w := w + 1;
                        w_id[w] := p_ids[i]; w_leg[w] := g_leg[j]; w_phase[w] := 0; w_kind[w] := v_kind; w_status[w] := 0;
                        w_debit[w] := g_debit[j]; w_credit[w] := g_credit[j]; w_amount[w] := v_take; w_hold[w] := null;
                        w_cascade[w] := g_cascade[j]; w_requested[w] := null; w_total[w] := null; w_ttl[w] := p_ttls[i];
                        w_code[w] := p_codes[i]; w_digest[w] := p_digests[i]; w_pos[w] := i;
                    end loop;
                    if v_status = 0 and v_cascades and v_rest > 0 then
                        v_status := 1;
                    end if;
                    if v_status = 1 then
                        -- Undo the legs of this group; the refusal itself is written and sticks to the id.
                        for j in v_w0 + 1..w loop
                            d := g_di[f + j - v_w0 - 1]; c := g_ci[f + j - v_w0 - 1];
                            if v_kind = 1 then
                                a_dp[d] := a_dp[d] - w_amount[j]; a_cp[c] := a_cp[c] - w_amount[j];
                            else
                                a_do[d] := a_do[d] - w_amount[j]; a_co[c] := a_co[c] - w_amount[j];
                            end if;
                        end loop;
                        v_total := 0;
                        w := v_w0 + 1;
                        w_id[w] := p_ids[i]; w_leg[w] := 0; w_phase[w] := 0; w_kind[w] := v_kind; w_status[w] := 1;
                        w_debit[w] := g_debit[f]; w_credit[w] := g_credit[f]; w_amount[w] := 0; w_hold[w] := null;
                        w_cascade[w] := g_cascade[f]; w_ttl[w] := null;
                        w_code[w] := p_codes[i]; w_digest[w] := p_digests[i]; w_pos[w] := i;
                    else
                        for j in f..f + l - 1 loop
                            a_touched[g_di[j]] := true; a_touched[g_ci[j]] := true;
                        end loop;
                        if not v_cascades then
                            v_total := v_amount;
                        end if;
                    end if;
                    w_requested[v_w0 + 1] := v_amount; w_total[v_w0 + 1] := v_total;
                end if;
            end if;

        elsif k0[i] is distinct from 1::smallint or s0[i] <> 0 then
            v_status := 5;

        elsif v_kind in (3, 4) then
            ---------------------------------------------------------------- void or expire
            if k1[i] is not null then
                v_status := case when k1[i] = v_kind then 2 else 6 end;
            else
                for j in f..f + l - 1 loop
                    d := g_di[j]; c := g_ci[j];
                    a_dp[d] := a_dp[d] - g_amount[j]; a_cp[c] := a_cp[c] - g_amount[j];
                    a_touched[d] := true; a_touched[c] := true;
                    w := w + 1;
                    w_id[w] := p_ids[i]; w_leg[w] := g_leg[j]; w_phase[w] := 1; w_kind[w] := v_kind; w_status[w] := 0;
                    w_debit[w] := g_debit[j]; w_credit[w] := g_credit[j]; w_amount[w] := 0; w_hold[w] := g_amount[j];
                    w_cascade[w] := g_cascade[j]; w_requested[w] := null; w_total[w] := null; w_ttl[w] := null;
                    w_code[w] := p_codes[i]; w_digest[w] := p_digests[i]; w_pos[w] := i;
                end loop;
                w_requested[v_w0 + 1] := 0; w_total[v_w0 + 1] := 0;
                gone := gone || p_ids[i];
            end if;

        elsif k1[i] = 2 then
            v_status := case when same1[i] then 2 else 6 end; v_total := total1[i];
        elsif (k1[i] = 3 and p_codes[i] <> 1) or (k1[i] = 4 and p_codes[i] = 2) then
            -- A void is a verdict; only a caller that says so (code 1) may still charge for what was delivered.
            -- A caller that can no longer deliver says so too (code 2): then an expiry is a verdict as well.
            v_status := 6;
        elsif k1[i] in (3, 4) and same2[i] is not null then
            v_status := case when same2[i] then 2 else 6 end; v_total := total2[i];

        else
            ---------------------------------------------------------------- settle, on time or late
            v_phase := case when k1[i] is null then 1 else 2 end;
            v_status := case when v_phase = 1 then 0 else 9 end;
            v_base := case when v_phase = 1 then 2 else 8 end;
            v_rest := v_amount;
            for j in f..f + l - 1 loop
                d := g_di[j]; c := g_ci[j];
                if g_cascade[j] then
                    v_take := least(v_rest, g_amount[j]);
                    if v_phase = 2 then
                        v_free := a_co[d] - a_do[d] - a_dp[d];
                        v_take := case when a_flags[d] & 1 = 1 then least(v_rest, greatest(v_free, 0)) else v_rest end;
                    end if;
                    v_rest := v_rest - v_take; v_total := v_total + v_take;
                else
                    -- A budget counts the whole fare, as far as it reaches.
                    v_free := a_co[d] - a_do[d] - a_dp[d] + g_amount[j];
                    v_take := case when a_flags[d] & 1 = 1 then least(v_amount, greatest(v_free, 0)) else v_amount end;
                end if;
                a_dp[d] := a_dp[d] - g_amount[j]; a_cp[c] := a_cp[c] - g_amount[j];
                a_do[d] := a_do[d] + v_take; a_co[c] := a_co[c] + v_take;
                a_touched[d] := true; a_touched[c] := true;
                w := w + 1;
                w_id[w] := p_ids[i]; w_leg[w] := g_leg[j]; w_phase[w] := v_phase; w_kind[w] := v_base; w_status[w] := 0;
                w_debit[w] := g_debit[j]; w_credit[w] := g_credit[j]; w_amount[w] := v_take; w_hold[w] := g_amount[j];
                w_cascade[w] := g_cascade[j]; w_requested[w] := null; w_total[w] := null; w_ttl[w] := null;
                w_code[w] := p_codes[i]; w_digest[w] := p_digests[i]; w_pos[w] := i;
            end loop;
            if v_rest > 0 and v_phase = 1 then
                -- Above the hold: what the wallet still has ...
                for j in f..f + l - 1 loop
                    continue when not g_cascade[j] or v_rest = 0;
                    d := g_di[j]; c := g_ci[j];
                    v_free := a_co[d] - a_do[d] - a_dp[d];
                    v_take := case when a_flags[d] & 1 = 1 then least(v_rest, greatest(v_free, 0)) else v_rest end;
                    continue when v_take = 0;
                    v_rest := v_rest - v_take; v_total := v_total + v_take;
                    a_do[d] := a_do[d] + v_take; a_co[c] := a_co[c] + v_take;
                    w := w + 1;
                    w_id[w] := p_ids[i]; w_leg[w] := 16 + g_leg[j]; w_phase[w] := 1; w_kind[w] := 6; w_status[w] := 0;
                    w_debit[w] := g_debit[j]; w_credit[w] := g_credit[j]; w_amount[w] := v_take; w_hold[w] := 0;
                    w_cascade[w] := true; w_requested[w] := null; w_total[w] := null; w_ttl[w] := null;
                    w_code[w] := p_codes[i]; w_digest[w] := p_digests[i]; w_pos[w] := i;
                end loop;
            end if;
            if v_rest > 0 then
                -- ... and the operator bears the rest, in the open.
                v_rev_i := g_ci[f];
                a_do[v_short_i] := a_do[v_short_i] + v_rest; a_co[v_rev_i] := a_co[v_rev_i] + v_rest;
                a_touched[v_short_i] := true; a_touched[v_rev_i] := true;
                w := w + 1;
                w_id[w] := p_ids[i]; w_leg[w] := c_shortfall_leg + v_phase - 1; w_phase[w] := v_phase; w_kind[w] := 7; w_status[w] := 0;
                w_debit[w] := a_id[v_short_i]; w_credit[w] := a_id[v_rev_i]; w_amount[w] := v_rest; w_hold[w] := 0;
                w_cascade[w] := false; w_requested[w] := null; w_total[w] := null; w_ttl[w] := null;
                w_code[w] := p_codes[i]; w_digest[w] := p_digests[i]; w_pos[w] := i;
            end if;
            w_requested[v_w0 + 1] := v_amount; w_total[v_w0 + 1] := v_total;
            if v_phase = 1 then
                gone := gone || p_ids[i];
            end if;
        end if;

        pos := i; status := v_status; total := v_total; available := 0;
        for j in f..f + l - 1 loop
            d := g_di[j];
            if d is not null and g_cascade[j] then
                available := available + a_co[d] - a_do[d] - a_dp[d];
            end if;
        end loop;
        return next;
    end loop;

    if w = 0 then
        return;
    end if;
    insert into ledger.transfers (
        id, leg, phase, kind, status, debit, credit, amount, hold_amount, cascade, requested, total, expires_at, code, digest, lane, batch, pos
    )
    select u.id, u.leg, u.phase, u.kind, u.status, u.debit, u.credit, u.amount, u.hold, u.cascade, u.requested, u.total,
           case when u.kind = 1 and u.status = 0 then clock_timestamp() + make_interval(secs => u.ttl) end,
           u.code, u.digest, p_lane, v_batch, u.pos
    from unnest(
        w_id[1:w], w_leg[1:w], w_phase[1:w], w_kind[1:w], w_status[1:w], w_debit[1:w], w_credit[1:w], w_amount[1:w], w_hold[1:w],
        w_cascade[1:w], w_requested[1:w], w_total[1:w], w_ttl[1:w], w_code[1:w], w_digest[1:w], w_pos[1:w]
    ) u (id, leg, phase, kind, status, debit, credit, amount, hold, cascade, requested, total, ttl, code, digest, pos);

    insert into ledger.holds (id, leg, debit, credit, amount, cascade, expires_at)
    select u.id, u.leg, u.debit, u.credit, u.amount, u.cascade, clock_timestamp() + make_interval(secs => u.ttl)
    from unnest(
        w_id[1:w], w_leg[1:w], w_kind[1:w], w_status[1:w], w_debit[1:w], w_credit[1:w], w_amount[1:w], w_cascade[1:w], w_ttl[1:w]
    ) u (id, leg, kind, status, debit, credit, amount, cascade, ttl)
    where u.kind = 1 and u.status = 0;

    delete from ledger.holds where id = any (gone);

    update ledger.accounts a
    set debits_pending = u.dp, debits_posted = u.dd, credits_pending = u.cp, credits_posted = u.cc, version = a.version + 1
    from unnest(a_id, a_dp, a_do, a_cp, a_co, a_touched) u (id, dp, dd, cp, cc, touched)
    where a.id = u.id and u.touched;
end
$$;

revoke all on function ledger.post, ledger.open_account, ledger.ensure_partitions, ledger.set_account_closed from public;
grant usage on schema ledger to taximeter_app;
grant select on all tables in schema ledger to taximeter_app;
grant execute on function ledger.post, ledger.open_account, ledger.ensure_partitions, ledger.set_account_closed to taximeter_app;
