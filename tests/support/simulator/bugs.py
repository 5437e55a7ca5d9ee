"""Mistakes that somebody could make, each put in on purpose: the simulator must find every one of them.

Each is a function of the world that changes a part of the product for one schedule; ``run`` takes it back afterwards.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch
from uuid import uuid4

import asyncpg

from taximeter.ledger import Kind, Operation, Outcome, Status
from taximeter.ledger.batcher import Lane
from taximeter.metering.adoption import Adoption
from taximeter.metering.ride import Ride
from taximeter.metering.settlements import Settlements
from taximeter.metering.spool import Orphan
from taximeter.metering.tasks import VideoRunner
from tests.support.ledger_model import LedgerModel
from tests.support.simulator.database import Tables

if TYPE_CHECKING:
    from tests.support.simulator.schedule import World


def resends_with_a_fresh_id(_world: "World", stack: ExitStack) -> None:
    """A hold whose connection broke is sent again as another one."""
    original = Lane._refuse_late

    def refuse_late(self: Lane, batch: list[Any]) -> list[Any]:
        for item in batch:
            if item.operation.kind is Kind.HOLD:
                item.operation = replace(item.operation, id=uuid4())
        return original(self, batch)

    stack.enter_context(patch.object(Lane, "_refuse_late", refuse_late))


def answers_before_the_commit(_world: "World", stack: ExitStack) -> None:
    """A settlement is reported as settled while it is on the way."""

    async def settle(self: Settlements, operation: Operation) -> Outcome | None:
        _posting = self._begin(operation)
        return Outcome(Status.APPLIED, operation.amount_utok, 0)

    stack.enter_context(patch.object(Settlements, "settle", settle))


def says_pending_before_it_is_kept(_world: "World", stack: ExitStack) -> None:
    """The answer does not wait for the spool."""

    async def settle(self: Settlements, operation: Operation) -> Outcome | None:
        posting = self._begin(operation)
        await asyncio.wait({posting}, timeout=self._patience_for(operation))
        if not posting.done():
            self._keeping.add(asyncio.create_task(self._keep(operation, posting)))
            return None
        return posting.result()

    stack.enter_context(patch.object(Settlements, "settle", settle))


def does_not_fsync_the_spool(world: "World", stack: ExitStack) -> None:
    """Written is not kept."""
    stack.enter_context(patch.object(world.disk, "fsync", lambda _fd: None))


def forgets_the_name_of_the_spool(_world: "World", stack: ExitStack) -> None:
    """The file is fsynced, the folder is not."""
    stack.enter_context(patch("taximeter.metering.spool.sync_folder", lambda _folder: None))


class Removed(Orphan):
    """A file that is not there any more."""

    def put_away(self, suffix: str = "") -> None:
        del suffix


def puts_the_spool_away_first(_world: "World", stack: ExitStack) -> None:
    """An adopted file is removed before its entries are posted."""
    original = Adoption._settle

    async def settle(self: Adoption, orphan: Orphan) -> int:
        orphan.put_away()
        return await original(self, Removed(orphan.path, orphan.contents, orphan.fd))

    stack.enter_context(patch.object(Adoption, "_settle", settle))


def releases_a_hold_twice(_world: "World", stack: ExitStack) -> None:
    """The database does not notice that a hold was voided before."""
    original = LedgerModel._end

    def end(self: LedgerModel, lane: int, operation: Operation) -> tuple[Status, int]:
        before = self.log.get((operation.id, 0, 1))
        if operation.kind is Kind.VOID and before is not None and before.kind == Kind.VOID:
            self._move(before.debit, before.credit, -(before.hold_amount or 0), pending=True)
        return original(self, lane, operation)

    stack.enter_context(patch.object(LedgerModel, "_end", end))


def acknowledges_what_is_not_safe(world: "World", stack: ExitStack) -> None:
    """``synchronous_commit = off``: the last commits are gone when the server goes down."""
    del stack
    world.forgetful_server = True


def takes_a_deadlock_for_done(_world: "World", stack: ExitStack) -> None:
    """A batch that the database chose as the victim is answered, and not sent again."""
    original = Lane._post_once

    async def post_once(self: Lane, operations: list[Operation]) -> list[Outcome]:
        try:
            return await original(self, operations)
        except asyncpg.DeadlockDetectedError:
            return [Outcome(Status.APPLIED, operation.amount_utok, 0) for operation in operations]

    stack.enter_context(patch.object(Lane, "_post_once", post_once))


def leaves_refused_holds_open(_world: "World", stack: ExitStack) -> None:
    """A hold that was given up is not voided."""
    original = Lane._refuse_late

    def refuse_late(self: Lane, batch: list[Any]) -> list[Any]:
        sent = set(map(id, batch))
        return [item for item in original(self, batch) if id(item) in sent]

    stack.enter_context(patch.object(Lane, "_refuse_late", refuse_late))


def does_not_end_what_a_given_up_hold_began(_world: "World", stack: ExitStack) -> None:
    """As it was: the void of a hold that was given up has no receipt, and does not end its video."""
    stack.enter_context(patch("taximeter.metering.desk._UNDO", {False: "{}", True: "{}"}))


def writes_receipts_in_a_transaction_of_their_own(_world: "World", stack: ExitStack) -> None:
    """The charge is there, and what belongs to it comes a moment later, if nothing happens."""

    def post(self: Any, now_s: float, lane: int, operations: Sequence[Operation]) -> list[Outcome]:  # noqa: ANN401
        self.ledger.now_s = now_s
        outcomes: list[Outcome] = self.ledger.post(lane, operations)

        def write() -> None:
            for operation, outcome in zip(operations, outcomes, strict=True):
                self.write_fact(now_s, operation, outcome)

        # In the context of the process that asked: it dies with it.
        asyncio.get_running_loop().call_later(0.05, write)
        return outcomes

    stack.enter_context(patch("tests.support.simulator.database.Tables.post", post))


def forgets_callers_that_leave(_world: "World", stack: ExitStack) -> None:
    """Nobody ends the hold when the caller has gone."""

    async def leave(self: Ride) -> None:
        del self

    stack.enter_context(patch.object(Ride, "_leave", leave))


def runs_a_repeat_beside_its_first(_world: "World", stack: ExitStack) -> None:
    """An ``idempotency-key`` is looked up before the hold, and not again with it."""
    original = Tables._post_one

    def post_one(self: Tables, now_s: float, lane: int, operation: Operation) -> Outcome:
        self.keys = {place: key for place, key in self.keys.items() if operation.kind is not Kind.HOLD or key.request_id == operation.id}
        return original(self, now_s, lane, operation)

    stack.enter_context(patch.object(Tables, "_post_one", post_one))


def settles_each_attempt_at_a_video(_world: "World", stack: ExitStack) -> None:
    """The settlement's id is made anew for each attempt."""
    original = VideoRunner._resolve

    async def resolve(self: VideoRunner, job: Any, *rest: Any) -> Status:  # noqa: ANN401
        return await original(self, replace(job, id=self._desk.ids.new()), *rest) if job.attempt > 1 else await original(self, job, *rest)

    stack.enter_context(patch.object(VideoRunner, "_resolve", resolve))


BUGS = {
    bug.__name__: bug
    for bug in (
        resends_with_a_fresh_id,
        answers_before_the_commit,
        says_pending_before_it_is_kept,
        does_not_fsync_the_spool,
        forgets_the_name_of_the_spool,
        puts_the_spool_away_first,
        releases_a_hold_twice,
        acknowledges_what_is_not_safe,
        takes_a_deadlock_for_done,
        leaves_refused_holds_open,
        does_not_end_what_a_given_up_hold_began,
        writes_receipts_in_a_transaction_of_their_own,
        forgets_callers_that_leave,
        runs_a_repeat_beside_its_first,
        settles_each_attempt_at_a_video,
    )
}
