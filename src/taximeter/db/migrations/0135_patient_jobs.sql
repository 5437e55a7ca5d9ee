-- A job whose engine was away rests before it is claimed again, longer each time, and others go first (jobs.claim in 0150).

alter table jobs.jobs
    add column rests_until timestamptz,       -- not claimed before; null: at any time
    add column rests int not null default 0   -- its engine was away so many times in a row
        constraint jobs_rests_check check (rests >= 0);
