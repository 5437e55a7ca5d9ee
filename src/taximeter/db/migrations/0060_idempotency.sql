-- Callers' own names for their requests: the header idempotency-key.  A key is written in the transaction of its request's
-- hold, so there is no moment at which one of them exists without the other.

create table metering.idempotency (
    project_id uuid not null,
    key text not null check (length(key) between 1 and 255),
    fingerprint bytea not null check (octet_length(fingerprint) = 32),
    request_id uuid not null unique references metering.requests (id),
    keeps_answer boolean not null,            -- the gateway stores the answer after the settlement
    created_at timestamptz not null default clock_timestamp(),
    primary key (project_id, key)
);
create index idempotency_by_age on metering.idempotency (created_at);

create table metering.idempotent_answers (
    request_id uuid primary key references metering.idempotency (request_id) on delete cascade,
    status smallint not null,
    content_type text not null,
    body bytea                                -- null: the answer was too large to keep
);

-- Whether a request's hold was released and nothing was charged for it later either: its key is free for another request.
create function metering.is_released(p_request uuid) returns boolean language sql stable as $$
    select exists (
        select from ledger.transfers t where t.id = p_request and t.leg = 0 and t.phase = 1 and t.kind in (3, 4)
    ) and not exists (
        select from ledger.transfers t where t.id = p_request and t.leg = 0 and t.phase = 2
    )
$$;

-- Posts what reaches the ledger, with its facts.
alter function metering.post(
    smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[], jsonb[]
) rename to post_facts;
revoke all on function metering.post_facts from taximeter_app;

