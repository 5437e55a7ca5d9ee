-- Events about limits spell ids and Tokens as the API does.

create function admission.shown_height(p_kind text, p_most bigint) returns text language sql immutable set search_path = pg_catalog as $$
    select case when p_kind = 'tokens' then trim_scale(p_most / 1000000.0)::text else p_most::text end
$$;
revoke all on function admission.shown_height from public;

create or replace function admission.tell_limit(p_limit admission.limits, p_before bigint, p_after bigint) returns void
language sql volatile set search_path = pg_catalog, admission as $$
    select admission.emit(
        'limit.changed',
        coalesce(p_limit.project_id, (select k.project_id from identity.api_keys k where k.id = p_limit.key_id)),
        jsonb_build_object(
            'limit', admission.public_id('lim', p_limit.id), 'scope', p_limit.scope,
            'key', case when p_limit.key_id is not null then admission.public_id('key', p_limit.key_id) end,
            'model', p_limit.model, 'kind', p_limit.kind, 'window', p_limit.window_s, 'shadow', p_limit.shadow,
            'before', admission.shown_height(p_limit.kind, p_before), 'after', admission.shown_height(p_limit.kind, p_after),
            'operator', p_limit.operator
        )
    )
$$;

do $patch$
declare
    v_text text := pg_get_functiondef('identity.limit_key'::regproc);
    v_old text;
begin
    foreach v_old in array array['old', 'new'] loop
        assert position(format('''tokens_per_minute_utok'', v_%s.tokens_per_minute_utok', v_old) in v_text) > 0, 'what is mended is there';
        v_text := replace(
            v_text, format('''tokens_per_minute_utok'', v_%s.tokens_per_minute_utok', v_old),
            format('''tokens_per_minute'', admission.shown_height(''tokens'', v_%s.tokens_per_minute_utok)', v_old)
        );
    end loop;
    assert position('''key'', p_key, ''operator''' in v_text) > 0, 'what is mended is there';
    execute replace(v_text, '''key'', p_key, ''operator''', '''key'', admission.public_id(''key'', p_key), ''operator''');
end
$patch$;

-- Statements of events about grants and webhooks spell ids, too.
grant execute on function admission.public_id to taximeter_app;

-- An event of an organisation names it as the API does: as it was, no webhook of an organisation was told of its budgets.
do $patch$
declare
    v_text constant text := pg_get_functiondef('admission.fan_out'::regproc);
    v_old constant text := 'and w.organisation_id::text is distinct from coalesce(p.organisation_id::text, e.data ->> ''organisation_id'') then false';
begin
    assert position(v_old in v_text) > 0, 'what is mended is there';
    execute replace(
        v_text, v_old,
        'and admission.public_id(''org'', w.organisation_id)
                        is distinct from coalesce(admission.public_id(''org'', p.organisation_id), e.data ->> ''organisation_id'') then false'
    );
end
$patch$;
