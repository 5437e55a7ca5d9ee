"""The batcher against a database that a test plays."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from taximeter.kernel.clock import ManualClock, SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import Kind, Leg, Limits, Operation, Outcome, Status, batcher
from taximeter.ledger.batcher import Lane
from taximeter.ledger.errors import LedgerBusy, LedgerUnavailable

pytestmark = pytest.mark.anyio

IDS = IdFactory(SystemClock())


def hold(amount: int = 1) -> Operation:
    return Operation(id=IDS.new(), kind=Kind.HOLD, lane=0, amount_utok=amount, legs=(Leg(10_000, 1100),), ttl_s=60)


def settle(operation: Operation) -> Operation:
    return Operation(id=operation.id, kind=Kind.SETTLE, lane=0, amount_utok=1)


class FakeConnection:
    def is_closed(self) -> bool:
        return False

    def terminate(self) -> None:
        return

    async def close(self, timeout: float = 0) -> None:  # noqa: ARG002, ASYNC109 - asyncpg's signature
        return


class FakeDatabase:
    """Answers batches; ``faults`` are raised first, one a call."""

    def __init__(self) -> None:
        self.batches: list[list[Operation]] = []
        self.faults: list[Exception] = []
        self.gate: asyncio.Event | None = None
        self.poison: Callable[[Operation], bool] = lambda _operation: False
        self.away = False
        self.kept_out: list[Exception] = []
        self.unknown = 0
        self.refusal: Status | None = None

    async def connect(self) -> Any:  # noqa: ANN401
        if self.away:
            message = "refused"
            raise ConnectionRefusedError(message)
        if self.kept_out:
            raise self.kept_out.pop(0)
        return FakeConnection()

    async def post(self, _connection: asyncpg.Connection, _lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        self.batches.append(list(operations))
        if self.gate is not None:
            await self.gate.wait()
        if self.faults:
            raise self.faults.pop(0)
        if any(self.poison(operation) for operation in operations):
            message = "bad"
            raise asyncpg.CheckViolationError(message)
        if self.unknown and operations[0].kind is Kind.VOID:
            self.unknown -= 1
            return [Outcome(Status.NO_SUCH_HOLD, 0, 0) for _ in operations]
        if self.refusal is not None and operations[0].kind is Kind.HOLD:
            return [Outcome(self.refusal, 0, 0) for _ in operations]
        return [Outcome(Status.APPLIED, operation.amount_utok, 0) for operation in operations]

    def lane(self, limits: Limits | None = None, clock: Any = None) -> Lane:  # noqa: ANN401
        return Lane(0, self.connect, self.post, clock or SystemClock(), limits or Limits())


async def test_what_arrives_while_a_batch_is_in_flight_is_the_next_batch() -> None:
    database = FakeDatabase()
    database.gate = asyncio.Event()
    lane = database.lane()
    waiting = [asyncio.create_task(lane.submit(hold())) for _ in range(1)]
    await _until(lambda: len(database.batches) == 1)
    waiting += [asyncio.create_task(lane.submit(hold())) for _ in range(50)]
    await _until(lambda: lane.waiting == 50)
    database.gate.set()
    await asyncio.gather(*waiting)
    assert [len(batch) for batch in database.batches] == [1, 50]
    await lane.close()


async def test_a_batch_is_never_larger_than_its_limit() -> None:
    database = FakeDatabase()
    lane = database.lane(Limits(batch_max=10))
    await asyncio.gather(*(lane.submit(hold()) for _ in range(35)))
    assert max(len(batch) for batch in database.batches) == 10
    await lane.close()


async def test_an_id_stands_once_in_a_batch() -> None:
    database = FakeDatabase()
    lane = database.lane()
    one = hold()
    await asyncio.gather(lane.submit(one), lane.submit(settle(one)), lane.submit(hold()))
    assert all(len({operation.id for operation in batch}) == len(batch) for batch in database.batches)
    kinds = [operation.kind for batch in database.batches for operation in batch if operation.id == one.id]
    assert kinds == [Kind.HOLD, Kind.SETTLE]
    await lane.close()


async def test_a_lost_connection_sends_the_same_batch_again_with_the_same_ids() -> None:
    database = FakeDatabase()
    database.faults = [asyncpg.ConnectionDoesNotExistError("gone"), OSError("still gone")]
    lane = database.lane()
    operation = hold()
    assert (await lane.submit(operation)).status is Status.APPLIED
    assert database.batches == [[operation]] * 3
    assert lane.counters.reconnects == 2
    await lane.close()


async def test_a_deadlock_is_tried_again_and_counted() -> None:
    database = FakeDatabase()
    database.faults = [asyncpg.DeadlockDetectedError("deadlock")]
    lane = database.lane()
    await lane.submit(hold())
    assert lane.counters.retries == 1
    await lane.close()


async def test_one_bad_operation_does_not_take_its_neighbours_along() -> None:
    database = FakeDatabase()
    bad = hold(13)
    database.poison = lambda operation: operation.amount_utok == 13
    lane = database.lane()
    results = await asyncio.gather(lane.submit(hold()), lane.submit(bad), lane.submit(hold()), return_exceptions=True)
    assert [isinstance(result, Outcome) for result in results] == [True, False, True]
    await lane.close()


async def test_an_operation_that_met_its_double_on_another_lane_is_tried_again_and_finds_it() -> None:
    database = FakeDatabase()
    database.faults = [asyncpg.UniqueViolationError("duplicate key value violates unique constraint")]
    lane = database.lane()
    operation = hold()
    assert (await lane.submit(operation)).status is Status.APPLIED
    assert database.batches == [[operation]] * 2
    await lane.close()


async def test_a_full_queue_refuses_new_holds_and_still_takes_settlements() -> None:
    database = FakeDatabase()
    database.gate = asyncio.Event()
    lane = database.lane(Limits(queue_max=5))
    tasks = [asyncio.create_task(lane.submit(hold()))]
    await _until(lambda: len(database.batches) == 1)
    tasks += [asyncio.create_task(lane.submit(hold())) for _ in range(5)]
    await _until(lambda: lane.waiting == 5)
    with pytest.raises(LedgerBusy) as refusal:
        await lane.submit(hold())
    assert refusal.value.headers["retry-after"] == "1"
    tasks.append(asyncio.create_task(lane.submit(settle(hold()))))
    await _until(lambda: lane.waiting == 6)
    database.gate.set()
    await asyncio.gather(*tasks)
    await lane.close()


async def test_a_hold_that_the_database_never_answered_is_refused_and_voided_when_it_is_back() -> None:
    clock = ManualClock()
    database = FakeDatabase()
    database.faults = [OSError("down")]
    database.gate = asyncio.Event()
    lane = database.lane(Limits(hold_patience_s=1.0), clock)
    operation = replace(hold(), undo="what to write then")
    waiting = asyncio.create_task(lane.submit(operation))
    await _until(lambda: len(database.batches) == 1)
    clock.advance(2)
    database.gate.set()
    with pytest.raises(LedgerUnavailable):
        await waiting
    await _until(lambda: len(database.batches) == 2)
    assert [(sent.id, sent.kind, sent.fact) for sent in database.batches[1]] == [(operation.id, Kind.VOID, "what to write then")]
    await lane.close()


async def test_a_void_that_came_before_its_hold_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may do a statement whose client has given it up, and do it last."""
    monkeypatch.setattr(batcher, "VOID_AGAIN_S", 0.01)
    clock = ManualClock()
    database = FakeDatabase()
    database.faults = [OSError("down")]
    database.gate = asyncio.Event()
    database.unknown = 2
    lane = database.lane(Limits(hold_patience_s=1.0), clock)
    waiting = asyncio.create_task(lane.submit(hold()))
    await _until(lambda: len(database.batches) == 1)
    clock.advance(2)
    database.gate.set()
    with pytest.raises(LedgerUnavailable):
        await waiting
    await _until(lambda: len(database.batches) == 4)
    assert [operation.kind for batch in database.batches for operation in batch] == [Kind.HOLD, Kind.VOID, Kind.VOID, Kind.VOID]
    await lane.close()


