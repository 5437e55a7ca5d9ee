"""A process says that it lives, so that another one can release the holds of one that died."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import asyncpg

from taximeter.db.pool import DATABASE_ERRORS
from taximeter.metering.desk import Desk
from taximeter.metering.store import Grip, MeteringStore
from taximeter.metering.tally import Tally

log = logging.getLogger(__name__)

BEATS_PER_LIFE = 5
RETRY_S = 0.5


class Presence:
    """The heartbeat, and a connection that holds a lock for as long as this process lives.

    When the process is killed its kernel closes the connection, and the lock is free at once.  Without the lock nothing is lost
    but that: whoever beats is alive.
    """

    def __init__(self, desk: Desk, store: MeteringStore, kind: str, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self._desk = desk
        self._store = store
        self._kind = kind
        self._connect = connect
        self._connection: asyncpg.Connection | None = None
        self._grip: Grip | None = None

    async def run(self, tally: Tally, pool: asyncpg.Pool) -> None:
        """Beat until cancelled, and report what was charged.  A missed beat is not fatal: the next one counts again, and comes sooner."""
        interval_s = self._desk.settings.process_dead_s / BEATS_PER_LIFE
        while True:
            pause_s = interval_s
            try:
                await self._hold_on()
                await self._store.hello(self._desk.process_id, self._kind, self._grip)
                await tally.report(pool)
            except DATABASE_ERRORS as error:
                log.warning("no heartbeat: %s", error)
                pause_s = min(interval_s, RETRY_S)
            await asyncio.sleep(pause_s)

    def close(self) -> None:
        """Let go; to be called when nothing is left to be done for this process's requests."""
        if self._connection is not None:
            self._connection.terminate()

    async def _hold_on(self) -> None:
        if self._grip is not None and self._connection is not None and not self._connection.is_closed():
            return
        self._grip = None
        self.close()
        try:
            self._connection = await self._connect()
            self._grip = await self._store.hold_on(self._connection, self._desk.process_id)
        except DATABASE_ERRORS as error:
            log.warning("no connection to hold on to, beating without: %s", error)
