-- The application connects with this role.  It owns nothing: what it may do is granted, statement by statement.
do $$
begin
    if not exists (select from pg_roles where rolname = 'taximeter_app') then
        create role taximeter_app nologin;
    end if;
exception when duplicate_object or unique_violation then
    null;  -- Another database of the same server was set up at the same moment.
end
$$;
do $$
begin
    if not pg_has_role(current_user, 'taximeter_app', 'member') then
        execute format('grant taximeter_app to %I', current_user);
    end if;
end
$$;
grant usage on schema taximeter to taximeter_app;
grant select on taximeter.migrations to taximeter_app;
