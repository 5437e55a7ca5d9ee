-- How many quotes a project may ask for in a minute, and how many of its quotes may be open, decided in the statement that keeps
-- them: exact with any number of gateways.

-- Not logged: after a crash of the database every project begins with a full minute, and its open quotes are counted again.
create unlogged table metering.quote_counts (
    project_id uuid primary key,
    arrives_at bigint not null default 0,     -- theoretical arrival time of the next quote (GCRA), nanoseconds since 1970
    open_most bigint not null default 0 check (open_most >= 0),   -- no more are open: those counted, and those made since
    counted_at timestamptz                    -- when they were counted; null: never
) with (fillfactor = 50);

create index quotes_of_project on metering.quotes (project_id, expires_at);

-- Keeps quotes of several calls.  p_shares names the call of each quote; calls are kept whole or not at all, in order.  Answers
-- those that are not: reason 1 above p_per_minute, 2 above p_open_max; wait_ns: until it may be asked again, -1: it never fits.
-- A limit of 0 is none.
create function metering.keep_quotes(
    p_ids uuid[], p_projects uuid[], p_fingerprints bytea[], p_maximums bigint[], p_documents text[], p_parts text[],
    p_expires timestamptz[], p_shares int[], p_per_minute bigint, p_open_max bigint
) returns table (share int, reason int, wait_ns bigint)
language plpgsql security definer
set search_path = pg_catalog, metering
set enable_seqscan = off
as $$
#variable_conflict use_column
declare
    c_minute constant bigint := 60000000000;
    v_time constant timestamptz := clock_timestamp();
    v_now constant bigint := (extract(epoch from v_time) * 1000000000)::bigint;
    b_id uuid[]; b_at bigint[]; b_open bigint[]; b_counted timestamptz[]; b_new bigint[];
    s_share int[]; s_project uuid[]; s_size bigint[];
    v_refused int[] := '{}'; v_at bigint; v_wait bigint; v_open bigint; v_first timestamptz; i int; b int;
begin
    insert into metering.quote_counts (project_id)
    select distinct u.id from unnest(p_projects) u (id) order by u.id
    on conflict do nothing;
    select array_agg(q.project_id), array_agg(q.arrives_at), array_agg(q.open_most), array_agg(q.counted_at), array_agg(0::bigint)
    into b_id, b_at, b_open, b_counted, b_new
    from (select * from metering.quote_counts where project_id = any (p_projects) order by project_id for update) q;
    select array_agg(q.share order by q.share), array_agg(q.project order by q.share), array_agg(q.size order by q.share)
    into s_share, s_project, s_size
    from (
        select u.share, (array_agg(u.project))[1] as project, count(*) as size
        from unnest(p_shares, p_projects) u (share, project) group by u.share
    ) q;

    for i in 1..cardinality(s_share) loop
        b := array_position(b_id, s_project[i]);
        v_at := b_at[b];
        if p_per_minute > 0 then
            v_at := greatest(v_at, v_now) + div(s_size[i]::numeric * c_minute, p_per_minute)::bigint;
            v_wait := case when s_size[i] > p_per_minute then -1 else v_at - v_now - c_minute end;
            if v_wait > 0 or v_wait = -1 and s_size[i] > p_per_minute then
                v_refused := v_refused || s_share[i];
                return query select s_share[i], 1, v_wait;
                continue;
            end if;
        end if;
        if p_open_max > 0 then
            -- Counting takes time: at first, and later when the limit may be reached, at most once a second.
            if b_counted[b] is null or b_open[b] + s_size[i] > p_open_max and b_counted[b] < v_time - interval '1 second' then
                select b_new[b] + count(*) into v_open
                from (select from metering.quotes q where q.project_id = b_id[b] and q.expires_at > v_time limit p_open_max) q;
                b_open[b] := v_open; b_counted[b] := v_time;
            end if;
            if b_open[b] + s_size[i] > p_open_max then
                select min(q.expires_at) into v_first from metering.quotes q where q.project_id = b_id[b] and q.expires_at > v_time;
                v_wait := case when s_size[i] > p_open_max then -1 else (extract(epoch from v_first - v_time) * 1000000000)::bigint end;
                v_refused := v_refused || s_share[i];
                return query select s_share[i], 2, coalesce(v_wait, 0);
                continue;
            end if;
        end if;
        b_at[b] := v_at; b_open[b] := b_open[b] + s_size[i]; b_new[b] := b_new[b] + s_size[i];
    end loop;

    update metering.quote_counts c
    set arrives_at = u.arrives_at, open_most = u.open_most, counted_at = u.counted_at
    from unnest(b_id, b_at, b_open, b_counted) u (project_id, arrives_at, open_most, counted_at)
    where c.project_id = any (b_id) and c.project_id = u.project_id;

    insert into metering.quotes (id, project_id, fingerprint, maximum_utok, document, parts, expires_at)
    select u.id, u.project_id, u.fingerprint, u.maximum_utok, u.document, u.parts, u.expires_at
    from unnest(p_ids, p_projects, p_fingerprints, p_maximums, p_documents, p_parts, p_expires, p_shares)
        u (id, project_id, fingerprint, maximum_utok, document, parts, expires_at, share)
    where u.share <> all (v_refused);
end
$$;

revoke all on function metering.keep_quotes from public;
grant select on metering.quote_counts to taximeter_app;
grant execute on function metering.keep_quotes to taximeter_app;
