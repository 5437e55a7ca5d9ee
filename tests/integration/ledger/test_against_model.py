"""Random histories on the real ledger and on a small dictionary model, which must always agree."""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import asyncpg
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from taximeter.ledger import Status
from tests.support.ledger_world import ACCOUNTS, LANES, LegStep, Step, World

ACCOUNT = st.integers(0, ACCOUNTS - 1)
LANE = st.integers(0, LANES - 1)
"""Any lane for any account: most groups are misrouted somewhere."""
REQUEST = st.integers(0, 60)
AMOUNT = st.integers(0, 400)
CODE = st.integers(0, 2)
LEG: st.SearchStrategy[LegStep] = st.tuples(ACCOUNT, st.integers(0, 4 * ACCOUNTS), st.one_of(st.none(), st.none(), AMOUNT))
LEGS = st.lists(LEG, min_size=1, max_size=6)
STEP: st.SearchStrategy[Step] = st.one_of(
    st.tuples(st.sampled_from(["hold", "hold", "direct"]), AMOUNT, LEGS),
    st.tuples(st.just("settle"), REQUEST, st.sampled_from([0, -1, -150, 1, 150, 2000]), CODE),
    st.tuples(st.sampled_from(["void", "expire", "again"]), REQUEST),
    st.tuples(st.just("mutated"), REQUEST, st.integers(0, 1), st.integers(0, 1)),
    st.tuples(st.just("top_up"), ACCOUNT, AMOUNT),
)


class Ledger(RuleBasedStateMachine):
    """One world per history; the connection and its event loop serve all of them."""

    connection: ClassVar[asyncpg.Connection]
    runner: ClassVar[asyncio.Runner]
    world: World
    sweeps: bool

    def do(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401
        return self.runner.run(work)

    @initialize(sweeps=st.booleans(), amounts=st.lists(AMOUNT, min_size=ACCOUNTS, max_size=ACCOUNTS))
    def open(self, sweeps: bool, amounts: list[int]) -> None:  # noqa: FBT001
        """In half of the histories nobody sweeps: then overdue holds meet settlements, voids and replays."""
        self.world = self.do(World.open(self.connection, "ledger.post"))
        self.sweeps = sweeps
        self.do(self.world.post(0, [("top_up", account, amount) for account, amount in enumerate(amounts)]))

    @rule(lane=LANE, steps=st.lists(STEP, max_size=12))
    def post_a_batch(self, lane: int, steps: list[Step]) -> None:
        self.do(self.world.post(lane, steps))

    @rule(lane=LANE, first=st.lists(STEP, min_size=1, max_size=4), again=st.randoms(use_true_random=False))
    def post_twice_in_another_order(self, lane: int, first: list[Step], again: Any) -> None:  # noqa: ANN401
        before = len(self.world.posted)
        self.do(self.world.post(lane, first))
        repeats = [("again", number) for number in range(before, len(self.world.posted))]
        again.shuffle(repeats)
        sums = [self.world.model.accounts[account].sums() for account in self.world.accounts]
        self.do(self.world.post(lane, repeats))
        assert [self.world.model.accounts[account].sums() for account in self.world.accounts] == sums

    @rule(lane=LANE, account=ACCOUNT, amount=st.integers(401, 800))
    def refuse_then_top_up_then_repeat(self, lane: int, account: int, amount: int) -> None:
        (answer,) = self.do(self.world.post(lane, [("hold", amount, [(account, account, None)])]))
        number = len(self.world.posted) - 1
        self.do(self.world.post(lane, [("top_up", account, amount)]))
        (again,) = self.do(self.world.post(lane, [("again", number)]))
        sticks = {Status.APPLIED: Status.REPLAYED, Status.REFUSED: Status.REPLAYED_REFUSED}
        assert again.status is sticks.get(answer.status, again.status)

    @rule(account=ACCOUNT, shut=st.booleans())
    def close_an_account(self, account: int, shut: bool) -> None:  # noqa: FBT001
        self.do(self.world.close(account, shut=shut))

    @rule(seconds=st.sampled_from([30, 101]))
    def let_time_pass(self, seconds: int) -> None:
        self.do(self.world.step_clock(seconds))

    @precondition(lambda self: self.sweeps)
    @rule(lane=LANE)
    def sweep(self, lane: int) -> None:
        self.do(self.world.sweep(lane))

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "world"):
            self.do(self.world.check())


@contextmanager
def ledger_machine(url: str) -> Iterator[type[Ledger]]:
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        Ledger.runner, Ledger.connection = runner, connection
        try:
            yield Ledger
        finally:
            runner.run(connection.close())


def test_any_history_leaves_the_balances_that_the_model_has(database_url: str) -> None:
    # Without shrinking, which would take longer than a test may; ``test_paths_agree`` finds small examples.
    phases = (Phase.explicit, Phase.reuse, Phase.generate)
    with ledger_machine(database_url) as machine:
        run_state_machine_as_test(machine, settings=settings(max_examples=50, stateful_step_count=30, deadline=None, phases=phases))
