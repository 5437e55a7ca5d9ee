"""A receiver, and webhooks that may call it."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from taximeter.admission.events import Webhooks
from taximeter.db.pool import open_pool
from taximeter.kernel.ids import IdFactory
from tests.support.receiver import CLOCK, OPEN, Receiver, receiving


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """One that lets workers that were cut short give their connections back."""
    connections = await open_pool(database_url, 4)
    yield connections
    await asyncio.wait_for(connections.close(), 10)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as opened:
        yield opened


@pytest.fixture
def webhooks(pool: asyncpg.Pool) -> Webhooks:
    return Webhooks(pool, IdFactory(CLOCK), OPEN)
