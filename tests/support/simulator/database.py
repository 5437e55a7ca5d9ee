"""A database in memory: the ledger's model, and the facts that are written in the same transaction.

It keeps the contract of ``metering.post`` as ``ledger_model`` keeps that of ``ledger.post``; ``test_database.py`` beside the
schedules compares it with PostgreSQL.  Between it and a process lies a network that loses, delays and doubles.
"""

import asyncio
import contextvars
import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from taximeter.ledger import Kind, Operation, Outcome, SettleCode, Status
from taximeter.ledger.batcher import UNRECORDED
from tests.support.ledger_model import LedgerModel
from tests.support.simulator.dice import Dice
from tests.support.simulator.limits import SECOND_NS, Buckets

T = TypeVar("T")
STATEMENT_TIMEOUT_S = 10.0
COMMAND_TIMEOUT_S = 15.0
CONNECT_TIMEOUT_S = 10.0


@dataclass
class JobRow:
    """A row of ``jobs.jobs``, as far as it decides anything."""

    id: UUID
    project_id: UUID
    kind: str
    payload: dict[str, Any]
    number: int
    state: str = "queued"
    attempt: int = 0
    given_back: int = 0
    lease_until: float | None = None
    progress: int = 0
    error_code: str | None = None
    error_message: str | None = None
    object_key: str | None = None
    object_bytes: int | None = None
    keep_until: float | None = None
    object_gone: bool = False
    deleted: bool = False


@dataclass
class Key:
    """A row of ``metering.idempotency``, with the answer that was kept for it."""

    fingerprint: str
    request_id: UUID
    keeps_answer: bool
    answer: tuple[int, str, bytes | None] | None = None


@dataclass
class Tables:
    """Everything that is committed."""

    ledger: LedgerModel = field(default_factory=LedgerModel)
    requests: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    receipts: dict[tuple[UUID, int], dict[str, Any]] = field(default_factory=dict)
    jobs: dict[UUID, JobRow] = field(default_factory=dict)
    processes: dict[UUID, float] = field(default_factory=dict)
    keys: dict[tuple[str, str], Key] = field(default_factory=dict)
    limits: Buckets = field(default_factory=Buckets)
    settled_at: dict[UUID, float] = field(default_factory=dict)

    def post(self, now_s: float, lane: int, operations: Sequence[Operation], now_ns: int | None = None) -> list[Outcome]:
        """One transaction of ``metering.post``; limits need a finer clock than seconds in a float, for exact comparisons."""
        self.ledger.now_s = now_s
        now_ns = int(now_s * SECOND_NS) if now_ns is None else now_ns
        asked = self.limits.ask(now_ns, set(self.ledger.holds), operations)
        refused = {id_: one.refused for id_, one in asked.items() if one.refused is not None}
        outcomes = [refused.get(operation.id) or self._post_one(now_s, lane, operation) for operation in operations]
        return self.limits.finish(now_ns, asked, list(zip(operations, outcomes, strict=True)))

    def _post_one(self, now_s: float, lane: int, operation: Operation) -> Outcome:
        """A key has one request at a time, and goes to another one when its own was released."""
        fact = json.loads(operation.fact) if operation.fact is not None else {}
        name = fact.get("idempotency")
        place = (name["project_id"], name["key"]) if name else ("", "")
        key = self.keys.get(place)
        taken = key is not None and key.request_id != operation.id
        if taken and operation.kind is Kind.HOLD and key is not None and not self.is_released(key.request_id):
            return Outcome(Status.KEY_USED, 0, 0)
        if taken and operation.kind is Kind.SETTLE:
            operation = replace(operation, code=SettleCode.NEVER_LATE)
        outcome = self.ledger.post(lane, [operation])[0]
        self.write_fact(now_s, operation, outcome)
        if name and operation.kind is Kind.HOLD and outcome.status is Status.APPLIED:
            self.keys[place] = Key(name["fingerprint"], operation.id, name["keeps_answer"])
        return outcome

    def is_released(self, request_id: UUID) -> bool:
        end = self.ledger.log.get((request_id, 0, 1))
        return end is not None and end.kind in (Kind.VOID, Kind.EXPIRE) and (request_id, 0, 2) not in self.ledger.log

    def write_fact(self, now_s: float, operation: Operation, outcome: Outcome) -> None:
        fact = json.loads(operation.fact) if operation.fact is not None else {}
        if operation.kind is Kind.HOLD and outcome.status is Status.APPLIED:
            if "request" in fact:
                assert operation.id not in self.requests
                self.requests[operation.id] = {**fact["request"], "held_utok": outcome.total_utok}
            if "job" in fact:
                job = fact["job"]
                self.jobs[operation.id] = JobRow(operation.id, UUID(job["project_id"]), job["kind"], job["payload"], len(self.jobs))
        elif operation.kind in (Kind.SETTLE, Kind.VOID, Kind.EXPIRE) and outcome.status in (Status.APPLIED, Status.SETTLED_LATE):
            late = outcome.status is Status.SETTLED_LATE
            if "receipt" in fact and operation.id in self.requests:
                key = (operation.id, 2 if late else 1)
                assert key not in self.receipts
                self.receipts[key] = {**fact["receipt"], "charged_utok": outcome.total_utok}
                self.settled_at[operation.id] = now_s
            job_row = self.jobs.get(operation.id)
            if "job" in fact and not late and job_row is not None and job_row.state in ("queued", "in_progress"):
                self._end_job(now_s, job_row, fact["job"])

    def _end_job(self, now_s: float, row: JobRow, fact: dict[str, Any]) -> None:
        row.state, row.lease_until = fact["state"], None
        row.error_code, row.error_message = fact.get("error_code"), fact.get("error_message")
        row.object_key, row.object_bytes = fact.get("object_key"), fact.get("object_bytes")
        if row.state == "completed":
            row.progress, row.keep_until = 100, now_s + fact["keep_s"]


