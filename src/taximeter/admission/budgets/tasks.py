"""Keeps budgets that nobody uses in their period, and tells of thresholds that were reached."""

import asyncio
import logging

from taximeter.admission.budgets.store import BudgetStore
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.clock import Clock

log = logging.getLogger(__name__)

KEEP_EVERY_S = 0.5
REST = 20
"""A look that took long is followed by a rest of so many times as long."""
BATCH_MAX = 200


class BudgetKeeper:
    """Runs in every worker; two at once do no harm.  No request waits for it: budgets are rolled by whoever comes first."""

    def __init__(self, store: BudgetStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self) -> None:
        """Keep them until cancelled."""
        while True:
            started_s = self._clock.monotonic_s()
            try:
                await self.keep()
            except DATABASE_ERRORS as error:
                log.warning("budgets are not kept, trying again: %s", error)
            await asyncio.sleep(max(KEEP_EVERY_S, REST * (self._clock.monotonic_s() - started_s)))

    async def keep(self) -> None:
        """Tell of what was reached, then roll what is due: the end of a period is told as that period's."""
        while await self._store.tell(BATCH_MAX) == BATCH_MAX:
            pass
        for lane, ids in await self._store.due(BATCH_MAX):
            await self._store.roll(lane, ids)
