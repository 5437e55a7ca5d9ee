"""The reconciliation inside the server: every few minutes, one worker at a time, at a cost that does not grow with the tables.

The log is compared from where the last run stopped; that place moves on only past what agrees.  A day's receipts are compared
with the daily sums when they are few, and once when the day is over.  All sums together are compared with the revenue at
every run.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import date, timedelta

import asyncpg

from taximeter.db import sql
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.clock import Clock, utc_from_ms
from taximeter.kernel.settings import Settings
from taximeter.metering.objects import Objects
from taximeter.metering.reconciliation import books
from taximeter.metering.reconciliation.counters import compare_counters
from taximeter.metering.reconciliation.files import compare_files
from taximeter.metering.reconciliation.model import Check, Span, together
from taximeter.metering.store import RECONCILED

log = logging.getLogger(__name__)

_SQL = sql.load("taximeter.metering.reconciliation")

BUDGET_S = 30.0
"""How long one run reads the log; the next one goes on where it stopped."""
DAY_RECEIPTS_MAX = 200_000
"""A day that has more is compared once, when it is over."""
FILES_MAX = 100_000
FIRST_S = 30.0
"""After its start a worker waits this long, not the whole interval: one that is often restarted shall reconcile too."""
RESTS = 0.9
"""Of the interval: when a run is younger than that, another worker was first."""

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class Watch:
    """Runs in every worker; an advisory lock lets one of them do it."""

    def __init__(self, connect: Connect, objects: Objects, clock: Clock, settings: Settings) -> None:
        self._connect = connect
        self._objects = objects
        self._clock = clock
        self._settings = settings

    async def run(self) -> None:
        """Reconcile now and then, until cancelled."""
        if not self._settings.reconcile_every_s:
            await asyncio.Event().wait()
        pause_s = min(self._settings.reconcile_every_s, FIRST_S)
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._settings.reconcile_every_s
            try:
                await self.turn(self._settings.reconcile_every_s * RESTS)
            except DATABASE_ERRORS as error:
                log.warning("not reconciled, trying again later: %s", error)

    async def turn(self, rest_s: float = 0.0) -> list[Check] | None:
        """One run; None when another worker is at it, or was within ``rest_s``.  Raises what the database and the object store raise."""
        connection = await self._connect()
        try:
            await connection.execute("set statement_timeout = 0")
            if not await connection.fetchval(_SQL["lock"]):
                return None
            last = await connection.fetchrow(_SQL["last"], RECONCILED)
            if last is not None and last["age_s"] < rest_s:
                return None
            return await self._reconcile(connection, None if last is None else json.loads(last["detail"]).get("day"))
        finally:
            # The lock goes with the session.
            await connection.close(timeout=1.0)

    async def _reconcile(self, connection: asyncpg.Connection, day_done: str | None) -> list[Check]:
        began_s = self._clock.monotonic_s()
        checks: list[Check] = []
        for part in (self._log, self._days(day_done), self._revenue, self._counters, self._files):
            since_s = self._clock.monotonic_s()
            found = await part(connection)
            for check in found:
                await _keep(connection, check, self._clock.monotonic_s() - since_s)
            checks += found
        whole = Check(
            name=RECONCILED,
            compared=len(checks),
            differences=sum(check.differences for check in checks),
            unexplained_utok=sum(check.unexplained_utok for check in checks),
        )
        yesterday = self._today() - timedelta(days=1)
        days = next(check for check in checks if check.name == "receipts_rollups")
        day = yesterday.isoformat() if days.agrees else day_done
        await _keep(connection, whole, self._clock.monotonic_s() - began_s, {"day": day})
        return checks

    async def _log(self, connection: asyncpg.Connection) -> list[Check]:
        checks: list[Check] = [*books.NOTHING]
        until_s = self._clock.monotonic_s() + BUDGET_S
        for lane, reconciled in await books.lanes(connection):
            after, agrees = reconciled, True
            while self._clock.monotonic_s() < until_s and (upto := await books.next_batch(connection, lane, after)) is not None:
                found = await books.compare_log(connection, (lane, after, upto), Span())
                agrees = agrees and all(check.agrees for check in found)
                if agrees:
                    await books.move(connection, lane, upto)
                checks = together([*checks, *found])
                after = upto
        if self._clock.monotonic_s() >= until_s:
            checks = [replace(check, notes=("not at the end of the log yet",)) for check in checks]
        return checks

    def _days(self, day_done: str | None) -> Callable[[asyncpg.Connection], Awaitable[list[Check]]]:
        async def compare(connection: asyncpg.Connection) -> list[Check]:
            today = self._today()
            tomorrow, yesterday = today + timedelta(days=1), today - timedelta(days=1)
            checks = [Check(name="receipts_rollups")]
            if await books.receipts_of_days(connection, today, tomorrow) <= DAY_RECEIPTS_MAX:
                checks.append(await books.compare_days(connection, today, tomorrow))
            if day_done != yesterday.isoformat():
                checks.append(await books.compare_days(connection, yesterday, today))
            return together(checks)

        return compare

    async def _revenue(self, connection: asyncpg.Connection) -> list[Check]:
        return [await books.compare_revenue(connection)]

    async def _counters(self, connection: asyncpg.Connection) -> list[Check]:
        return [await compare_counters(connection, self._settings.process_dead_s)]

    async def _files(self, connection: asyncpg.Connection) -> list[Check]:
        return [await compare_files(connection, self._objects, self._clock, FILES_MAX)]

    def _today(self) -> date:
        return utc_from_ms(self._clock.now_ms()).date()


async def _keep(connection: asyncpg.Connection, check: Check, seconds: float, detail: dict[str, object] | None = None) -> None:
    """Store an outcome for ``/metrics``, and say so in the log once when it differs."""
    text = json.dumps({**check.to_json(), **(detail or {})})
    before = await connection.fetchval(_SQL["keep"], check.name, check.compared, check.differences, check.unexplained_utok, text, seconds)
    if check.name == RECONCILED or check.differences == before:
        return
    if check.differences:
        ids = ", ".join(check.first)
        log.error("%s: %s differences, %s utok unexplained; the first: %s", check.name, check.differences, check.unexplained_utok, ids)
    else:
        log.warning("%s: no difference any more", check.name)
