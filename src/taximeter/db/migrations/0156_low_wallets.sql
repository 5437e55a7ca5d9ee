-- Wallets that have little left: those who look after them are told once, and again after there was more.

create table admission.low_wallets (
    project_id uuid primary key,
    since timestamptz not null default clock_timestamp()
);

-- Tells of each wallet that has less than so much left of what any request may be paid from, and forgets those that have more again;
-- answers how many were told.  What running requests hold counts as left: it may come back.  A wallet that never had anything is
-- not low, nor is one with a credit line without a bound.  For workers: no request waits for it.
create function admission.tell_low_wallets(p_below bigint) returns int
language sql security definer set search_path = pg_catalog, admission as $$
    with standing as (
        select
            p.id, c.account as credit_account, c.line_utok, n.credits_posted - n.debits_posted as credit_utok,
            a.credits_posted - a.debits_posted + b.credits_posted - b.debits_posted
                + coalesce(g.free_utok, 0) + coalesce(n.credits_posted - n.debits_posted, 0) as left_utok,
            a.credits_posted + b.credits_posted > 0 or g.free_utok is not null or c.account is not null as used
        from identity.projects p
        join ledger.accounts a on a.id = p.allowance_account
        join ledger.accounts b on b.id = p.prepaid_account
        left join admission.credit_lines c on c.project_id = p.id and c.active
        left join ledger.accounts n on n.id = c.account
        left join lateral (
            select sum(x.credits_posted - x.debits_posted) as free_utok
            from admission.grants r
            join ledger.accounts x on x.id = r.account
            where r.project_id = p.id and r.closed_at is null and r.modality is null and r.starts_at <= clock_timestamp()
                and (r.expires_at is null or r.expires_at > clock_timestamp())
        ) g on true
        where c.account is null or c.line_utok is not null
    ),
    recovered as (
        delete from admission.low_wallets w using standing s where s.id = w.project_id and s.left_utok >= p_below
    ),
    low as (
        insert into admission.low_wallets as w (project_id)
        select s.id from standing s where s.used and s.left_utok < p_below
        order by s.id
        on conflict (project_id) do nothing
        returning w.project_id
    ),
    told as (
        select admission.emit(
            case when s.credit_account is null then 'wallet.low' else 'credit.low' end, s.id,
            jsonb_strip_nulls(jsonb_build_object(
                'left', trim_scale(s.left_utok / 1000000.0)::text,
                'below', trim_scale(p_below / 1000000.0)::text,
                'line', trim_scale(s.line_utok / 1000000.0)::text,
                'owed', trim_scale(greatest(s.line_utok - s.credit_utok, 0) / 1000000.0)::text
            ))
        )
        from low l join standing s on s.id = l.project_id
    )
    select count(*)::int from told
$$;
revoke all on function admission.tell_low_wallets from public;
grant execute on function admission.tell_low_wallets to taximeter_app;
