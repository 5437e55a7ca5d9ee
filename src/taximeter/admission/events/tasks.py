"""Delivers events to webhooks, each at least once, in as many workers as there are."""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from uuid import UUID

import asyncpg

from taximeter.admission.events.model import Due, Reply
from taximeter.admission.events.rules import GONE, wait_s
from taximeter.admission.events.sender import Sender
from taximeter.admission.events.store import WebhookStore
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.clock import Clock
from taximeter.kernel.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 0.5
PARALLEL = 32
"""Attempts of one worker at the same time."""
PARALLEL_EACH = 4
"""Of these, begun at a time for one webhook that has fewer on their way: who is slow waits for himself."""
FAN_OUT_MAX = 500
FORGET_MAX = 1000
HOUSEKEEPING_S = 60.0
_FINE = 1000


def drawn() -> float:
    """A number from 0 up to 1."""
    return secrets.randbelow(_FINE) / _FINE


class Deliverer:
    """Runs in every worker."""

    def __init__(self, pool: asyncpg.Pool, clock: Clock, settings: Settings, jitter: Callable[[], float] = drawn, poll_s: float = POLL_S) -> None:
        self._store = WebhookStore(pool)
        self._clock = clock
        self._settings = settings
        self._jitter = jitter
        self._poll_s = poll_s
        self._busy: Counter[UUID] = Counter()
        self._running: set[asyncio.Task[None]] = set()
        self._house_kept_s = float("-inf")

    async def run(self) -> None:
        """Deliver until cancelled; an attempt that is cut short then is made again by somebody else."""
        async with Sender(self._clock, private=self._settings.webhook_private_addresses) as sender:
            try:
                while True:
                    try:
                        await self._round(sender)
                    except DATABASE_ERRORS as error:
                        log.warning("cannot deliver events, trying again: %s", error)
                    # Whoever has done one may do another; and there may be new ones.
                    if self._running:
                        await asyncio.wait(self._running, timeout=self._poll_s, return_when=asyncio.FIRST_COMPLETED)
                    else:
                        await asyncio.sleep(self._poll_s)
            finally:
                for task in self._running:
                    task.cancel()
                await asyncio.gather(*self._running, return_exceptions=True)

    async def _round(self, sender: Sender) -> None:
        while await self._store.fan_out(FAN_OUT_MAX) == FAN_OUT_MAX:
            pass
        busy = [webhook_id for webhook_id, count in self._busy.items() if count >= PARALLEL_EACH]
        for due in await self._store.claim(PARALLEL - len(self._running), busy, PARALLEL_EACH):
            self._busy[due.webhook_id] += 1
            task = asyncio.create_task(self._deliver(sender, due), name="delivery")
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        if self._clock.monotonic_s() >= self._house_kept_s + HOUSEKEEPING_S:
            await self._keep_house()
            self._house_kept_s = self._clock.monotonic_s()

    async def _keep_house(self) -> None:
        await self._store.give_up_lost()
        while await self._store.forget(self._settings.webhook_keep_s, FORGET_MAX) == FORGET_MAX:
            pass

    async def _deliver(self, sender: Sender, due: Due) -> None:
        try:
            reply = await sender.send(due)
            await asyncio.shield(self._note(due, reply))
        except asyncio.CancelledError:
            await asyncio.shield(self._put_back(due))
            raise
        except DATABASE_ERRORS as error:
            log.warning("delivery %s: its outcome was not noted, it will be sent again: %s", due.id, error)
        except Exception:
            # A bug that one delivery meets must not take the others along; it is made again as if its worker had died.
            log.exception("delivery %s met a bug", due.id)
        finally:
            self._busy[due.webhook_id] -= 1
            if not self._busy[due.webhook_id]:
                del self._busy[due.webhook_id]

    async def _note(self, due: Due, reply: Reply) -> None:
        if reply.error is None:
            await self._store.report(due, "delivered", reply, 0.0)
            return
        if reply.status == GONE:
            await self._store.report(due, "failed", reply, 0.0)
            await self._store.disable(due.webhook_id, "it answered 410 Gone")
            log.warning("webhook %s answered 410: nothing is sent to it any more", due.webhook_id)
            return
        pause_s = wait_s(due.attempt, self._jitter(), reply.retry_after_s)
        await self._store.report(due, "failed" if pause_s is None else "pending", reply, pause_s or 0.0)
        if pause_s is None:
            log.warning("delivery %s to webhook %s is given up: %s", due.id, due.webhook_id, reply.error)

    async def _put_back(self, due: Due) -> None:
        try:
            await self._store.put_back(due)
        except DATABASE_ERRORS as error:
            log.warning("delivery %s was not put back, it will be made again: %s", due.id, error)
