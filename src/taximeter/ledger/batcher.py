"""Natural group commit: one batch is in flight per lane, and whatever arrives meanwhile is the next one.

No timer: an idle system posts batches of one, a loaded one larger batches.  When the connection breaks
the same batch is sent again with the same ids, so that an operation whose answer was lost is not done twice.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

import asyncpg

from taximeter.kernel.clock import Clock
from taximeter.kernel.faults import reach
from taximeter.ledger.errors import LedgerBusy, LedgerUnavailable
from taximeter.ledger.model import Kind, Operation, Outcome, Status

log = logging.getLogger(__name__)

Post = Callable[[asyncpg.Connection, int, Sequence[Operation]], Awaitable[list[Outcome]]]

BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 2.0
CONNECTION_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresIOError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""The server is gone, going, full, or a copy that has not been promoted: none of it is the operations' fault.

InternalClientError is what the driver raises when its session is ended between two messages of one statement.
"""
# A server may do a statement whose client has gone, until the statement's own time is over (``db.pool.STATEMENT_TIMEOUT_MS``).
VOID_AGAIN_S = 6.0
VOIDS_MAX = 4
# Answers that leave no trace: another copy of the same hold, still on its way, may get another one.
UNRECORDED = (Status.NO_SUCH_ACCOUNT, Status.ACCOUNT_CLOSED, Status.KEY_USED, Status.RATE_LIMITED, Status.QUOTE_USED)
# How often an operation is posted that the database rejects: among others, alone, and alone after its double is committed.
TRIES_MAX = 3
RETRIED_ERRORS = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one lane's queue."""

    batch_max: int = 500
    queue_max: int = 20_000
    hold_patience_s: float = 5.0
    """A new hold that the database has not answered after this long is refused (and voided later)."""
    outage_s: float = 1.0
    """A lane that has been down for longer refuses new holds at once."""


@dataclass(slots=True)
class _Item:
    operation: Operation
    answer: asyncio.Future[Outcome]
    deadline_s: float | None
    sent_before: bool = False
    """A copy of it may still be on its way to the database, or wait there."""

    def late(self, now_s: float) -> bool:
        """Nobody waits for it any more.  A resolution is never late."""
        return self.deadline_s is not None and self.deadline_s < now_s


def _answer(item: _Item, outcome: Outcome | Exception) -> None:
    if item.answer.done():
        return  # The caller was cancelled.
    if isinstance(outcome, Exception):
        item.answer.set_exception(outcome)
    else:
        item.answer.set_result(outcome)


def _unavailable() -> LedgerUnavailable:
    message = "the ledger's database does not answer; nothing was run or charged, try again in a few seconds"
    return LedgerUnavailable(message, headers={"retry-after": "5"})


@dataclass(slots=True)
class Counters:
    """What a lane has done since the start."""

    batches: int = 0
    operations: int = 0
    reconnects: int = 0
    retries: int = 0


