"""A ledger on a fresh database."""

from collections.abc import AsyncIterator

import pytest

from taximeter.db.pool import connect_app
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import Books, store
from tests.support.ledger_bench import Bench


@pytest.fixture
async def bench(database_url: str) -> AsyncIterator[Bench]:
    clock = SystemClock()
    books = Books(lambda: connect_app(database_url), store.post, clock)
    connection = await connect_app(database_url)
    yield Bench(connection, books, IdFactory(clock))
    await books.close()
    await connection.close()
