"""A whole worker process's life, as far as the books are concerned."""

import argparse
import asyncio
from pathlib import Path

import asyncpg
import pytest

from taximeter.cli.surge import _rows as surge_rows
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings
from taximeter.worker import run_worker
from tests.support.mock_openai import MockOpenAI

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


async def test_a_worker_samples_an_upstream_and_the_command_line_shows_it(database_url: str, pool: asyncpg.Pool, tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with MockOpenAI() as upstream:
        upstreams = tmp_path / "upstreams.yaml"
        upstreams.write_text(f"upstreams:\n  - {{name: pool, base_url: '{upstream.url}', concurrent_max: 4}}\n", encoding="utf-8")
        settings = Settings(home=tmp_path, database_url=database_url, reconcile_every_s=0.0, upstreams_file=str(upstreams), surge=True)
        running = asyncio.create_task(run_worker(settings, {}, stop))
        async with asyncio.timeout(20):
            while await pool.fetchval("select count(*) from admission.surge") == 0:
                assert not running.done()
                await asyncio.sleep(0.05)
        environ = {"TAXIMETER_HOME": str(tmp_path), "TAXIMETER_DATABASE_URL": database_url}
        [shown] = await surge_rows(argparse.Namespace(environ=environ, changes=False, engine=None, limit=5))
        assert (shown["engine"], shown["multiplier"], shown["source"]) == ("pool", "1", "requests against what the engine does at once (4)")
        assert await surge_rows(argparse.Namespace(environ=environ, changes=True, engine=None, limit=5)) == []
        stop.set()
        await running


async def test_a_worker_whose_surge_file_is_wrong_says_so_and_does_not_start(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "surge.yaml"
    file.write_text("engines: {nobody: {}}", encoding="utf-8")
    settings = Settings(home=tmp_path, database_url=database_url, surge=True, surge_file=str(file))
    with pytest.raises(SetupError, match="no engine 'nobody' runs here"):
        await run_worker(settings, {}, asyncio.Event())
