"""Real workers that are killed while a provider makes their video: no second order, one charge."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import taximeter
from tests.support.studio import Studio, open_studio, working
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

SOURCE = str(Path(taximeter.__file__).parents[1])


@asynccontextmanager
async def a_worker(studio: Studio, home: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`taximeter worker` on the studio's database, with the studio's upstream; killed at the end."""
    upstreams = _write_upstreams(home, studio.upstream.url)
    settings = {
        "DATABASE_URL": studio.town.office.settings.database_url, "HOME": str(home), "UPSTREAMS_FILE": str(upstreams),
        "PROVIDER_POLL_S": "0.05", "JOB_LEASE_S": "1",
    }  # fmt: skip
    environ = {name: value for name, value in os.environ.items() if not name.startswith("TAXIMETER_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "taximeter.cli", "worker"),
        env={**environ, "PYTHONPATH": SOURCE, **{f"TAXIMETER_{name}": value for name, value in settings.items()}},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _write_upstreams(home: Path, url: str) -> Path:
    home.mkdir()
    path = home / "upstreams.yaml"
    path.write_text(f"upstreams: [{{name: demo-video, base_url: '{url}', videos: {{lookup: true}}}}]", encoding="utf-8")
    return path


async def test_a_worker_that_is_killed_while_its_order_is_on_the_way_orders_once(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path / "studio") as studio:
        ordering, go = asyncio.Event(), asyncio.Event()

        async def wait() -> None:
            ordering.set()
            await go.wait()

        studio.upstream.on_order = wait
        async with a_worker(studio, tmp_path / "worker"):
            await asyncio.wait_for(ordering.wait(), 60)
        # The provider takes the order of a worker that is no more.
        go.set()
        await until(lambda: bool(studio.upstream.films))
        assert (await studio.view()).job.provider_job is None
        studio.upstream.film.finish()
        async with working(studio.town):
            await until(lambda: studio.is_in("completed"), timeout_s=20)
        await studio.assert_charged_once()


async def test_a_worker_that_is_killed_while_it_waits_is_replaced_and_the_video_ordered_once(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path / "studio") as studio:
        async with a_worker(studio, tmp_path / "worker"):
            await until(lambda: studio.upstream.count("GET") > 3, timeout_s=60)
        studio.upstream.film.finish()
        async with working(studio.town):
            await until(lambda: studio.is_in("completed"), timeout_s=20)
        await studio.assert_charged_once()
