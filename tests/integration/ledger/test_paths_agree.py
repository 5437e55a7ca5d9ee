"""Every function that posts decides alike: the same batches on fresh accounts, through each of them and through the model.

``World.post`` compares with the model batch by batch, and finds the order in which a batch was decided; here what the worlds
have come to is compared among themselves, as long as they kept the order of the arrays.
"""

import random
from typing import Any

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.ledger import Status
from tests.integration.ledger.test_against_model import ACCOUNT, AMOUNT, LANE, STEP, ledger_machine
from tests.support.ledger_world import ACCOUNTS, LANES, LegStep, Step, World, posting_functions

Event = tuple[Any, ...]
EVENT: st.SearchStrategy[Event] = st.one_of(
    st.tuples(st.just("post"), LANE, st.lists(STEP, max_size=25)),
    st.tuples(st.just("post"), LANE, st.lists(STEP, max_size=25)),
    st.tuples(st.just("close"), ACCOUNT, st.booleans()),
)


async def tell(connection: asyncpg.Connection, function: str, history: list[Event], amounts: list[int]) -> World:
    """A fresh world after a history."""
    world = await World.open(connection, function)
    await world.post(0, [("top_up", account, amount) for account, amount in enumerate(amounts)])
    for event in history:
        if event[0] == "post":
            await world.post(event[1], event[2])
        else:
            await world.close(event[1], shut=event[2])
    await world.check()
    return world


def assert_alike(worlds: list[World]) -> None:
    told = [world.told() for world in worlds if not world.reordered]
    assert all(one == told[0] for one in told[1:])


def test_every_posting_function_decides_alike(database_url: str) -> None:
    with ledger_machine(database_url) as ledger:
        functions = ledger.runner.run(posting_functions(ledger.connection))
        assert "ledger.post" in functions

        @settings(max_examples=60, deadline=None)
        @given(st.lists(EVENT, max_size=8), st.lists(AMOUNT, min_size=ACCOUNTS, max_size=ACCOUNTS))
        def check(history: list[Event], amounts: list[int]) -> None:
            assert_alike([ledger.runner.run(tell(ledger.connection, function, history, amounts)) for function in functions])

        check()


class Traffic:
    """Mostly what a busy gateway posts, in the shape that is posted fast; some of it, as much as ``dirty``, is not."""

    def __init__(self, seed: str, dirty: float, posted: int) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - the same batches every time
        self._dirty = dirty
        self._first = list(range(posted))
        self._open: list[int] = []

    def batch(self, size: int) -> list[Step]:
        before = len(self._first)
        named: set[int] = set()
        return [self._step(before, named) for _ in range(size)]

    def _step(self, before: int, named: set[int]) -> Step:
        """A request is named once in a batch, as the batcher does it; ``before`` requests exist."""
        rng = self._rng
        number = len(self._first)
        wallet = 4 * rng.randrange(LANES)
        legs: list[LegStep] = [(wallet, 4 * ACCOUNTS, None), (wallet + 1, 4 * ACCOUNTS, None)]
        if rng.random() < 0.3:
            legs.append((wallet + 2, 4 * ACCOUNTS, rng.randrange(50)))
        earlier = self._first[rng.randrange(before)]
        if rng.random() < self._dirty and earlier not in named:
            named.add(earlier)
            self._first.append(earlier)
            self._open = [one for one in self._open if one != earlier]
            late = ("settle", earlier, rng.randrange(10**6), rng.randrange(3))
            strange: list[Step] = [("again", earlier), ("mutated", earlier, 1, 0), ("expire", earlier), late, ("void", earlier)]
            return rng.choice(strange)
        settled = [one for one in self._open if one < before and one not in named]
        if settled and rng.random() < 0.5:
            one = rng.choice(settled)
            named.add(one)
            self._open.remove(one)
            self._first.append(one)
            return ("settle", one, -rng.randrange(200), 0) if rng.random() < 0.8 else ("void", one)
        self._first.append(number)
        self._open.append(number)
        amount = rng.randrange(10**9) if rng.random() < self._dirty else rng.randrange(200, 400)
        return ("hold", amount, legs) if rng.random() < 0.9 else ("direct", amount, legs[:2])


@pytest.mark.parametrize("dirty", [0.0, 0.02, 0.5])
def test_large_batches_are_decided_alike_clean_or_not(database_url: str, dirty: float) -> None:
    traffic = Traffic(f"{dirty}", dirty, ACCOUNTS)
    history: list[Event] = [("post", turn % LANES, traffic.batch(size)) for turn, size in enumerate([1, 60, 3, 300, 1, 300, 60, 300, 300])]
    amounts = [10**8] * ACCOUNTS
    with ledger_machine(database_url) as ledger:
        functions = ledger.runner.run(posting_functions(ledger.connection))
        worlds = [ledger.runner.run(tell(ledger.connection, function, history, amounts)) for function in functions]
        assert_alike(worlds)
        refused = sum(outcome.status is Status.REFUSED for batch in worlds[0].answers for outcome in batch)
        assert (refused > 0) == (dirty > 0)
        # What is clean is decided in its order, by whichever function.
        assert dirty > 0 or not any(world.reordered for world in worlds)