-- As post_facts, and gives each key to one request:
--   fact {"idempotency": {"project_id", "key", "fingerprint", "keeps_answer"}, ...}   with a hold
--   fact {"idempotency": {"project_id", "key"}, ...}                                  with a settlement
-- A hold whose key belongs to another request does not reach the ledger: status 20, key used.  A refused hold takes no key,
-- and a key whose request was released goes to the next hold that asks for it; the request that lost it cannot be charged late.
create function metering.post(
    p_lane smallint,
    p_ids uuid[], p_kinds smallint[], p_amounts bigint[], p_ttls int[], p_codes int[], p_digests bytea[],
    p_leg_groups int[], p_leg_debits bigint[], p_leg_credits bigint[], p_leg_amounts bigint[], p_leg_cascades boolean[],
    p_facts jsonb[]
) returns table (pos int, status smallint, total bigint, available bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
-- As in ledger.post: plans are made while tables are small, and kept.  Probes are lateral with a limit, so that none becomes a scan.
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    k_project uuid[]; k_key text[]; v_codes int[];
    v_left int[]; v_now int[]; v_used int[]; v_later int[];
    r_status smallint[] := array_fill(20::smallint, array[cardinality(p_ids)]);
    r_total bigint[] := array_fill(0::bigint, array[cardinality(p_ids)]);
    r_available bigint[] := array_fill(0::bigint, array[cardinality(p_ids)]);
    v_row record;
begin
    if not exists (select from unnest(p_facts) f where f ? 'idempotency') then
        return query select * from metering.post_facts(
            p_lane, p_ids, p_kinds, p_amounts, p_ttls, p_codes, p_digests,
            p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades, p_facts
        );
        return;
    end if;
    -- The ledger's lock, before the first look at a key: a project has one lane, so its holds come one batch after the other.
    perform pg_advisory_xact_lock(7466, p_lane);

    -- Code 2: a settlement that never charges late.
    select array_agg(case when o.kind = 1 then q.project_id end order by o.i), array_agg(case when o.kind = 1 then q.key end order by o.i),
           array_agg(case when o.kind = 2 and x.request_id <> o.id then 2 else o.code end order by o.i), array_agg(o.i::int order by o.i)
    into k_project, k_key, v_codes, v_left
    from unnest(p_ids, p_kinds, p_codes, p_facts) with ordinality o (id, kind, code, fact, i)
    left join lateral jsonb_to_record(o.fact -> 'idempotency') q (project_id uuid, key text) on true
    left join lateral (
        select e.request_id from metering.idempotency e where e.project_id = q.project_id and e.key = q.key limit 1
    ) x on true;

    -- One round, mostly.  A hold waits for the next one when this round decides about its key: when the request that has the
    -- key ends in it, or when another hold of it asks first.
    while v_left is not null loop
        with asked as (
            select o.id, o.i, o.project_id, o.key, x.request_id as holder,
                   x.request_id <> o.id and x.request_id in (select p_ids[l] from unnest(v_left) l) as waits
            from unnest(p_ids, k_project, k_key) with ordinality o (id, project_id, key, i)
            left join lateral (
                select e.request_id from metering.idempotency e where e.project_id = o.project_id and e.key = o.key limit 1
            ) x on true
            where o.i = any (v_left)
        ),
        judged as (
            select a.*, coalesce(a.holder <> a.id and not a.waits and not metering.is_released(a.holder), false) as used
            from asked a
        ),
        ranked as (
            select j.i::int as i, j.used,
                   coalesce(j.waits, false) or j.key is not null and row_number() over (
                       partition by j.project_id, j.key, j.used, coalesce(j.waits, false) order by j.i
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
            with chosen as (
                select o.*, row_number() over (order by o.i)::int as k
                from unnest(p_ids, p_kinds, p_amounts, p_ttls, v_codes, p_digests, p_facts)
                    with ordinality o (id, kind, amount, ttl, code, digest, fact, i)
                where o.i = any (v_now)
            ),
            legs as (
                select c.k, s.debit, s.credit, s.amount, s.cascade, s.n
                from unnest(p_leg_groups, p_leg_debits, p_leg_credits, p_leg_amounts, p_leg_cascades)
                    with ordinality s (i, debit, credit, amount, cascade, n)
                join chosen c on c.i = s.i
            )
            select v_now[r.pos] as i, r.status, r.total, r.available
            from (
                select array_agg(c.id order by c.k) as ids, array_agg(c.kind order by c.k) as kinds, array_agg(c.amount order by c.k) as amounts,
                       array_agg(c.ttl order by c.k) as ttls, array_agg(c.code order by c.k) as codes,
                       array_agg(c.digest order by c.k) as digests, array_agg(c.fact order by c.k) as facts
                from chosen c
            ) a
            cross join (
                select array_agg(l.k order by l.n) as groups, array_agg(l.debit order by l.n) as debits, array_agg(l.credit order by l.n) as credits,
                       array_agg(l.amount order by l.n) as amounts, array_agg(l.cascade order by l.n) as cascades
                from legs l
            ) b
            cross join lateral metering.post_facts(
                p_lane, a.ids, a.kinds, a.amounts, a.ttls, a.codes, a.digests,
                coalesce(b.groups, '{}'), coalesce(b.debits, '{}'), coalesce(b.credits, '{}'), coalesce(b.amounts, '{}'),
                coalesce(b.cascades, '{}'), a.facts
            ) r
        loop
            r_status[v_row.i] := v_row.status; r_total[v_row.i] := v_row.total; r_available[v_row.i] := v_row.available;
        end loop;

        -- A released request may have left an answer that was made but not settled in time; it goes with the key.
        delete from metering.idempotent_answers a
        using unnest(k_project, k_key, r_status) with ordinality o (project_id, key, status, i)
        cross join lateral (
            select e.request_id from metering.idempotency e where e.project_id = o.project_id and e.key = o.key limit 1
        ) x
        where o.i = any (v_now) and o.status = 0 and a.request_id = x.request_id;

        insert into metering.idempotency (project_id, key, fingerprint, request_id, keeps_answer)
        select q.project_id, q.key, decode(q.fingerprint, 'hex'), o.id, q.keeps_answer
        from unnest(p_ids, p_kinds, p_facts, r_status) with ordinality o (id, kind, fact, status, i)
        cross join lateral jsonb_to_record(o.fact -> 'idempotency') q (project_id uuid, key text, fingerprint text, keeps_answer boolean)
        where o.i = any (v_now) and o.kind = 1 and o.status = 0 and o.fact ? 'idempotency'
        on conflict (project_id, key) do update
        set fingerprint = excluded.fingerprint, request_id = excluded.request_id, keeps_answer = excluded.keeps_answer,
            created_at = excluded.created_at;
        v_left := v_later;
    end loop;

    return query select o.i::int, o.status, o.total, o.available from unnest(r_status, r_total, r_available) with ordinality o (status, total, available, i);
end
$$;

-- Forgets keys that are older than the given seconds, with their answers; not those of requests that still run.  Returns how many.
create function metering.forget_keys(p_ttl_s int, p_limit int) returns int
language sql security definer set search_path = pg_catalog, metering as $$
    with gone as (
        delete from metering.idempotency i
        where i.request_id in (
            select x.request_id
            from metering.idempotency x
            where x.created_at < clock_timestamp() - make_interval(secs => p_ttl_s)
                and not exists (select from ledger.holds h where h.id = x.request_id)
            order by x.created_at limit p_limit
        )
        returning 1
    )
    select count(*)::int from gone
$$;

revoke all on function metering.post, metering.post_facts, metering.forget_keys from public;
grant select on metering.idempotency, metering.idempotent_answers to taximeter_app;
grant insert on metering.idempotent_answers to taximeter_app;
grant execute on function metering.post, metering.forget_keys to taximeter_app;
