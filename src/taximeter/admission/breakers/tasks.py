"""Tells the other processes what this one's breakers do, and does what operators order."""

import asyncio
import logging

from taximeter.admission.breakers.service import Breakers
from taximeter.admission.breakers.store import BreakerStore, Publisher
from taximeter.db.pool import DATABASE_ERRORS

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""How soon a change is told."""
CHANGES_AT_ONCE = 100


class BreakerWatch:
    """Publishes at changes, and with the heartbeat; a process whose engines were never called has nothing to say.

    Args:
        breakers: of this process.
        store: where they are told.
        who: this process.
        beat_s: how often it says that it lives.
    """

    def __init__(self, breakers: Breakers, store: BreakerStore, who: Publisher, beat_s: float) -> None:
        self._breakers = breakers
        self._store = store
        self._who = who
        self._beat_s = beat_s
        self._after: int | None = None

    async def run(self) -> None:
        """Tell until cancelled.  While the database is away, changes wait."""
        loop = asyncio.get_running_loop()
        told_s = loop.time() - self._beat_s
        while True:
            views = self._breakers.views()
            if self._breakers.changes() or (views and loop.time() >= told_s + self._beat_s):
                told_s = loop.time()
                try:
                    await self.tell()
                except DATABASE_ERRORS as error:
                    log.warning("the circuit breakers were not told: %s", error)
                    await asyncio.sleep(self._beat_s)
            await asyncio.sleep(min(LOOK_S, self._beat_s))

    async def tell(self) -> None:
        """Publish once, and close what operators have ordered to be closed since the last time."""
        views, changes = self._breakers.views(), self._breakers.changes()[:CHANGES_AT_ONCE]
        for change in changes:
            level = logging.INFO if change.state == "closed" else logging.WARNING
            log.log(level, "%s for %s: %s, was %s (%s)", change.engine, change.model, change.state, change.before, change.reason)
        orders = await self._store.publish(self._who, views, changes, self._after)
        if changes:
            self._breakers.forget(changes[-1].number)
        if self._after is None:
            # What was ordered before this process told anything was not meant for it.
            self._after = orders.last
            return
        self._after = orders.last
        for order in orders.resets:
            self._breakers.reset(order["engine"], order["model"])

    async def say_goodbye(self) -> None:
        """This process ends: its breakers are gone."""
        await self._store.forget(self._who.process_id)
