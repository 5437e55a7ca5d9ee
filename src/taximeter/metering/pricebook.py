"""What published versions have priced so far, for whoever publishes new ones."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg

from taximeter.db import sql

_SQL = sql.load("taximeter.metering")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The ids of requests begin with the time of the process that made them, whose clock may be off.
CLOCKS_DIFFER = timedelta(hours=1)


class PricedRequests:
    """The requests in the database.  What a request was priced by is written in the transaction of its hold."""

    async def last_priced(self, connection: asyncpg.Connection, kind: str, name: str, since: datetime) -> datetime | None:
        """When the newest request was made, from ``since`` on, that any version of this name priced; None: there is none."""
        ms = max(0, (since - EPOCH - CLOCKS_DIFFER) // timedelta(milliseconds=1))
        last: datetime | None = await connection.fetchval(_SQL["last_priced"], kind, name, since, UUID(int=ms << 80))
        return last


HISTORY = PricedRequests()