@dataclass
class Lane:
    """The queue of one lane and the task that empties it."""

    number: int
    connect: Callable[[], Awaitable[asyncpg.Connection]]
    post: Post
    clock: Clock
    limits: Limits = field(default_factory=Limits)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    counters: Counters = field(default_factory=Counters)

    def __post_init__(self) -> None:
        """Start the task."""
        self._queue: deque[_Item] = deque()
        self._wake = asyncio.Event()
        self._connection: asyncpg.Connection | None = None
        self._closing = False
        self._has_turn = False
        self._backoff_s = BACKOFF_S_MIN
        self._failing_since_s: float | None = None
        self._asked_at_s: float | None = None
        self._task = asyncio.create_task(self._run(), name=f"ledger-lane-{self.number}")

    @property
    def waiting(self) -> int:
        """Operations in the queue."""
        return len(self._queue)

    @property
    def down_for_s(self) -> float:
        """How long the database has been away for this lane; 0 while it answers.

        A connection that broke counts from the first failure, one that hangs only when new holds lose their patience.
        """
        now_s = self.clock.monotonic_s()
        if self._failing_since_s is not None:
            return now_s - self._failing_since_s
        if self._asked_at_s is not None and now_s - self._asked_at_s > self.limits.hold_patience_s:
            return now_s - self._asked_at_s
        return 0.0

    def begin(self, operation: Operation) -> asyncio.Future[Outcome]:
        """Queue one operation; the future is its outcome.

        Raises LedgerBusy when the queue is full, and raises or answers LedgerUnavailable when the database does not answer;
        both only for operations that reserve something new.  Resolutions wait as long as it takes.
        """
        deadline_s = None
        if operation.kind in (Kind.HOLD, Kind.DIRECT):
            if len(self._queue) >= self.limits.queue_max:
                message = "too many requests wait for the ledger; try again in a second"
                raise LedgerBusy(message, headers={"retry-after": "1"})
            if self.down_for_s > self.limits.outage_s:
                raise _unavailable()
            deadline_s = self.clock.monotonic_s() + self.limits.hold_patience_s
        item = _Item(operation, asyncio.get_running_loop().create_future(), deadline_s)
        self._enqueue(item)
        return item.answer

    async def submit(self, operation: Operation) -> Outcome:
        """Post one operation and wait for its outcome.  Raises what ``begin`` raises and answers."""
        return await self.begin(operation)

    async def close(self) -> None:
        """Post what is queued, then stop.  Waits at most ``hold_patience_s``."""
        self._closing = True
        self._wake.set()
        done, _ = await asyncio.wait({self._task}, timeout=self.limits.hold_patience_s)
        if not done:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            log.error("lane %s stopped with %s operations not posted", self.number, len(self._queue))
        if self._connection is not None:
            await self._connection.close(timeout=1.0)

    async def _run(self) -> None:
        while self._queue or not self._closing:
            if self._queue:
                await self._wait_for_turn()
                try:
                    await self._post_until_answered(self._take())
                finally:
                    self._end_turn()
            elif self._failing_since_s is not None:
                # Nothing is left to post, and new holds are refused: somebody must find out when the database is back.
                await self._knock()
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _wait_for_turn(self) -> None:
        """Lanes that take from the same rows go one at a time: in the database they would wait for each other, with what they have.

        Here the next batch grows meanwhile.  Not for long: a lane that has trouble must not stop the others.
        """
        if any(item.operation.shared for item in islice(self._queue, self.limits.batch_max)):
            with suppress(TimeoutError):
                async with asyncio.timeout(self.limits.outage_s):
                    self._has_turn = await self.turn.acquire()

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self.turn.release()

    def _take(self) -> list[_Item]:
        """The next batch.  An id stands in it once; a second operation on it waits for the next one."""
        batch: list[_Item] = []
        later: list[_Item] = []
        seen: set[UUID] = set()
        while self._queue and len(batch) < self.limits.batch_max:
            item = self._queue.popleft()
            if item.operation.id in seen:
                later.append(item)
            else:
                seen.add(item.operation.id)
                batch.append(item)
        self._queue.extendleft(reversed(later))
        return batch

    async def _post_until_answered(self, batch: list[_Item], *, tries: int = TRIES_MAX) -> None:
        while batch:
            try:
                answers = await self._post_once([item.operation for item in batch])
            except RETRIED_ERRORS:
                self.counters.retries += 1
            except CONNECTION_ERRORS as error:
                batch = await self._wait_with(batch, error)
            except asyncpg.PostgresError as error:
                self._answered()
                if tries == 1:
                    log.exception("lane %s: the database rejected operation %s", self.number, batch[0].operation.id)
                    _answer(batch[0], error)
                    return
                # Each by itself, again: a bad one must not take its neighbours along, and one that ran into its own double
                # (from a lane that is not its own) finds that in the log now.
                for item in batch:
                    await self._post_until_answered([item], tries=tries - 1)
                return
            else:
                for item, outcome in zip(batch, answers, strict=True):
                    _answer(item, outcome)
                    if item.sent_before and item.operation.kind is Kind.HOLD and outcome.status in UNRECORDED:
                        # Its caller has been refused: should the earlier copy be granted yet, that is taken back.
                        self._enqueue(self._void(item.operation, VOIDS_MAX))
                return

    async def _wait_with(self, batch: list[_Item], error: Exception) -> list[_Item]:
        """A batch whose answer did not come, after a pause; without those that nobody waits for any more."""
        self._end_turn()
        await self._lost(error)
        rest = self._refuse_late(batch)
        for item in rest:
            item.sent_before = True
        await self._pause()
        return rest

    async def _post_once(self, operations: list[Operation]) -> list[Outcome]:
        if self._asked_at_s is None:
            self._asked_at_s = self.clock.monotonic_s()
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._open()
        reach("ledger.batch.unsent")
        answers = await self.post(self._connection, self.number, operations)
        reach("ledger.batch.answered")
        self._answered()
        self.counters.batches += 1
        self.counters.operations += len(operations)
        return answers

    async def _open(self) -> asyncpg.Connection:
        try:
            return await self.connect()
        except asyncpg.PostgresError as error:
            # Whatever keeps us out (a password in rotation, a database that is being restored) is no fault of the operations.
            raise ConnectionError(str(error)) from error

    async def _knock(self) -> None:
        try:
            self._connection = await self._open()
        except CONNECTION_ERRORS as error:
            await self._lost(error)
            await self._pause()
        else:
            self._answered()

    async def _lost(self, error: Exception) -> None:
        log.warning("lane %s: the database does not answer (%s)", self.number, error)
        self.counters.reconnects += 1
        if self._failing_since_s is None:
            self._failing_since_s = self.clock.monotonic_s() if self._asked_at_s is None else self._asked_at_s
        await self._drop_connection()

    def _answered(self) -> None:
        if self._failing_since_s is not None:
            log.warning("lane %s: the database is back after %.1f s", self.number, self.down_for_s)
        self._failing_since_s = self._asked_at_s = None
        self._backoff_s = BACKOFF_S_MIN

    async def _pause(self) -> None:
        await asyncio.sleep(self._backoff_s)
        self._backoff_s = min(self._backoff_s * 2, BACKOFF_S_MAX)

    def _refuse_late(self, batch: list[_Item]) -> list[_Item]:
        """Refuse the new reservations that have waited too long, sent or not; returns the rest of the batch."""
        now_s = self.clock.monotonic_s()
        rest = [item for item in batch if not item.late(now_s)]
        for item in batch:
            if item.late(now_s):
                _answer(item, _unavailable())
                if item.operation.kind is Kind.HOLD:
                    # It was sent and its fate is unknown: make sure that it is void if it did happen, or does yet.
                    rest.append(self._void(item.operation, VOIDS_MAX))
        for item in [item for item in self._queue if item.late(now_s)]:
            self._queue.remove(item)
            _answer(item, _unavailable())
        return rest

    def _void(self, hold: Operation, times: int) -> _Item:
        """A void of a hold that nobody waits for; sent again later, ``times`` in all, while the ledger knows no such hold."""
        loop = asyncio.get_running_loop()
        item = _Item(Operation(id=hold.id, kind=Kind.VOID, lane=self.number, fact=hold.undo), loop.create_future(), None)

        def look(answer: asyncio.Future[Outcome]) -> None:
            known = answer.cancelled() or answer.exception() is not None or answer.result().status is not Status.NO_SUCH_HOLD
            if not known and times > 1:
                loop.call_later(VOID_AGAIN_S, self._enqueue, self._void(hold, times - 1))

        item.answer.add_done_callback(look)
        return item

    def _enqueue(self, item: _Item) -> None:
        self._queue.append(item)
        self._wake.set()

    async def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.terminate()


