"""Random histories on the real ledger and on a small dictionary model, which must always agree."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.db.pool import connect_app
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import Books, Kind, Status, Wallet, store
from tests.support.ledger_bench import Bench

AMOUNT = st.integers(0, 400)
Step = tuple[Any, ...]
STEPS: st.SearchStrategy[list[Step]] = st.lists(
    st.one_of(
        st.tuples(st.just("hold"), AMOUNT),
        st.tuples(st.just("replay"), st.integers(0, 30)),
        st.tuples(st.just("settle"), st.integers(0, 30), AMOUNT),
        st.tuples(st.just("void"), st.integers(0, 30)),
        st.tuples(st.just("expire"), st.integers(0, 30)),
        st.tuples(st.just("top_up"), st.booleans(), AMOUNT),
    ),
    max_size=25,
)


@dataclass
class Model:
    """One wallet: what it has, what is held, what became of each request."""

    allowance: int
    prepaid: int
    shortfall: int = 0
    held: dict[UUID, tuple[int, int]] = field(default_factory=dict)
    asked: dict[UUID, int] = field(default_factory=dict)
    refused: set[UUID] = field(default_factory=set)
    ended: dict[UUID, tuple[str, int]] = field(default_factory=dict)
    late: dict[UUID, int] = field(default_factory=dict)

    def take(self, amount: int) -> tuple[int, int]:
        first = min(amount, self.allowance)
        second = min(amount - first, self.prepaid)
        self.allowance -= first
        self.prepaid -= second
        return first, second

    def hold(self, request: UUID, amount: int) -> Status:
        self.asked[request] = amount
        if amount > self.allowance + self.prepaid:
            self.refused.add(request)
            return Status.REFUSED
        self.held[request] = self.take(amount)
        return Status.APPLIED

    def release(self, request: UUID, how: str) -> Status:
        if request in self.refused:
            return Status.NO_SUCH_HOLD
        if request in self.ended:
            return Status.REPLAYED if self.ended[request][0] == how else Status.ALREADY_RESOLVED
        first, second = self.held.pop(request)
        self.allowance += first
        self.prepaid += second
        self.ended[request] = (how, 0)
        return Status.APPLIED

    def settle(self, request: UUID, amount: int) -> Status:
        if request in self.refused:
            return Status.NO_SUCH_HOLD
        how, before = self.ended.get(request, ("", 0))
        if how == "void":
            return Status.ALREADY_RESOLVED
        if how == "settle":
            return Status.REPLAYED if before == amount else Status.ALREADY_RESOLVED
        if request in self.late:
            return Status.REPLAYED if self.late[request] == amount else Status.ALREADY_RESOLVED
        if how == "expire":
            self.late[request] = amount
            self.shortfall += amount - sum(self.take(amount))
            return Status.SETTLED_LATE
        first, second = self.held.pop(request)
        self.ended[request] = ("settle", amount)
        from_first = min(amount, first)
        from_second = min(amount - from_first, second)
        self.allowance += first - from_first
        self.prepaid += second - from_second
        rest = amount - from_first - from_second
        self.shortfall += rest - sum(self.take(rest))
        return Status.APPLIED


async def _run(url: str, steps: list[Step]) -> None:
    clock = SystemClock()
    connection = await connect_app(url)
    bench = Bench(connection, Books(lambda: connect_app(url), store.post, clock), IdFactory(clock))
    shortfall_before = await bench.shortfall()
    wallet = await bench.wallet(prepaid=500, allowance=200)
    model = Model(allowance=200, prepaid=500)
    requests: list[UUID] = []
    for step in steps:
        await _step(bench, wallet, model, requests, step)
    assert await bench.available(wallet) == model.allowance + model.prepaid
    assert await bench.shortfall() - shortfall_before == model.shortfall
    await bench.assert_replay_agrees()
    await bench.books.close()
    await connection.close()


async def _step(bench: Bench, wallet: Wallet, model: Model, requests: list[UUID], step: Step) -> None:
    match step:
        case ("hold", amount):
            request, outcome = await bench.hold(wallet, amount)
            requests.append(request)
            assert outcome.status is model.hold(request, amount)
        case ("top_up", to_allowance, amount):
            if amount:
                await bench.top_up(wallet, wallet.allowance if to_allowance else wallet.prepaid, amount)
                model.allowance += amount if to_allowance else 0
                model.prepaid += 0 if to_allowance else amount
        case (verb, index, *rest) if requests:
            request = requests[index % len(requests)]
            if verb == "replay":
                _, outcome = await bench.hold(wallet, model.asked[request], request)
                assert outcome.status is (Status.REPLAYED_REFUSED if request in model.refused else Status.REPLAYED)
            elif verb == "settle":
                assert (await bench.settle(request, rest[0])).status is model.settle(request, rest[0])
            else:
                kind = Kind.VOID if verb == "void" else Kind.EXPIRE
                assert (await bench.end(request, kind)).status is model.release(request, verb)


def test_any_history_leaves_the_balances_that_the_model_has(database_url: str) -> None:
    @settings(max_examples=40)
    @given(STEPS)
    def check(steps: list[Step]) -> None:
        asyncio.run(_run(database_url, steps))

    check()
