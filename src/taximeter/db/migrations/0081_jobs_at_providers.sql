-- Jobs whose work goes on at a provider, whatever becomes of us.  An order is sent once: that it was about to be sent is on
-- record before it is, and the provider's own name of the job is on record before anybody waits for it.
--
-- A job of ours is "unknown" while it is in progress and unknown_since is set: we have no answer, and no answer is no verdict.
-- lease_until is when the next claim may ask, whether its worker died or put it down until then.

alter table jobs.jobs
    add column ordered_at timestamptz,        -- an order has been sent, or was about to be: it is never sent again
    add column provider_until timestamptz,    -- how long the provider is asked
    add column unknown_since timestamptz,     -- kept when the job ends, as the last time that it was unknown
    add column unknown_reason text,
    add column provider_verdict text,
    add constraint ordered_has_an_end check ((ordered_at is null) = (provider_until is null)),
    add constraint provider_job_was_ordered check (provider_job is null or ordered_at is not null),
    add constraint unknown_was_ordered check (unknown_since is null or ordered_at is not null),
    add constraint unknown_says_why check ((unknown_since is null) = (unknown_reason is null)),
    -- completed and failed as the provider said; gone: it does not know the job; cancelled at our request; none: never known.
    add constraint verdict_is_known check (
        provider_verdict is null or ordered_at is not null and provider_verdict in ('completed', 'failed', 'gone', 'cancelled', 'none')
    );

create index jobs_at_providers on jobs.jobs (lease_until) where state = 'in_progress' and ordered_at is not null;
create index jobs_to_call_off on jobs.jobs (id) where state = 'failed' and ordered_at is not null and provider_verdict is null;
create index jobs_never_known on jobs.jobs (id) where state = 'failed' and ordered_at is not null;
