"""What regression tests run on: a ledger, a town, or a gateway on a real socket; each on a database of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest

from taximeter.db.pool import connect_app, connect_owner
from taximeter.kernel.clock import SystemClock
from taximeter.ledger import Books, store
from tests.integration.gateway.conftest import engine, gateway, tenant
from tests.integration.ledger.conftest import bench
from tests.integration.metering.conftest import town
from tests.support.ledger_bench import Bench

__all__ = ["bench", "engine", "gateway", "rival", "tenant", "town"]


@pytest.fixture
async def rival(bench: Bench, database_url: str) -> AsyncIterator[Bench]:
    """A second process's books on the same ledger."""
    books = Books(lambda: connect_app(database_url), store.post, SystemClock())
    yield Bench(bench.connection, books, bench.ids)
    await books.close()


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """The database's owner, who may do by hand what the application may not."""
    connection = await connect_owner(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def connect(database_url: str) -> AsyncIterator[Callable[[], Awaitable[asyncpg.Connection]]]:
    """More connections of the application."""
    made: list[asyncpg.Connection] = []

    async def one() -> asyncpg.Connection:
        made.append(await connect_app(database_url))
        return made[-1]

    yield one
    for connection in made:
        connection.terminate()