class Books:
    """The lanes of one process."""

    def __init__(
        self,
        connect: Callable[[], Awaitable[asyncpg.Connection]],
        post: Post,
        clock: Clock,
        limits: Limits | None = None,
    ) -> None:
        self._connect = connect
        self._post = post
        self._clock = clock
        self._limits = limits or Limits()
        self._lanes: dict[int, Lane] = {}
        self._turn = asyncio.Lock()

    def begin(self, operation: Operation) -> asyncio.Future[Outcome]:
        """Queue one operation in its lane (see ``Lane.begin``)."""
        lane = self._lanes.get(operation.lane)
        if lane is None:
            lane = self._lanes[operation.lane] = Lane(operation.lane, self._connect, self._post, self._clock, self._limits, self._turn)
        return lane.begin(operation)

    async def submit(self, operation: Operation) -> Outcome:
        """Post one operation and wait for its outcome.  Raises what ``Lane.begin`` raises and answers."""
        outcome = await self.begin(operation)
        assert outcome.status is not Status.NO_SUCH_ACCOUNT, f"operation {operation.id} names an account that does not exist"
        return outcome

    def down_for_s(self, lane: int) -> float:
        """How long the database has been away for a lane (see ``Lane.down_for_s``)."""
        used = self._lanes.get(lane)
        return 0.0 if used is None else used.down_for_s

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes in use, for metrics."""
        return tuple(self._lanes.values())

    async def close(self) -> None:
        """Post what is queued, then close every lane."""
        await asyncio.gather(*(lane.close() for lane in self._lanes.values()))
