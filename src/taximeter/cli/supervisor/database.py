"""The server's database: the embedded one, kept alive, or the one at TAXIMETER_DATABASE_URL."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from taximeter.cli.supervisor.family import DEATHS_MAX, DEATHS_WINDOW_S, DeathCount
from taximeter.db.embedded import EmbeddedPostgres
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings

WATCH_INTERVAL_S = 0.25
LOG_INTERVAL_S = 60.0


class Database:
    """A database for as long as the server runs.

    Args:
        settings: says which.
        home: where the embedded one lives.
        clock: measures how often it dies.
        say: prints one line.
    """

    def __init__(self, settings: Settings, home: Path, clock: Clock, say: Callable[[str], None]) -> None:
        self.url = settings.database_url
        self._embedded = None if settings.database_url else EmbeddedPostgres(home, notice=say)
        self._clock = clock
        self._say = say
        self._running = False

    async def start(self) -> None:
        """Start the embedded server if that is the one.  Raises SetupError."""
        if self._embedded is not None:
            # On this thread, not in an executor: the server lives as long as the thread that started it.
            self.url = self._embedded.start()
            self._running = True

    async def keep_alive(self) -> None:
        """Start the embedded server again whenever it dies; raises SetupError when that does not help."""
        if self._embedded is None:
            await asyncio.Event().wait()
            return
        deaths = DeathCount(self._clock)
        next_trim_s = self._clock.monotonic_s() + LOG_INTERVAL_S
        while True:
            await asyncio.sleep(WATCH_INTERVAL_S)
            if self._clock.monotonic_s() > next_trim_s:
                self._embedded.trim_log()
                next_trim_s = self._clock.monotonic_s() + LOG_INTERVAL_S
            if self._embedded.exit_code() is not None:
                await self._revive(self._embedded, deaths)

    async def stop(self) -> None:
        """Stop the embedded server; nobody uses it any more."""
        if self._embedded is not None and self._running:
            self._embedded.stop()
            self._running = False

    async def _revive(self, embedded: EmbeddedPostgres, deaths: DeathCount) -> None:
        pause_s = deaths.backoff_s()
        embedded.stop()
        self._running = False
        if pause_s is None:
            message = f"the embedded database died {DEATHS_MAX} times in {DEATHS_WINDOW_S:.0f} s; see postgres.log in TAXIMETER_HOME"
            raise SetupError(message)
        self._say("the embedded database ended; starting it again")
        await asyncio.sleep(pause_s)
        await self.start()
