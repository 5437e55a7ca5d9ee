"""Keeps the daily sums of usage up with the receipts."""

import asyncio
import logging

from taximeter.db.pool import DATABASE_ERRORS
from taximeter.metering.store import MeteringStore

log = logging.getLogger(__name__)

FOLD_ROWS = 20_000
"""Rows of the log that one statement looks at in each lane: a fraction of a second."""


class Rollups:
    """Runs in every worker; one at a time does it, and what one has added no other adds again."""

    def __init__(self, store: MeteringStore, every_s: float) -> None:
        self._store = store
        self._every_s = every_s

    async def run(self) -> None:
        """Catch up now and then, until cancelled."""
        while True:
            try:
                await self.catch_up()
            except DATABASE_ERRORS as error:
                log.warning("the daily sums are behind: %s", error)
            await asyncio.sleep(self._every_s)

    async def catch_up(self) -> None:
        """Add every receipt that there is now.  Leaves it to another process that is at it."""
        while await self._store.fold_usage(FOLD_ROWS):
            pass
