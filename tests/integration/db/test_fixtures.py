"""The database fixtures themselves: every other integration test stands on them."""

import asyncpg
import pytest

pytestmark = pytest.mark.anyio


async def test_each_test_gets_a_migrated_database_of_its_own(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        applied = await connection.fetchval("select count(*) from taximeter.migrations")
        name = await connection.fetchval("select current_database()")
    finally:
        await connection.close()
    assert applied > 0
    assert name.startswith("test_")


async def test_the_pool_has_the_rights_of_the_application_and_no_more(pool: asyncpg.Pool) -> None:
    assert await pool.fetchval("select current_user") == "taximeter_app"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute("create table taximeter.mine ()")
