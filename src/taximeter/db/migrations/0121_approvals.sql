-- Requests above their plan's cap that wait for an operator.  Nothing is held for them and nothing runs before he approves.

create table admission.approvals (
    id uuid primary key,                       -- of a job: also the id that the job and its hold will have
    project_id uuid not null,
    key_id uuid not null,
    model text not null,
    modality text not null,
    is_job boolean not null,                   -- the server runs it when it is approved; otherwise its sender sends it again
    request jsonb not null check (octet_length(request::text) <= 262144),
    normal jsonb,                              -- of a job: the request as the engine would get it
    fingerprint bytea not null check (octet_length(fingerprint) = 32),
    idempotency_key text check (char_length(idempotency_key) between 1 and 255),
    key_fingerprint bytea check (octet_length(key_fingerprint) = 32),
    plan text not null,
    cap_utok bigint not null check (cap_utok >= 0),
    maximum_utok bigint not null,
    quote_id uuid not null,
    quote text not null,                       -- the signed document: what is approved, and at which price
    state text not null default 'pending' check (state in ('pending', 'approved', 'declined', 'expired', 'withdrawn', 'used')),
    operator text check (char_length(operator) between 1 and 200),
    reason text check (char_length(reason) <= 500),
    problem text check (char_length(problem) <= 1000),   -- why it could not be started when an operator last approved it
    created_at timestamptz not null default clock_timestamp(),
    decided_at timestamptz,
    deleted_at timestamptz,                    -- of a job: its owner does not want to see it any more
    expires_at timestamptz not null,
    constraint above_its_cap check (maximum_utok > cap_utok),
    constraint decided_has_time check ((state = 'pending') = (decided_at is null)),
    constraint key_has_fingerprint check ((idempotency_key is null) = (key_fingerprint is null))
);
create unique index approvals_by_quote on admission.approvals (quote_id);
-- A client that sends the same again waits for the same approval.
create unique index approvals_waiting on admission.approvals (project_id, fingerprint) where state = 'pending' and idempotency_key is null;
create unique index approvals_waiting_by_key on admission.approvals (project_id, idempotency_key) where state = 'pending';
create index approvals_by_state on admission.approvals (state, id);
create index approvals_by_project on admission.approvals (project_id, id);
create index approvals_by_job on admission.approvals (project_id, created_at, id) where is_job;

-- Every state that an approval was in; each at most once.
create table admission.approval_history (
    approval_id uuid not null references admission.approvals (id),
    state text not null,
    operator text,
    reason text,
    at timestamptz not null default clock_timestamp(),
    primary key (approval_id, state)
);
create trigger approval_history_append_only before update or delete on admission.approval_history
    for each row execute function admission.refuse_rewrite();
create trigger approval_history_append_only_truncate before truncate on admission.approval_history
    for each statement execute function admission.refuse_rewrite();

-- What was asked is never changed, and what was decided is decided.
create function admission.check_approval() returns trigger language plpgsql set search_path = pg_catalog, admission as $$
begin
    if (to_jsonb(new) - array['state', 'operator', 'reason', 'problem', 'decided_at', 'deleted_at'])
        <> (to_jsonb(old) - array['state', 'operator', 'reason', 'problem', 'decided_at', 'deleted_at'])
        or not (
            new.state = old.state
            or old.state = 'pending' and new.state in ('approved', 'declined', 'expired', 'withdrawn')
            or old.state = 'approved' and new.state = 'used'
        )
    then
        raise exception 'approval % is % and was asked for once', old.id, old.state using errcode = 'restrict_violation';
    end if;
    return new;
end
$$;
create trigger approvals_asked_once before update on admission.approvals for each row execute function admission.check_approval();
create trigger approvals_not_deleted before delete on admission.approvals for each row execute function admission.refuse_rewrite();
create trigger approvals_not_truncated before truncate on admission.approvals for each statement execute function admission.refuse_rewrite();

-- History and events, in the transaction of what they tell.
create function admission.note_approval() returns trigger language plpgsql security definer set search_path = pg_catalog, admission as $$
begin
    if tg_op = 'UPDATE' and new.state = old.state then
        return null;
    end if;
    insert into admission.approval_history (approval_id, state, operator, reason) values (new.id, new.state, new.operator, new.reason);
    if new.state <> 'used' then
        perform admission.emit(
            case new.state when 'pending' then 'approval.requested' else 'approval.decided' end,
            new.project_id,
            jsonb_build_object(
                'approval', admission.public_id('apr', new.id), 'project', admission.public_id('prj', new.project_id),
                'key', admission.public_id('key', new.key_id), 'state', new.state, 'model', new.model, 'modality', new.modality,
                'plan', new.plan, 'cap', trim_scale(new.cap_utok / 1000000.0)::text,
                'tokens_max', trim_scale(new.maximum_utok / 1000000.0)::text, 'quote', admission.public_id('quo', new.quote_id),
                'video', case when new.is_job then admission.public_id('video', new.id) end,
                'operator', new.operator, 'reason', new.reason, 'expires_at', new.expires_at
            ),
            'approval:' || new.id || ':' || new.state
        );
    end if;
    return null;
end
$$;
create trigger approvals_noted after insert or update on admission.approvals for each row execute function admission.note_approval();

-- Decides about an approval that waits; returns whether this call did.  Jobs are approved by metering.submit_approved alone.
create function admission.decide(p_id uuid, p_state text, p_operator text, p_reason text) returns boolean
language sql security definer set search_path = pg_catalog, admission as $$
    with decided as (
        update admission.approvals a
        set state = p_state, operator = p_operator, reason = p_reason, problem = null, decided_at = clock_timestamp()
        where a.id = p_id and a.state = 'pending' and (a.expires_at > clock_timestamp() or p_state = 'expired')
            and p_state in ('approved', 'declined', 'expired', 'withdrawn') and not (a.is_job and p_state = 'approved')
        returning 1
    )
    select exists (select from decided)
$$;

-- Ends the approvals that nobody has decided in time; returns how many.
create function admission.expire_approvals(p_limit int) returns int
language sql security definer set search_path = pg_catalog, admission as $$
    select count(*) filter (where admission.decide(a.id, 'expired', null, null))::int
    from (
        select x.id from admission.approvals x
        where x.state = 'pending' and x.expires_at <= clock_timestamp() order by x.id limit p_limit
    ) a
$$;

revoke all on function admission.check_approval, admission.note_approval, admission.decide, admission.expire_approvals from public;
grant select, insert, update (problem, deleted_at) on admission.approvals to taximeter_app;
grant select on admission.approval_history to taximeter_app;
grant execute on function admission.decide, admission.expire_approvals to taximeter_app;
