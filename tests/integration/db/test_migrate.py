"""Migrations beside programs that still run."""

import asyncpg
import pytest

from taximeter.db import migrate as migrating

pytestmark = pytest.mark.anyio

# Sequences are not rolled back: they know how often it was tried.
UP = """
create table public.came_up ();
do $$
begin
    if nextval('public.tries') < 3 then
        raise deadlock_detected;
    end if;
end
$$
"""


async def test_a_migration_that_meets_a_program_with_locks_in_another_order_is_tried_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of two that wait for each other PostgreSQL ends is a matter of time: here it is always the migration, twice."""
    monkeypatch.setattr(migrating, "_files", lambda: [("9999_up.sql", UP)])
    owner = await asyncpg.connect(database_url)
    await owner.execute("create sequence public.tries")
    assert await migrating.migrate(database_url) == ["9999_up.sql"]
    assert await owner.fetchval("select to_regclass('public.came_up') is not null")
    assert await owner.fetchval("select last_value from public.tries") == 3
    await owner.execute("alter sequence public.tries restart minvalue -1000 start -1000; drop table public.came_up")
    await owner.execute("delete from taximeter.migrations where name = '9999_up.sql'")
    with pytest.raises(asyncpg.DeadlockDetectedError):
        await migrating.migrate(database_url)
    await owner.close()
