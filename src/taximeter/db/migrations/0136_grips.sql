-- Processes that were killed are found out by the end of a connection: each holds an advisory lock (7469, lock_key) with one, and
-- says which server granted it.

alter table metering.processes
    add column lock_key int,                  -- null: it holds none
    add column server_started_at timestamptz;
