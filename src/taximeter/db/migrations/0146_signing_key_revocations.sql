-- Keys that quotes were signed with and that are not trusted any more, from a time on: what somebody may have read could have signed
-- whatever he liked since.  A key can be revoked once more, from an earlier time; the earliest counts.

create table metering.signing_key_revocations (
    key_id text not null references metering.signing_keys (id),
    revoked_from timestamptz not null,        -- what was issued then or later does not count
    created_at timestamptz not null default clock_timestamp(),
    primary key (key_id, revoked_from),
    constraint not_in_the_future check (revoked_from <= created_at)
);

create trigger append_only before update or delete on metering.signing_key_revocations for each row execute function ledger.refuse_rewrite();
create trigger append_only_truncate before truncate on metering.signing_key_revocations for each statement execute function ledger.refuse_rewrite();

-- Only the owner revokes, by the command: who breaks into a gateway cannot turn its quotes off.
grant select on metering.signing_key_revocations to taximeter_app;
