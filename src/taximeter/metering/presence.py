"""A process says that it lives, so that another one can release the holds of one that died."""

import asyncio
import logging

import asyncpg

from taximeter.db.pool import DATABASE_ERRORS
from taximeter.metering.desk import Desk
from taximeter.metering.store import MeteringStore
from taximeter.metering.tally import Tally

log = logging.getLogger(__name__)

BEATS_PER_LIFE = 5


async def keep_alive(desk: Desk, store: MeteringStore, kind: str, tally: Tally, pool: asyncpg.Pool) -> None:
    """Beat until cancelled, and report what was charged.  A missed beat is not fatal: the next one counts again."""
    interval_s = desk.settings.process_dead_s / BEATS_PER_LIFE
    while True:
        try:
            await store.hello(desk.process_id, kind)
            await tally.report(pool)
        except DATABASE_ERRORS as error:
            log.warning("no heartbeat: %s", error)
        await asyncio.sleep(interval_s)
