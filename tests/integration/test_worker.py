"""A whole worker process's life, as far as the books are concerned."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from taximeter.kernel.settings import Settings
from taximeter.worker import run_worker

pytestmark = pytest.mark.anyio


async def test_a_worker_reconciles_by_itself_until_it_is_told_to_stop(database_url: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    stop = asyncio.Event()
    settings = Settings(home=tmp_path, database_url=database_url, rollup_every_s=0.1, reconcile_every_s=0.1)
    running = asyncio.create_task(run_worker(settings, {}, stop))
    async with asyncio.timeout(20):
        while await pool.fetchval("select count(*) from metering.reconciliations where agreed_at is not null") < 7:
            assert not running.done()
            await asyncio.sleep(0.05)
        stop.set()
        await running


async def test_a_worker_that_is_told_to_reconcile_never_does_not(database_url: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(run_worker(Settings(home=tmp_path, database_url=database_url, reconcile_every_s=0.0), {}, stop))
    async with asyncio.timeout(20):
        while not await pool.fetchval("select count(*) from metering.processes where kind = 'worker'"):
            await asyncio.sleep(0.05)
    assert await pool.fetchval("select count(*) from metering.reconciliations") == 0
    stop.set()
    await running