@pytest.mark.parametrize("refusal", [Status.RATE_LIMITED, Status.KEY_USED, Status.QUOTE_USED, Status.ACCOUNT_CLOSED])
async def test_a_refusal_that_leaves_no_trace_is_also_true_of_the_copy_that_was_sent_before(refusal: Status, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection broke, the second copy was refused, and the first comes to its turn when a minute is over or the key is free."""
    monkeypatch.setattr(batcher, "VOID_AGAIN_S", 0.01)
    database = FakeDatabase()
    database.faults = [OSError("reset by peer")]
    database.refusal = refusal
    database.unknown = 1
    lane = database.lane()
    operation = replace(hold(), undo="what to write then")
    assert (await lane.submit(operation)).status is refusal
    await _until(lambda: len(database.batches) == 4)
    sent = [(sent.id, sent.kind, sent.fact) for batch in database.batches for sent in batch]
    void = (operation.id, Kind.VOID, "what to write then")
    assert sent == [(operation.id, Kind.HOLD, None), (operation.id, Kind.HOLD, None), void, void]
    await lane.close()


@pytest.mark.parametrize(("refusal", "faults"), [(Status.RATE_LIMITED, []), (Status.REFUSED, [OSError("reset by peer")])])
async def test_a_refusal_that_is_known_to_be_the_only_answer_needs_no_void(refusal: Status, faults: list[Exception]) -> None:
    """It was sent once, or its refusal stands in the log and every copy finds it there."""
    database = FakeDatabase()
    database.faults = list(faults)
    database.refusal = refusal
    lane = database.lane()
    assert (await lane.submit(hold())).status is refusal
    await lane.close()
    assert {operation.kind for batch in database.batches for operation in batch} == {Kind.HOLD}


async def test_a_settlement_waits_as_long_as_the_database_is_down() -> None:
    clock = ManualClock()
    database = FakeDatabase()
    database.faults = [OSError("down")] * 3
    lane = database.lane(Limits(hold_patience_s=0.0), clock)
    clock.advance(100)
    assert (await lane.submit(settle(hold()))).status is Status.APPLIED
    await lane.close()


async def test_an_operation_whose_caller_left_is_posted_all_the_same() -> None:
    database = FakeDatabase()
    database.gate = asyncio.Event()
    lane = database.lane()
    waiting = asyncio.create_task(lane.submit(hold()))
    await _until(lambda: len(database.batches) == 1)
    waiting.cancel()
    database.gate.set()
    assert (await lane.submit(hold())).status is Status.APPLIED
    await lane.close()
    assert sum(len(batch) for batch in database.batches) == 2


async def test_a_lane_that_is_down_refuses_new_holds_at_once_and_notices_when_the_database_is_back() -> None:
    clock = ManualClock()
    database = FakeDatabase()
    database.away = True
    lane = database.lane(Limits(hold_patience_s=0.5), clock)
    waiting = asyncio.create_task(lane.submit(hold()))
    await _until(lambda: lane.down_for_s >= 0 and lane.counters.reconnects > 0)
    clock.advance(2)
    with pytest.raises(LedgerUnavailable):
        await waiting
    assert lane.down_for_s == 2
    with pytest.raises(LedgerUnavailable) as refusal:
        await asyncio.wait_for(lane.submit(hold()), 0.05)
    assert refusal.value.headers["retry-after"] == "5"
    database.away = False
    # The lane finds out by itself: no request has to be sacrificed.
    await _until(lambda: lane.down_for_s == 0)
    assert (await lane.submit(hold())).status is Status.APPLIED
    await lane.close()


async def test_a_database_that_hangs_counts_as_down_when_holds_lose_patience() -> None:
    clock = ManualClock()
    database = FakeDatabase()
    database.gate = asyncio.Event()
    lane = database.lane(Limits(hold_patience_s=5.0), clock)
    waiting = asyncio.create_task(lane.submit(settle(hold())))
    await _until(lambda: len(database.batches) == 1)
    clock.advance(4)
    assert lane.down_for_s == 0
    clock.advance(2)
    assert lane.down_for_s == 6
    with pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(lane.submit(hold()), 0.05)
    database.gate.set()
    await waiting
    assert lane.down_for_s == 0
    await lane.close()


@pytest.mark.parametrize("fault", [asyncpg.DiskFullError, asyncpg.ReadOnlySQLTransactionError, asyncpg.InternalClientError])
async def test_a_server_that_cannot_write_does_not_cost_a_settlement(fault: type[Exception]) -> None:
    database = FakeDatabase()
    database.faults = [fault("not now")]
    lane = database.lane()
    assert (await lane.submit(settle(hold()))).status is Status.APPLIED
    await lane.close()


async def test_being_kept_out_is_an_outage_and_not_a_rejection() -> None:
    database = FakeDatabase()
    database.kept_out = [asyncpg.InvalidPasswordError("rotated"), asyncpg.ObjectNotInPrerequisiteStateError("not currently accepting connections")]
    lane = database.lane()
    assert (await lane.submit(settle(hold()))).status is Status.APPLIED
    assert lane.counters.reconnects == 2
    await lane.close()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)
