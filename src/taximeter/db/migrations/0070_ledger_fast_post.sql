-- The posting function's fast path.  What it cannot decide from the arrays, the open holds and the accounts goes to the exact
-- one, which also probes the log: replays, late settlements, missing holds and accounts, closed accounts.

alter function ledger.post(
    smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[]
) rename to post_exact;
revoke all on function ledger.post_exact from public, taximeter_app;

-- Two things are mended in it.  Its update joined the batch with all accounts; it is bound by the batch's ids.  And when somebody on
-- a wrong lane resolved a hold between its look at the log and its look at the holds, it answered as if it had done that itself;
-- the batch is posted again instead.
do $patch$
declare
    v_code text := pg_get_functiondef('ledger.post_exact'::regproc);
    v_pairs constant text[] := array[
        ['where a.id = u.id and u.touched', 'where a.id = any (a_id) and a.id = u.id and u.touched'],
        ['then 2 else 6 end;
            else
                for j', 'then 2 else 6 end;
            elsif l = 0 then
                raise exception ''the hold was resolved meanwhile'' using errcode = ''serialization_failure'';
            else
                for j'],
        ['v_phase := case when k1[i] is null then 1 else 2 end;', 'v_phase := case when k1[i] is null then 1 else 2 end;
            if v_phase = 1 and l = 0 then
                raise exception ''the hold was resolved meanwhile'' using errcode = ''serialization_failure'';
            end if;']
    ];
    v_pair text[];
begin
    foreach v_pair slice 1 in array v_pairs loop
        assert position(v_pair[1] in v_code) > 0, 'post_exact has what is mended: ' || v_pair[1];
        v_code := replace(v_code, v_pair[1], v_pair[2]);
    end loop;
    execute v_code;
end
$patch$;

-- The log is followed by batch; a batch's rows are few.  Not a partial index on first legs: a plan that is made while a partition
-- is empty would read it from end to end instead of looking an id up.
drop index ledger.transfers_in_order;
create index transfers_in_order on ledger.transfers (lane, batch);

-- A hot account's dead versions are pruned within its page; what a reader's old snapshot kept there, vacuum takes soon.
alter table ledger.accounts set (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 2000);
-- Holds live for seconds: vacuum must not dawdle behind those who delete them.
alter table ledger.holds set (autovacuum_vacuum_cost_delay = 0);

-- The chosen groups of a batch, as the arrays of a smaller batch.
create function ledger.pick(
    p_chosen int[], inout ids uuid[], inout kinds smallint[], inout amounts bigint[], inout ttls int[], inout codes int[], inout digests bytea[],
    inout leg_groups int[], inout leg_debits bigint[], inout leg_credits bigint[], inout leg_amounts bigint[], inout leg_cascades boolean[]
) language plpgsql immutable as $$
begin
    select array_agg(ids[c.i] order by c.k), array_agg(kinds[c.i] order by c.k), array_agg(amounts[c.i] order by c.k),
           array_agg(ttls[c.i] order by c.k), array_agg(codes[c.i] order by c.k), array_agg(digests[c.i] order by c.k)
    into ids, kinds, amounts, ttls, codes, digests
    from unnest(p_chosen) with ordinality c (i, k);
    select coalesce(array_agg(c.k::int order by l.n), '{}'), coalesce(array_agg(l.debit order by l.n), '{}'),
           coalesce(array_agg(l.credit order by l.n), '{}'), coalesce(array_agg(l.amount order by l.n), '{}'),
           coalesce(array_agg(l.cascade order by l.n), '{}')
    into leg_groups, leg_debits, leg_credits, leg_amounts, leg_cascades
    from unnest(leg_groups, leg_debits, leg_credits, leg_amounts, leg_cascades) with ordinality l (i, debit, credit, amount, cascade, n)
    join unnest(p_chosen) with ordinality c (i, k) on c.i = l.i;
end
$$;
revoke all on function ledger.pick from public;

-- One call posts a batch of groups, as ledger.post_exact does and with the same answers.  Groups come from callers that do not
-- wait for each other, so any serial order is right: first what the fast path decides, in the order of the arrays, then the rest.
--
-- The log itself is not read.  A hold that is open proves that it was posted and is not resolved; an id that is in the log already
-- violates its primary key, and then the whole batch is decided anew by the exact path.
create function ledger.post(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[],                                           -- ascending; holds and directs only
    p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, ledger
-- Plans are made once, for tables that are empty at first: an index scan bounded by the batch's own ids, joined by hashing.
set enable_seqscan = off
set enable_nestloop = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    n constant int := cardinality(p_ids);
    c_short constant bigint := 1300 + p_lane;
    v_batch bigint;
    v_resolves constant boolean := p_kinds && array[2, 3, 4]::smallint[];
    v_holds constant boolean := p_kinds && array[1]::smallint[];
    -- Legs: the given ones, then those of the holds that are to be resolved.  take: what a leg moves, null when it is not posted here.
    g_group int[] := p_leg_groups; g_leg smallint[]; g_debit bigint[] := p_leg_debits; g_credit bigint[] := p_leg_credits;
    g_amount bigint[] := p_leg_amounts; g_cascade boolean[] := p_leg_cascades; g_di int[]; g_ci int[]; g_take bigint[];
    h_group int[]; h_leg smallint[]; h_debit bigint[]; h_credit bigint[]; h_amount bigint[]; h_cascade boolean[];
    g_first int[]; g_count int[];
    -- Accounts: balances that change in memory first.
    a_id bigint[]; a_flags smallint[]; a_dp bigint[]; a_do bigint[]; a_cp bigint[]; a_co bigint[];
    -- Answers; rows beyond one a leg (refusals, overruns, shortfalls); positions that the exact path decides.
    r_status smallint[] := array_fill(null::smallint, array[cardinality(p_ids)]);
    r_total bigint[] := array_fill(null::bigint, array[cardinality(p_ids)]); r_available bigint[] := r_total;
    x int := 0; x_pos int[]; x_leg smallint[]; x_kind smallint[]; x_debit bigint[]; x_credit bigint[]; x_amount bigint[]; x_cascade boolean[];
    rest int[] := '{}';
    i int; j int; f int; e int; d int; c int; s int;
    v_kind smallint; v_amount bigint; v_rest bigint; v_take bigint; v_free bigint; v_total bigint; v_available bigint;
    v_cascades boolean; v_refused boolean;
begin
    assert current_setting('transaction_isolation') = 'read committed', 'post needs read committed';
    if n = 0 then
        return;
    end if;
    -- A statement of its own: the ones after it see what the lane's previous holder committed.
    perform pg_advisory_xact_lock(7466, p_lane);

    g_first := array_fill(0, array[n]); g_count := g_first;
    for j in 1..cardinality(g_group) loop
        i := g_group[j];
        if g_count[i] = 0 then
            g_first[i] := j;
        end if;
        g_leg[j] := g_count[i];
        g_count[i] := g_count[i] + 1;
    end loop;
    if v_resolves then
        select array_agg(q.i), array_agg(q.leg), array_agg(q.debit), array_agg(q.credit), array_agg(q.amount), array_agg(q.cascade)
        into h_group, h_leg, h_debit, h_credit, h_amount, h_cascade
        from (
            select o.i::int, h.leg, h.debit, h.credit, h.amount, h.cascade
            from unnest(p_ids, p_kinds) with ordinality o (id, kind, i)
            join ledger.holds h on h.id = o.id
            where h.id = any (p_ids) and o.kind in (2, 3, 4)
            order by o.i, h.leg
        ) q;
        e := cardinality(g_group);
        for j in 1..coalesce(cardinality(h_group), 0) loop
            i := h_group[j];
            if g_count[i] = 0 then
                g_first[i] := e + j;
            end if;
            g_count[i] := g_count[i] + 1;
        end loop;
        g_group := g_group || h_group; g_leg := g_leg || h_leg; g_debit := g_debit || h_debit; g_credit := g_credit || h_credit;
        g_amount := g_amount || h_amount; g_cascade := g_cascade || h_cascade;
    end if;

    -- Locks in ascending order of id, taken by a statement whose plan cannot reorder them.
    with a as materialized (
        select * from ledger.accounts where id = any (g_debit || g_credit || c_short) order by id for update
    ),
    numbered as materialized (select a.*, row_number() over () as i from a)
    select b.id, b.flags, b.dp, b.dd, b.cp, b.cc, m.di, m.ci
    into a_id, a_flags, a_dp, a_do, a_cp, a_co, g_di, g_ci
    from (
        select array_agg(id) as id, array_agg(flags) as flags, array_agg(debits_pending) as dp, array_agg(debits_posted) as dd,
               array_agg(credits_pending) as cp, array_agg(credits_posted) as cc
        from numbered
    ) b, (
        select array_agg(k.di) as di, array_agg(k.ci) as ci
        from (
            select y.i::int as di, z.i::int as ci
            from unnest(g_debit, g_credit) with ordinality l (debit, credit, k)
            left join numbered y on y.id = l.debit
            left join numbered z on z.id = l.credit
            order by l.k
        ) k
    ) m;

    -- An array that is filled from the middle would begin there.
    g_take := array_fill(null::bigint, array[coalesce(cardinality(g_group), 0)]);
    for i in 1..n loop
        v_kind := p_kinds[i]; v_amount := p_amounts[i]; v_rest := v_amount; v_total := 0; v_available := 0;
        f := g_first[i]; e := f + g_count[i] - 1;

        if v_kind in (1, 5) then
            v_cascades := false; v_refused := false;
            for j in f..e loop
                d := g_di[j]; c := g_ci[j];
                if d is null or c is null or (a_flags[d] | a_flags[c]) & 6 <> 0 then
                    rest := rest || i;
                    exit;
                end if;
            end loop;
            continue when rest[cardinality(rest)] = i;
            for j in f..e loop
                d := g_di[j]; c := g_ci[j];
                v_take := case when g_cascade[j] then v_rest else g_amount[j] end;
                if a_flags[d] & 1 = 1 then
                    v_free := a_co[d] - a_do[d] - a_dp[d];
                    if v_take > v_free then
                        if not g_cascade[j] then
                            v_refused := true;
                            exit;
                        end if;
                        v_take := greatest(v_free, 0);
                    end if;
                end if;
                if g_cascade[j] then
                    v_cascades := true; v_rest := v_rest - v_take;
                end if;
                g_take[j] := v_take;
                if v_kind = 1 then
                    a_dp[d] := a_dp[d] + v_take; a_cp[c] := a_cp[c] + v_take;
                else
                    a_do[d] := a_do[d] + v_take; a_co[c] := a_co[c] + v_take;
                end if;
            end loop;
            if v_refused or v_cascades and v_rest > 0 then
                -- Undo the legs of this group; the refusal itself is written and sticks to the id.
                for j in f..e loop
                    exit when g_take[j] is null;
                    d := g_di[j]; c := g_ci[j]; v_take := g_take[j]; g_take[j] := null;
                    if v_kind = 1 then
                        a_dp[d] := a_dp[d] - v_take; a_cp[c] := a_cp[c] - v_take;
                    else
                        a_do[d] := a_do[d] - v_take; a_co[c] := a_co[c] - v_take;
                    end if;
                end loop;
                r_status[i] := 1;
                x := x + 1; x_pos[x] := i; x_leg[x] := 0; x_kind[x] := v_kind; x_debit[x] := g_debit[f]; x_credit[x] := g_credit[f];
                x_amount[x] := 0; x_cascade[x] := g_cascade[f];
            else
                r_status[i] := 0; v_total := v_amount;
            end if;

        elsif f = 0 then
            -- No open hold: resolved before, or never there.
            rest := rest || i;
            continue;

        elsif v_kind in (3, 4) then
            for j in f..e loop
                d := g_di[j]; c := g_ci[j];
                a_dp[d] := a_dp[d] - g_amount[j]; a_cp[c] := a_cp[c] - g_amount[j];
                g_take[j] := 0;
            end loop;
            r_status[i] := 0;

        else
            for j in f..e loop
                d := g_di[j]; c := g_ci[j];
                if g_cascade[j] then
                    v_take := least(v_rest, g_amount[j]);
                    v_rest := v_rest - v_take;
                else
                    -- A budget counts the whole fare, as far as it reaches.
                    v_take := v_amount;
                    if a_flags[d] & 1 = 1 then
                        v_take := least(v_amount, greatest(a_co[d] - a_do[d] - a_dp[d] + g_amount[j], 0));
                    end if;
                end if;
                g_take[j] := v_take;
                a_dp[d] := a_dp[d] - g_amount[j]; a_cp[c] := a_cp[c] - g_amount[j];
                a_do[d] := a_do[d] + v_take; a_co[c] := a_co[c] + v_take;
            end loop;
            if v_rest > 0 then
                -- Above the hold: what the wallet still has ...
                for j in f..e loop
                    continue when not g_cascade[j];
                    d := g_di[j]; c := g_ci[j]; v_take := v_rest;
                    if a_flags[d] & 1 = 1 then
                        v_take := least(v_rest, greatest(a_co[d] - a_do[d] - a_dp[d], 0));
                    end if;
                    continue when v_take = 0;
                    v_rest := v_rest - v_take;
                    a_do[d] := a_do[d] + v_take; a_co[c] := a_co[c] + v_take;
                    x := x + 1; x_pos[x] := i; x_leg[x] := 16 + g_leg[j]; x_kind[x] := 6; x_debit[x] := g_debit[j]; x_credit[x] := g_credit[j];
                    x_amount[x] := v_take; x_cascade[x] := true;
                end loop;
            end if;
            v_total := v_amount - v_rest;
            if v_rest > 0 then
                -- ... and the operator bears the rest, in the open.
                s := array_position(a_id, c_short); c := g_ci[f];
                a_do[s] := a_do[s] + v_rest; a_co[c] := a_co[c] + v_rest;
                x := x + 1; x_pos[x] := i; x_leg[x] := 32; x_kind[x] := 7; x_debit[x] := c_short; x_credit[x] := g_credit[f];
                x_amount[x] := v_rest; x_cascade[x] := false;
            end if;
            r_status[i] := 0;
        end if;

        for j in f..e loop
            if g_cascade[j] then
                d := g_di[j];
                v_available := v_available + a_co[d] - a_do[d] - a_dp[d];
            end if;
        end loop;
        r_total[i] := v_total; r_available[i] := v_available;
    end loop;

    if cardinality(rest) < n then
        begin
            v_batch := nextval('ledger.batches');
            insert into ledger.transfers (
                id, leg, phase, kind, status, debit, credit, amount, hold_amount, cascade, requested, total, expires_at, code, digest,
                lane, batch, pos
            )
            select o.id, l.leg, case when o.kind in (1, 5) then 0 else 1 end, o.kind, 0, l.debit, l.credit, l.take,
                   case when o.kind not in (1, 5) then l.amount end, l.cascade,
                   case when l.leg = 0 then o.amount end, case when l.leg = 0 then o.total end,
                   case when o.kind = 1 then clock_timestamp() + make_interval(secs => o.ttl) end,
                   o.code, o.digest, p_lane, v_batch, o.i
            from unnest(g_group, g_leg, g_debit, g_credit, g_amount, g_cascade, g_take) l (i, leg, debit, credit, amount, cascade, take)
            join unnest(p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests, r_total) with ordinality
                o (id, kind, amount, ttl, code, digest, total, i) on o.i = l.i
            where l.take is not null;
            if x > 0 then
                insert into ledger.transfers (
                    id, leg, phase, kind, status, debit, credit, amount, hold_amount, cascade, requested, total, code, digest, lane, batch, pos
                )
                select o.id, u.leg, case when u.leg = 0 then 0 else 1 end, u.kind, case when u.leg = 0 then 1 else 0 end,
                       u.debit, u.credit, u.amount, case when u.leg > 0 then 0 end, u.cascade,
                       case when u.leg = 0 then o.amount end, case when u.leg = 0 then 0 end, o.code, o.digest, p_lane, v_batch, o.i
                from unnest(x_pos, x_leg, x_kind, x_debit, x_credit, x_amount, x_cascade) u (i, leg, kind, debit, credit, amount, cascade)
                join unnest(p_ids, p_amounts, p_codes, p_digests) with ordinality o (id, amount, code, digest, i) on o.i = u.i;
            end if;
            if v_holds then
                insert into ledger.holds (id, leg, debit, credit, amount, cascade, expires_at)
                select o.id, l.leg, l.debit, l.credit, l.take, l.cascade, clock_timestamp() + make_interval(secs => o.ttl)
                from unnest(p_leg_groups, g_leg, g_debit, g_credit, g_cascade, g_take) l (i, leg, debit, credit, cascade, take)
                join unnest(p_ids, p_kinds, p_ttls) with ordinality o (id, kind, ttl, i) on o.i = l.i
                where o.kind = 1 and l.take is not null;
            end if;
            if h_group is not null then
                delete from ledger.holds where id = any (array(select p_ids[u.i] from unnest(h_group) u (i)));
                get diagnostics s = row_count;
                -- Somebody on a wrong lane was faster.
                assert s = cardinality(h_group), 'holds changed while they were resolved';
            end if;
            update ledger.accounts a
            set debits_pending = u.dp, debits_posted = u.dd, credits_pending = u.cp, credits_posted = u.cc, version = a.version + 1
            from unnest(a_id, a_dp, a_do, a_cp, a_co) u (id, dp, dd, cp, cc)
            where a.id = any (a_id) and a.id = u.id
                and (a.debits_pending, a.debits_posted, a.credits_pending, a.credits_posted) is distinct from (u.dp, u.dd, u.cp, u.cc);
        exception
            when unique_violation or assert_failure then
                return query select * from ledger.post_exact(
                    p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
                    p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades
                );
                return;
        end;
    end if;

    for i in 1..n loop
        continue when r_status[i] is null;
        pos := i; status := r_status[i]; total := r_total[i]; available := r_available[i];
        return next;
    end loop;
    if cardinality(rest) > 0 then
        return query
        select rest[r.pos], r.status, r.total, r.available
        from ledger.pick(
            rest, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests, p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades
        ) c
        cross join lateral ledger.post_exact(
            p_lane, c.ids, c.kinds, c.amounts, c.ttls, c.codes, c.digests,
            c.leg_groups, c.leg_debits, c.leg_credits, c.leg_amounts, c.leg_cascades
        ) r;
    end if;
end
$$;

revoke all on function ledger.post from public;
grant execute on function ledger.post to taximeter_app;
