"""Random histories of budgets on the real ledger and on paper, which must always agree."""

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar

import asyncpg
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from taximeter.ledger import Kind
from taximeter.ledger.replay import replay
from tests.support.budget_world import LANES, BudgetWorld

NUMBER = st.integers(0, 40)
LANE = st.integers(0, LANES - 1)
LIMIT = st.integers(1, 1000)
KINDS = st.lists(st.sampled_from([("rolling", True), ("rolling", False), ("month", True), ("month", False)]), min_size=1, max_size=4, unique=True)
HOLD = st.tuples(st.integers(1, 400), st.lists(st.integers(0, 3), max_size=4, unique=True))


class Budgets(RuleBasedStateMachine):
    """One world per history; the connection and its event loop serve all of them."""

    connection: ClassVar[asyncpg.Connection]
    runner: ClassVar[asyncio.Runner]
    world: BudgetWorld
    worker: bool

    def do(self, work: Coroutine[Any, Any, Any]) -> None:
        self.runner.run(work)

    @initialize(kinds=KINDS, limits=st.lists(LIMIT, min_size=4, max_size=4), worker=st.booleans())
    def begin(self, kinds: list[tuple[str, bool]], limits: list[int], worker: bool) -> None:  # noqa: FBT001
        """In half of the histories there is no worker: then nothing is rolled but by holds and settlements."""
        budgets = [(window, limit, hard) for (window, hard), limit in zip(kinds, limits, strict=False)]
        self.world = self.runner.run(BudgetWorld.begin(self.connection, budgets))
        self.worker = worker

    @rule(lane=LANE, wanted=st.lists(HOLD, min_size=1, max_size=5))
    def hold(self, lane: int, wanted: list[tuple[int, list[int]]]) -> None:
        there = len(self.world.budgets)
        self.do(self.world.try_holds(lane, [(amount, sorted({number % there for number in chosen})) for amount, chosen in wanted]))

    @rule(number=NUMBER, percent=st.sampled_from([0, 10, 50, 100, 100]))
    def settle(self, number: int, percent: int) -> None:
        self.do(self.world.settle(number, percent))

    @rule(number=NUMBER, kind=st.sampled_from([Kind.VOID, Kind.EXPIRE]))
    def release(self, number: int, kind: Kind) -> None:
        self.do(self.world.release(number, kind))

    @rule(number=NUMBER)
    def settle_late(self, number: int) -> None:
        self.do(self.world.settle_late(number))

    @rule(number=NUMBER)
    def send_again(self, number: int) -> None:
        self.do(self.world.again(number))

    @rule(quarters=st.one_of(st.integers(1, 8), st.integers(60, 130)))
    def let_time_pass(self, quarters: int) -> None:
        self.do(self.world.wait(quarters))

    @rule()
    def end_the_month(self) -> None:
        self.do(self.world.end_month())

    @rule(number=NUMBER, limit=LIMIT)
    def change_a_limit(self, number: int, limit: int) -> None:
        self.do(self.world.change_limit(number, limit))

    @rule()
    def let_the_worker_work(self) -> None:
        if self.worker:
            self.do(self.world.keep())

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "world"):
            self.do(self.world.check())


def test_any_history_leaves_what_is_on_paper_and_the_log_gives_the_same(database_url: str) -> None:
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(database_url))
        Budgets.runner, Budgets.connection = runner, connection
        run_state_machine_as_test(Budgets, settings=settings(max_examples=40, stateful_step_count=25, deadline=None, phases=phases))
        report = runner.run(replay(connection))
        # Holds that were posted here have no requests, and settlements no receipts; everything about the ledger itself agrees.
        assert [kind for kind, each in report.first.items() if each.invariant not in ("I8", "I9")] == []
        runner.run(connection.close())
