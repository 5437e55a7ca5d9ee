"""A town whose videos are made by an upstream that a test commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from taximeter.engines.openai_http import OpenAIVideoEngine, VideoOptions
from taximeter.identity import Caller
from taximeter.jobs import Job
from taximeter.metering import VideoView
from tests.support.mock_videos import FILM, MockVideos
from tests.support.tenants import Town, open_town

SETTINGS: dict[str, Any] = {"provider_poll_s": 0.02, "provider_grace_s": 0.2, "job_lease_s": 5.0}


@dataclass
class Studio:
    """A town whose video engine is an upstream, and one caller with a video ordered."""

    town: Town
    upstream: MockVideos
    caller: Caller
    video: VideoView

    async def step(self) -> Job:
        """Claim what is due and do one attempt at it."""
        jobs = self.town.office.jobs
        claimed: tuple[Job, float] | None = None
        async with asyncio.timeout(10):
            while claimed is None:
                job = await jobs.claim("video", 5)
                claimed = (job, 0.0) if job is not None else await jobs.claim_ordered("video", 5)
                if claimed is None:
                    await asyncio.sleep(0.005)
        await self.town.runner.run_job(*claimed)
        return claimed[0]

    async def view(self) -> VideoView:
        return await self.town.videos.find(self.caller, self.video.id)

    async def is_in(self, *states: str) -> bool:
        return (await self.view()).job.state in states

    async def figure(self, name: str) -> float:
        return (await self.town.office.figures())[f"taximeter_jobs_{name}"][1]

    async def assert_charged_once(self) -> None:
        view = await self.view()
        assert (view.job.state, view.receipt.outcome) == ("completed", "completed")
        assert 0 < view.receipt.charged_utok <= view.receipt.held_utok
        file = await self.town.videos.content(self.caller, self.video.id)
        assert b"".join([piece async for piece in file.read(0, file.size)]) == FILM
        assert self.upstream.count("POST") == 1
        await self.town.assert_books_agree()

    async def assert_released(self, code: str) -> None:
        view = await self.view()
        assert (view.job.state, view.job.error_code) == ("failed", code)
        assert (view.receipt.outcome, view.receipt.charged_utok) == ("failed", 0)
        await self.assert_nothing_held()

    async def has_verdict(self, verdict: str) -> bool:
        return bool(await self.town.office.pool.fetchval("select provider_verdict = $1 from jobs.jobs", verdict))

    async def assert_nothing_held(self) -> None:
        assert (await self.town.wallet(self.caller))["balance"] == "1000"
        assert await self.town.open_holds() == 0
        await self.town.assert_books_agree()


@asynccontextmanager
async def open_studio(database_url: str, home: Path, *, lookup: bool = True, **changes: Any) -> AsyncIterator[Studio]:  # noqa: ANN401 - settings
    async with MockVideos() as upstream, open_town(database_url, home, **{**SETTINGS, **changes}) as town:
        settings = town.office.settings
        options = VideoOptions(extra_fields=True, lookup=lookup, poll_s=settings.provider_poll_s, grace_s=settings.provider_grace_s)
        engine = OpenAIVideoEngine("demo-video", upstream.url, options=options)
        town.office.desk.engines = {"demo-video": engine}
        caller = await town.caller("1000")
        try:
            yield Studio(town, upstream, caller, await town.videos.submit(town.order(caller, "video")))
        finally:
            await engine.close()


@asynccontextmanager
async def working(town: Town) -> AsyncIterator[None]:
    """A whole worker, side by side with the test."""
    worker = asyncio.create_task(town.runner.run())
    try:
        yield
    finally:
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
