"""Lanes that take from the same limits post one after the other; others do not wait for them."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest

from taximeter.db.pool import connect_app
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import AccountCode, Books, Kind, Leg, Limits, Operation, Outcome, operator_account, store

pytestmark = pytest.mark.anyio


class Posts:
    """The ledger's post, which says who is in it and lets nobody out before it is told to."""

    def __init__(self) -> None:
        self.inside: set[int] = set()
        self.done: list[int] = []
        self.sizes: list[int] = []
        self.entered = asyncio.Condition()
        self.gates: dict[int, asyncio.Event] = {}

    async def __call__(self, connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        async with self.entered:
            self.inside.add(lane)
            self.entered.notify_all()
        await self.gates.setdefault(lane, asyncio.Event()).wait()
        answers = await store.post(connection, lane, operations)
        self.inside.discard(lane)
        self.done.append(lane)
        self.sizes.append(len(operations))
        return answers

    async def reached(self, lane: int) -> None:
        async with self.entered:
            await self.entered.wait_for(lambda: lane in self.inside)


def top_up(ids: IdFactory, lane: int, *, shared: bool) -> Operation:
    leg = Leg(operator_account(AccountCode.TREASURY, lane), operator_account(AccountCode.REVENUE, lane), 1, cascade=False)
    return Operation(id=ids.new(), kind=Kind.DIRECT, lane=lane, amount_utok=1, legs=(leg,), shared=shared)


async def test_a_lane_waits_for_another_one_with_the_same_limits_and_its_batch_grows(database_url: str) -> None:
    clock, posts = SystemClock(), Posts()
    ids = IdFactory(clock)
    # Nobody loses his patience here.
    books = Books(lambda: connect_app(database_url), posts, clock, Limits(outage_s=60))
    first = books.begin(top_up(ids, 0, shared=True))
    await posts.reached(0)
    second = [books.begin(top_up(ids, 1, shared=True))]
    other = books.begin(top_up(ids, 2, shared=False))
    await posts.reached(2)
    second.append(books.begin(top_up(ids, 1, shared=False)))
    posts.gates[2].set()
    assert (await other).applied
    assert 1 not in posts.inside
    for lane in (0, 1):
        posts.gates.setdefault(lane, asyncio.Event()).set()
    assert all(outcome.applied for outcome in await asyncio.gather(first, *second))
    assert (posts.done, posts.sizes) == ([2, 0, 1], [1, 1, 2])
    await books.close()


async def test_a_lane_that_hangs_does_not_stop_those_with_the_same_limits(database_url: str) -> None:
    clock, posts = SystemClock(), Posts()
    ids = IdFactory(clock)
    books = Books(lambda: connect_app(database_url), posts, clock, Limits(outage_s=0.05))
    first = books.begin(top_up(ids, 0, shared=True))
    await posts.reached(0)
    second = books.begin(top_up(ids, 1, shared=True))
    posts.gates[1] = asyncio.Event()
    posts.gates[1].set()
    assert (await second).applied
    assert not first.done()
    posts.gates[0].set()
    assert (await first).applied
    # Whose turn it was has given it back.
    assert (await books.submit(top_up(ids, 1, shared=True))).applied
    await books.close()
