"""The worker's part: periods begin, grants expire, lowered credit lines are taken back, low wallets are told of."""

import asyncio
import logging
from datetime import datetime

from taximeter.admission.plans.service import Plans
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.errors import Refusal

log = logging.getLogger(__name__)

EVERY_S = 2.0
BATCH_MAX = 200
LOW_REST = 20
"""A look at all wallets that took long is followed by a rest of so many times as long."""


class Upkeep:
    """Runs in every worker; what one has done no other does again.

    Args:
        plans: that are kept up.
        every_s: how often.
        low_utok: who has less left than this is low, and told of; 0: nobody.
    """

    def __init__(self, plans: Plans, every_s: float = EVERY_S, low_utok: int = 0) -> None:
        self._plans = plans
        self._every_s = every_s
        self._low_utok = low_utok
        self._look_at_s = float("-inf")

    async def run(self) -> None:
        """Look for what is due now and then, until cancelled."""
        while True:
            try:
                done = await self.turn()
                await self._tell_low_wallets()
            except DATABASE_ERRORS as error:
                log.warning("plans were not kept up, trying again: %s", error)
                done = 0
            if done < BATCH_MAX:
                await asyncio.sleep(self._every_s)

    async def _tell_low_wallets(self) -> None:
        """A look at every wallet, which no request waits for."""
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        if self._low_utok and started_s >= self._look_at_s:
            await self._plans.tell_low_wallets(self._low_utok)
            self._look_at_s = loop.time() + LOW_REST * (loop.time() - started_s)

    async def turn(self, now: datetime | None = None) -> int:
        """Do what is due, at most some hundreds of each; returns how much that was."""
        plans = self._plans
        done = 0
        for project_id in await plans.subscriptions.due(BATCH_MAX, now):
            try:
                done += await plans.renew(project_id, now)
            except Refusal as refusal:
                # One project's affair: the others' periods begin all the same.
                log.error("the subscription of project %s was not renewed: %s", project_id, refusal.message)  # noqa: TRY400 - not a bug
        for grant_id, project_id in await plans.grants.expired(BATCH_MAX, now):
            await plans.expire(project_id, grant_id, now)
            done += 1
        for project_id in await plans.credit.overlent(BATCH_MAX):
            await plans.shrink_line(project_id)
            done += 1
        await plans.grants.warn(now)
        return done
