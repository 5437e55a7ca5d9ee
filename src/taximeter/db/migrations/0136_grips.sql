-- Processes that were killed are found out by the end of a connection: each holds an advisory lock (7469, lock_key) with one, and
-- says which server granted it.

alter table metering.processes
    add column lock_key int,                  -- null: it holds none
    add column server_started_at timestamptz;

-- Since when the server has kept its locks: since it was started, or has begun anew because one of its processes was killed.  In that
-- the time of its start stays, but what it has counted is gone.
create function metering.locks_kept_since() returns timestamptz language sql stable set search_path = pg_catalog as $$
    select greatest(pg_postmaster_start_time(), (select stats_reset from pg_stat_bgwriter))
$$;
revoke all on function metering.locks_kept_since from public;
grant execute on function metering.locks_kept_since to taximeter_app;
