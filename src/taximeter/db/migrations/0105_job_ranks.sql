-- Jobs are claimed by the service tier that was paid for: priority before standard before flex before batch, the oldest first.
-- A job of an earlier release names no tier: it is a standard one.

alter table jobs.jobs
    add column rank smallint not null generated always as (
        case payload ->> 'service_tier' when 'priority' then 0 when 'flex' then 2 when 'batch' then 3 else 1 end
    ) stored;

drop index jobs.jobs_queued;
create index jobs_queued on jobs.jobs (rank, created_at) where state = 'queued';
