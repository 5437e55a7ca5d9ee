"""The worker's part: periods begin, grants expire, lowered credit lines are taken back."""

import asyncio
import logging
from datetime import datetime

from taximeter.admission.plans.service import Plans
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.errors import Refusal

log = logging.getLogger(__name__)

EVERY_S = 2.0
BATCH_MAX = 200


class Upkeep:
    """Runs in every worker; what one has done no other does again."""

    def __init__(self, plans: Plans, every_s: float = EVERY_S) -> None:
        self._plans = plans
        self._every_s = every_s

    async def run(self) -> None:
        """Look for what is due now and then, until cancelled."""
        while True:
            try:
                done = await self.turn()
            except DATABASE_ERRORS as error:
                log.warning("plans were not kept up, trying again: %s", error)
                done = 0
            if done < BATCH_MAX:
                await asyncio.sleep(self._every_s)

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