class Server:
    """The tables behind a network with faults."""

    def __init__(self, dice: Dice) -> None:
        self.tables = Tables()
        self.up = True
        self.hangs = False
        self.cut = False
        """Nobody reaches it; what has reached it goes on."""
        self.session = 0
        """Counts restarts: sessions of an earlier one are gone."""
        self.back = asyncio.Event()
        self._dice = dice
        self._snapshots: list[Tables] | None = None

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    def forgets_commits(self) -> None:
        """From now on it acknowledges before its commits are safe, and loses the last ones when it goes down."""
        self._snapshots = []

    def go_down(self, *, hangs: bool) -> None:
        self._dice.happens("database hangs" if hangs else "database down")
        self.up, self.hangs = hangs, hangs
        self.session += not hangs
        if self._snapshots and not hangs:
            self.tables = self._snapshots[max(0, len(self._snapshots) - 3)]
            self._snapshots = []

    def come_back(self) -> None:
        self.up, self.hangs, self.cut = True, False, False
        self.back.set()
        self.back = asyncio.Event()

    async def connect(self) -> "Connection":
        await asyncio.sleep(self._dice.delay_s())
        if self.hangs:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self.back.wait()
        if not self.up or self.cut or self._dice.strikes("connection refused", 0.05):
            raise ConnectionRefusedError
        return Connection(self)

    async def call(self, connection: "Connection", work: Callable[[], T], *, posts: bool = False) -> T:
        """One round trip: ``work`` is the transaction, done at one moment, or never, or twice."""
        dice = self._dice
        await asyncio.sleep(dice.delay_s())
        self._check(connection)
        if dice.strikes("lost before it was sent", 0.02):
            raise connection.lose(asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
        if self.cut:
            # It may have left just in time, and wait for its turn there.
            if dice.rng.random() < 0.7:
                self._later(work, (0.4 + 0.6 * dice.rng.random()) * STATEMENT_TIMEOUT_S)
            raise connection.lose(asyncpg.ConnectionDoesNotExistError("reset by peer"))
        if posts and dice.strikes("deadlock", 0.03):
            message = "deadlock detected"
            raise asyncpg.DeadlockDetectedError(message)
        if self.hangs or dice.strikes("no answer in time", 0.01):
            # The server gives a statement up before its client does.
            self._later(work, dice.rng.random() * STATEMENT_TIMEOUT_S)
            await asyncio.sleep(COMMAND_TIMEOUT_S)
            raise connection.lose(TimeoutError())
        if dice.strikes("slow answer", 0.05):
            await asyncio.sleep(dice.rng.random() * 6)
        if dice.strikes("reported lost, committed later", 0.02):
            self._later(work, dice.rng.random() * dice.rng.choice([1, STATEMENT_TIMEOUT_S]))
            raise connection.lose(asyncpg.ConnectionDoesNotExistError("reset by peer"))
        self._check(connection)
        result = self._commit(work)
        if dice.strikes("committed twice", 0.02) and not _leaves_no_trace(result):
            self._later(work, dice.rng.random() * 3)
        if dice.strikes("lost after the commit", 0.04):
            raise connection.lose(asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"))
        await asyncio.sleep(dice.delay_s())
        self._check(connection)
        return result

    def _check(self, connection: "Connection") -> None:
        if not self.up or connection.session != self.session:
            raise connection.lose(asyncpg.ConnectionDoesNotExistError("the server went away"))
        if self._dice.strikes("session ended", 0.004):
            raise connection.lose(asyncpg.InternalClientError("got result for unknown protocol state"))

    def _later(self, work: Callable[[], Any], delay_s: float) -> None:
        """The server works on, whatever became of its client."""

        def run() -> None:
            if self.up:
                self._commit(work)

        session = self.session
        # In a context of its own: it does not die with the client's process.
        loop = asyncio.get_running_loop()
        loop.call_later(delay_s, lambda: run() if session == self.session else None, context=contextvars.Context())

    def _commit(self, work: Callable[[], T]) -> T:
        if self._snapshots is not None:
            self._snapshots.append(copy.deepcopy(self.tables))
        return work()


def _leaves_no_trace(result: object) -> bool:
    """Whether a hold was refused and nothing says so: a second copy, which its sender knows nothing of, may be granted.

    No server does a statement twice that was sent once; copies that the sender made are its own to see to.
    """
    return isinstance(result, list) and any(isinstance(outcome, Outcome) and outcome.status in UNRECORDED for outcome in result)


class Connection:
    """What the batcher does with a connection of asyncpg."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.session = server.session
        self._lost = False

    def lose(self, error: Exception) -> Exception:
        self._lost = True
        return error

    def is_closed(self) -> bool:
        return self._lost

    def terminate(self) -> None:
        self._lost = True

    async def close(self, timeout: float = 0) -> None:  # noqa: ASYNC109 - asyncpg's signature
        del timeout
        self._lost = True


async def post(connection: Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
    """Takes the place of ``metering.store.post``."""
    server = connection.server
    return await server.call(connection, lambda: server.tables.post(server.now_s, lane, list(operations)), posts=True)
