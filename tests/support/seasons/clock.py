"""A clock that a test moves, for PostgreSQL and the programs on it alike.

Nothing of the product is changed: its statements and functions ask for ``clock_timestamp()`` without saying whose, and in this one
database another schema is looked at first.
"""

from datetime import datetime

import asyncpg

from taximeter.kernel.clock import utc_from_ms

_START = "create sequence seasons.milliseconds minvalue 0; select setval('seasons.milliseconds', {});"
_CLOCK = """
create schema seasons;
{start}
create function seasons.clock_timestamp() returns timestamptz language sql volatile security definer as $$
    select 'epoch'::timestamptz + last_value * interval '1 millisecond' from seasons.milliseconds
$$;
grant usage on schema seasons to public;
do $$
declare
    f record; v_schemas text;
begin
    execute format('alter database %I set search_path = seasons, pg_catalog, public', current_database());
    set local search_path = seasons, pg_catalog, public;
    -- Functions that say themselves where names are looked up.
    for f in
        select p.oid::regprocedure as name, substring(c from '^search_path=(.*)$') as path
        from pg_proc p cross join lateral unnest(p.proconfig) c
        where c like 'search_path=%' and p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
    loop
        execute format('alter function %s set search_path = seasons, %s', f.name, f.path);
    end loop;
    -- Defaults know the function by its number.
    for f in
        select d.adrelid::regclass as name, quote_ident(a.attname) as attribute
        from pg_attrdef d join pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum
        where pg_get_expr(d.adbin, d.adrelid) ~ '^(pg_catalog\\.)?clock_timestamp\\(\\)$'
    loop
        execute format('alter table %s alter column %s set default seasons.clock_timestamp()', f.name, f.attribute);
    end loop;
end
$$;
"""


class SeasonClock:
    """The clock of one database, and of the programs that are given it.  It stands still unless it is moved."""

    def __init__(self, owner: asyncpg.Connection, start: datetime) -> None:
        self._owner = owner
        self._now_ms = int(start.timestamp() * 1000)
        self._start_ms = self._now_ms

    async def install(self) -> None:
        """Once in a database, and before anybody else connects to it."""
        await self._owner.execute(_CLOCK.format(start=_START.format(self._now_ms)))
        await self._owner.execute("set search_path = seasons, pg_catalog, public")

    async def advance(self, milliseconds: int) -> None:
        """Let time pass."""
        self._now_ms += milliseconds
        await self._owner.execute("select setval('seasons.milliseconds', $1)", self._now_ms)

    @property
    def now(self) -> datetime:
        """The moment."""
        return utc_from_ms(self._now_ms)

    def now_ms(self) -> int:
        """Unix time in milliseconds."""
        return self._now_ms

    def monotonic_s(self) -> float:
        """Seconds since it was started."""
        return (self._now_ms - self._start_ms) / 1000
