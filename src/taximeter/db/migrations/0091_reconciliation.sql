-- What the processes counted themselves, and what the last reconciliation found.

create table metering.process_counters (
    process_id uuid primary key,
    kind text not null,
    receipts bigint not null,                 -- posted by this process, as it was told by the posting function
    charged_utok bigint not null,
    uncertain bigint not null,                -- operations whose answer was lost and that are not answered yet
    ended boolean not null default false,     -- the last word of a process that ended in order
    reported_at timestamptz not null default clock_timestamp()
) with (fillfactor = 50);

create table metering.reconciliations (
    name text primary key,                    -- a comparison, or 'all'
    compared bigint not null,
    differences bigint not null,
    unexplained_utok numeric not null,
    detail jsonb not null,
    seconds double precision not null,
    ran_at timestamptz not null default clock_timestamp(),
    agreed_at timestamptz                     -- when it found no difference the last time
);

grant select, insert, update on metering.process_counters, metering.reconciliations to taximeter_app;
