"""Moments inside the database that can be waited for: a posting that stands in the middle of its transaction, a checkpoint."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import asyncpg

from bench.crash.system import POLL_S, CrashError, System
from taximeter.db.pool import DATABASE_ERRORS

TRIES = 10
_WAITING = """
select pid from pg_stat_activity where $1 = any (pg_blocking_pids(pid)) and query like '%metering.post(%'
"""
_CHECKPOINT = "select wait_event from pg_stat_activity where backend_type = 'checkpointer'"
_BACKENDS = "select pid from pg_stat_activity where backend_type = 'client backend' and application_name = 'taximeter'"


@dataclass(frozen=True, slots=True)
class Barrier:
    """A lock of ours in the way of the posting function: it stops in the middle of its transaction.

    Attributes:
        pid: our backend's.
    """

    system: System
    pid: int

    async def waiting(self) -> list[int]:
        """The backends that stand there, in a posting."""
        return [row["pid"] for row in await self.system.query(_WAITING, self.pid)]

    async def until_waiting(self, still: Callable[[], bool] = lambda: True) -> list[int]:
        """Wait for at least one posting that stands there while ``still`` holds."""
        for _ in range(TRIES * 100):
            pids = await self.waiting()
            if pids and still():
                return pids
            await asyncio.sleep(POLL_S)
        message = "no posting came to the barrier"
        raise CrashError(message)


@asynccontextmanager
async def barrier(system: System, table: str) -> AsyncIterator[Barrier]:
    """Nobody writes into the table while the block runs.  It can still be read; the database may die meanwhile."""
    connection = await _lock(system, table)
    try:
        yield Barrier(system, connection.get_server_pid())
    finally:
        connection.terminate()


async def _lock(system: System, table: str) -> asyncpg.Connection:
    for _ in range(TRIES):
        connection = await asyncpg.connect(system.url)
        try:
            await connection.execute(f"set lock_timeout = '2s'; begin; lock table {table} in share mode")
        except DATABASE_ERRORS:
            connection.terminate()
        else:
            return connection
    message = f"cannot lock {table}"
    raise CrashError(message)


@asynccontextmanager
async def checkpoint(system: System) -> AsyncIterator[None]:
    """The block runs while a checkpoint writes pages.

    A backup that has time asks for one that is spread out: its pauses between pages can be seen.
    """
    connection = await asyncpg.connect(system.url)
    backup = asyncio.create_task(connection.execute("select pg_backup_start('crash test', false)"))
    try:
        for _ in range(TRIES * 100):
            if (await system.query(_CHECKPOINT))[0]["wait_event"] == "CheckpointWriteDelay":
                break
            await asyncio.sleep(POLL_S)
        else:
            message = "no checkpoint was seen"
            raise CrashError(message)
        yield
    finally:
        connection.terminate()
        with suppress(asyncio.CancelledError, *DATABASE_ERRORS):
            await backup


async def backends(system: System) -> list[int]:
    """The backends that serve gateways and worker."""
    return [row["pid"] for row in await system.query(_BACKENDS)]
