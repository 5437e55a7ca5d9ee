-- Durable jobs.  A job's row is written in the transaction of its hold, and its end in the transaction of the settlement.

create schema jobs;

create table jobs.jobs (
    id uuid primary key,                      -- also the id of the hold, so that a job can be charged once only
    project_id uuid not null,
    kind text not null,
    state text not null default 'queued' check (state in ('queued', 'in_progress', 'completed', 'failed')),
    payload jsonb not null,
    progress smallint not null default 0 check (progress between 0 and 100),
    attempt int not null default 0,           -- the fence: only the claim that made this attempt may report
    given_back int not null default 0,        -- claims that do not count as a try: nothing ran, or the worker was told to stop
    lease_until timestamptz,
    provider_job text,
    cancel_requested boolean not null default false,
    error_code text,
    error_message text,
    object_key text,
    object_bytes bigint,
    result jsonb,
    created_at timestamptz not null default clock_timestamp(),
    started_at timestamptz,
    completed_at timestamptz,
    expires_at timestamptz,
    object_gone_at timestamptz,               -- the file was removed from the object store
    deleted_at timestamptz,
    constraint leased_while_running check ((state = 'in_progress') = (lease_until is not null)),
    constraint ended_has_time check ((state in ('completed', 'failed')) = (completed_at is not null)),
    constraint failed_says_why check ((state = 'failed') = (error_code is not null)),
    constraint completed_has_object check (state <> 'completed' or object_key is not null)
) with (fillfactor = 70);

create index jobs_queued on jobs.jobs (created_at) where state = 'queued';
create index jobs_leased on jobs.jobs (lease_until) where state = 'in_progress';
create index jobs_by_project on jobs.jobs (project_id, created_at desc, id desc) where deleted_at is null;
create index jobs_objects_to_remove on jobs.jobs (expires_at) where object_key is not null and object_gone_at is null;

grant usage on schema jobs to taximeter_app;
grant select, insert, update on jobs.jobs to taximeter_app;
