-- A limit that gets another height rescales what running requests took, too: what they give back is counted in the new height.  With the
-- old one they would give back more than they hold now, and the window would let in more than the limit.

create or replace function admission.rescale(p_bucket uuid, p_kind text, p_before bigint, p_after bigint, p_window_s int) returns void
language plpgsql set search_path = pg_catalog, admission as $$
declare
    v_now constant bigint := (extract(epoch from clock_timestamp()) * 1000000000)::bigint;
    v_window constant bigint := p_window_s * 1000000000::bigint;
begin
    update admission.buckets b
    set requests_at = case when p_kind = 'requests' then v_now + admission.rescaled(b.requests_at - v_now, p_before, p_after, v_window) else b.requests_at end,
        tokens_at = case when p_kind = 'tokens' then v_now + admission.rescaled(b.tokens_at - v_now, p_before, p_after, v_window) else b.tokens_at end
    where b.id = p_bucket;
    if p_kind = 'tokens' then
        -- The bucket is locked: nobody takes from it meanwhile.
        update admission.taken t
        set (mosts, full_at) = (
            select array_agg(case when u.bucket = p_bucket then p_after else u.most end order by u.n),
                   array_agg(
                       case when u.bucket = p_bucket then v_now + admission.rescaled(u.full_at - v_now, p_before, p_after, v_window) else u.full_at end
                       order by u.n
                   )
            from unnest(t.buckets, t.mosts, t.full_at) with ordinality u (bucket, most, full_at, n)
        )
        where p_bucket = any (t.buckets);
    end if;
end
$$;

revoke all on function admission.rescale from public;
