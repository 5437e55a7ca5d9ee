"""Releases holds that nobody will end: overdue ones, and those of processes that died.  Adopts their spools before that.

Expiry is an event in the log, posted like any other operation.  A settlement that comes after it is not
dropped: the ledger charges what the wallet still has and books the rest as the operator's shortfall.
"""

import asyncio
import logging

import asyncpg

from taximeter.db.pool import DATABASE_ERRORS
from taximeter.jobs import JobStore
from taximeter.kernel.errors import Unavailable
from taximeter.kernel.faults import reach
from taximeter.ledger import Kind, Operation
from taximeter.ledger import store as ledger_store
from taximeter.metering.adoption import Adoption
from taximeter.metering.approvals import ApprovalStore
from taximeter.metering.desk import Desk
from taximeter.metering.objects import Objects
from taximeter.metering.quotes import QuoteStore
from taximeter.metering.rules import NOTHING, encode_fact, receipt_fact
from taximeter.metering.spool import spool_folder
from taximeter.metering.store import MeteringStore

log = logging.getLogger(__name__)

BATCH_MAX = 1000
PARTITION_DAYS = 7
CUT_OFF = 0.4
"""The part of its life after which a silent process is dead whose connection has ended: it has missed a beat, and could have come back."""
HOUSEKEEPING_EVERY = 60
"""Partitions and expired objects are looked after once in so many sweeps."""


class Sweeper:
    """Runs in every worker; two at once do no harm, because a hold ends once."""

    def __init__(self, desk: Desk, store: MeteringStore, jobs: JobStore, objects: Objects, pool: asyncpg.Pool) -> None:
        self._desk = desk
        self._store = store
        self._jobs = jobs
        self._objects = objects
        self._pool = pool
        self._quotes = QuoteStore(pool)
        self._approvals = ApprovalStore(pool)
        self._adoption = Adoption(spool_folder(desk.settings.home), desk.books, jobs, objects)
        self._rests_until_s = 0.0

    async def run(self) -> None:
        """Adopt spools and sweep until cancelled."""
        sweeps = 0
        while True:
            try:
                # First: what a process has delivered and spooled before it died is charged while its hold is open.
                await self._adoption.run()
                if self._desk.clock.monotonic_s() >= self._rests_until_s:
                    await self.sweep()
                if sweeps % HOUSEKEEPING_EVERY == 0:
                    await self.keep_house()
            except (Unavailable, *DATABASE_ERRORS) as error:
                log.warning("sweep failed, trying again: %s", error)
                # After an outage every process looks dead: give those that live the time for a heartbeat.
                self._rests_until_s = self._desk.clock.monotonic_s() + self._desk.settings.process_dead_s
            sweeps += 1
            await asyncio.sleep(self._desk.settings.sweep_interval_s)

    async def sweep(self) -> int:
        """Release what is overdue or orphaned; returns how many holds."""
        dead_s = self._desk.settings.process_dead_s
        rows = await self._store.orphans(dead_s, dead_s * CUT_OFF, BATCH_MAX)
        await asyncio.gather(*(self._release(row) for row in rows))
        if self._desk.room is not None:
            await self._desk.room.store.tend(())
        return len(rows)

    async def keep_house(self) -> None:
        """Make coming partitions, remove results whose time is over, forget processes, idempotency keys and quotes long gone."""
        async with self._pool.acquire() as connection:
            await ledger_store.ensure_partitions(connection, PARTITION_DAYS)
        for job_id, key in await self._jobs.objects_to_remove(BATCH_MAX):
            await self._objects.remove(key)
            await self._jobs.mark_object_gone(job_id)
        await self._store.forget_processes()
        while await self._store.forget_keys(self._desk.settings.idempotency_ttl_s, BATCH_MAX) == BATCH_MAX:
            pass
        # Before quotes are forgotten: they tell which approvals were used.
        await self._approvals.keep_house(BATCH_MAX)
        while await self._quotes.forget(self._desk.settings.quote_keep_s, BATCH_MAX) == BATCH_MAX:
            pass

    async def _release(self, row: asyncpg.Record) -> None:
        reason = "the process that ran it died" if row["process_died"] else "its hold expired before it was settled"
        fact = {"receipt": receipt_fact(NOTHING, "expired", f"{reason}; nothing was charged", {}, 0)}
        if row["is_job"]:
            fact["job"] = {"state": "failed", "error_code": "expired", "error_message": f"{reason}; nothing was charged"}
        reach("metering.sweeper.expiring")
        await self._desk.books.submit(Operation(id=row["id"], kind=Kind.EXPIRE, lane=row["lane"], fact=encode_fact(fact)))
        reach("metering.sweeper.expired")
        log.info("released hold %s: %s", row["id"], reason)
