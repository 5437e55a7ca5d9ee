"""Migrations beside programs that still run."""

import asyncio

import asyncpg
import pytest

from taximeter.db import migrate as migrating
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

UP = "lock table admission.pools in access exclusive mode; lock table jobs.jobs in access exclusive mode; create table public.came_up ()"


async def test_a_migration_that_meets_a_program_with_locks_in_another_order_is_tried_again(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "_files", lambda: [("9999_up.sql", UP)])
    owner = await asyncpg.connect(database_url)
    name = await owner.fetchval("select quote_ident(current_database())")
    await owner.execute(f"alter database {name} set deadlock_timeout = 10")
    program = await asyncpg.connect(database_url)
    await program.execute("set deadlock_timeout = '1min'; begin; select from jobs.jobs for update")
    going_up = asyncio.create_task(migrating.migrate(database_url))
    await until(lambda: owner.fetchval("select exists (select from pg_locks where relation = 'jobs.jobs'::regclass and not granted)"))
    # As the claim of a job: the job's row first, then the pool's.
    await program.execute("select from admission.pools for update; commit")
    assert await going_up == ["9999_up.sql"]
    assert await owner.fetchval("select to_regclass('public.came_up') is not null")
    for connection in (owner, program):
        await connection.close()
