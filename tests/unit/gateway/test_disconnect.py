"""Noticing that the client has left."""

import asyncio

import pytest
from starlette.types import Message

from taximeter.gateway.disconnect import ClientWatch
from taximeter.gateway.errors import ClientGone

pytestmark = pytest.mark.anyio


class Client:
    """A client that stays until it is told to leave."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}


async def test_work_that_ends_first_is_not_disturbed() -> None:
    async with ClientWatch(Client().receive, 0):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_departure_cancels_the_work() -> None:
    client = Client()
    cleaned = False
    with pytest.raises(ClientGone):  # noqa: PT012 - what happens inside is the point
        async with ClientWatch(client.receive, 0):
            asyncio.get_running_loop().call_later(0.01, client.left.set)
            try:
                await asyncio.Event().wait()
            finally:
                cleaned = True
    assert cleaned
    # The task goes on as if nothing had been cancelled.
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_stays_one() -> None:
    started = asyncio.Event()

    async def work() -> None:
        async with ClientWatch(Client().receive, 0):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_work_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        async with ClientWatch(Client().receive, 0):
            raise KeyError


async def test_it_nests_with_a_timeout() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), ClientWatch(Client().receive, 0):
            await asyncio.Event().wait()
