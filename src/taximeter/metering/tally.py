"""What this process has charged, counted by itself from what the posting function answered.

It is a second witness: the database sums what its receipts say of this process (``settled_by``), and the reconciliation
compares.  Each process reports with its heartbeat; ``/metrics`` shows the sums of all reports.
"""

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.ledger import Kind, Operation, Outcome, Status
from taximeter.metering.store import post

log = logging.getLogger(__name__)

ENDS = (Kind.SETTLE, Kind.VOID, Kind.EXPIRE)
_SQL = sql.load("taximeter.metering")


class Tally:
    """Counts receipts and charges of one process.

    Attributes:
        receipts: written by this process.
        charged_utok: on them.
    """

    def __init__(self, process_id: UUID, kind: str) -> None:
        self.receipts = 0
        self.charged_utok = 0
        self._process_id = process_id
        self._kind = kind
        # By hold and kind: one that expired may be settled late, and has a receipt of each.
        self._uncertain: set[tuple[UUID, Kind]] = set()
        self._to_look_up: set[tuple[UUID, Kind]] = set()

    async def post(self, connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        """As ``store.post``, and count what it did."""
        try:
            outcomes = await post(connection, lane, operations)
        except (*DATABASE_ERRORS, asyncio.CancelledError):
            # Whether it was done is not known before the same operations are answered.
            self._uncertain.update((operation.id, operation.kind) for operation in operations if _writes_receipt(operation))
            raise
        for operation, outcome in zip(operations, outcomes, strict=True):
            if _writes_receipt(operation):
                self._count((operation.id, operation.kind), outcome)
        return outcomes

    def _count(self, end: tuple[UUID, Kind], outcome: Outcome) -> None:
        if outcome.status in (Status.APPLIED, Status.SETTLED_LATE):
            self.receipts += 1
            self.charged_utok += outcome.total_utok
        elif end in self._uncertain and outcome.status is Status.REPLAYED:
            # Done before: by us, with the answer that was lost, or by somebody else.  The receipt will tell.
            self._to_look_up.add(end)
        self._uncertain.discard(end)

    async def report(self, pool: asyncpg.Pool, *, ended: bool = False) -> None:
        """Tell the database how far we have counted.  Raises what the database raises.

        Args:
            pool: the application's.
            ended: this process posts nothing any more; what is uncertain is looked up as well.
        """
        look_up = self._to_look_up | (self._uncertain if ended else set())
        if look_up:
            ids, kinds = zip(*look_up, strict=True)
            found = await pool.fetchrow(_SQL["settled_by"], ids, self._process_id, kinds)
            assert found is not None
            self._to_look_up -= look_up
            self._uncertain -= look_up if ended else set()
            self.receipts += found["receipts"]
            self.charged_utok += found["charged_utok"]
        if self.receipts or self._uncertain:
            await pool.execute(
                _SQL["report_counters"],
                self._process_id,
                self._kind,
                self.receipts,
                self.charged_utok,
                len(self._uncertain | self._to_look_up),
                ended,
            )


def _writes_receipt(operation: Operation) -> bool:
    """An end of a hold with a fact; what the books void by themselves has none."""
    return operation.kind in ENDS and operation.fact is not None
