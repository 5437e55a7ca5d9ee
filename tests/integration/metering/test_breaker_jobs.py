"""Circuit breakers and jobs: what waits, what goes on, and what counts as a try."""

import asyncio
import dataclasses

import pytest

from taximeter.engines import Done, EngineFailed, EngineUnavailable, Media, Progress
from taximeter.jobs import Job
from taximeter.metering import VideoView
from tests.support.scripted_engine import ScriptedEngine
from tests.support.studio import Studio, working
from tests.support.tenants import Town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

WORK = {"steps": 20, "frames": 16, "width": 640, "height": 360, "passes": 20, "latent_tokens": 1}
SCRIPT = (Progress(done=1, total=2), Media(data=b"ftyp"), Done(work=WORK))


def add_engine(town: Town) -> ScriptedEngine:
    """A second engine, and a model of its own on it."""
    desk = town.office.desk
    other = ScriptedEngine("other-video", "video")
    desk.engines = {**desk.engines, other.name: other}
    model = dataclasses.replace(desk.catalog.models["sketch-video"], name="other", engine=other.name)
    desk.catalog = dataclasses.replace(desk.catalog, models={**desk.catalog.models, "other": model})
    other.script = SCRIPT
    return other


async def fails(town: Town, view: VideoView) -> bool:
    return bool(await town.office.pool.fetchval("select state = 'failed' from jobs.jobs where id = $1", view.job.id))


async def test_jobs_of_an_engine_that_is_left_alone_wait_and_others_go_on(town: Town) -> None:
    caller = await town.caller("100000")
    other = add_engine(town)
    engine = town.engines["video"]
    engine.script = (Progress(done=1, total=2), EngineFailed("it broke"))
    views = [await town.videos.submit(town.order(caller, "video")) for _ in range(7)]
    async with working(town):
        breakers = town.office.desk.guard.breakers
        await until(lambda: [view.state for view in breakers.views()] == ["open"])
        ordered = dataclasses.replace(town.order(caller, "video"), model="other")
        elsewhere = await town.videos.submit(ordered)

        async def is_made() -> bool:
            return (await town.videos.find(caller, elsewhere.id)).job.state == "completed"

        await until(is_made)
        assert (len(engine.jobs), len(other.jobs)) == (5, 1)
        waiting = [(await town.videos.find(caller, view.id)).job for view in views[5:]]
        assert [(job.state, job.attempt - job.given_back) for job in waiting] == [("queued", 0)] * 2
        assert all([await fails(town, view) for view in views[:5]])
        # Submitting goes on: a job can wait.
        late = await town.videos.submit(town.order(caller, "video"))

        engine.script = SCRIPT
        [(key, breaker)] = [(key, each) for key, each in breakers._breakers.items() if key[0] == "demo-video"]
        assert key[1].startswith("sketch-video@")
        breaker._until_ms = 0

        async def are_made() -> bool:
            states = {(await town.videos.find(caller, view.id)).job.state for view in [*views[5:], late]}
            return states == {"completed"}

        await until(are_made)
    assert breaker.state == "closed"
    assert await town.open_holds() == 0
    await town.assert_books_agree()


async def test_a_claim_that_meets_an_open_breaker_is_no_try(town: Town) -> None:
    caller = await town.caller("100000")
    engine = town.engines["video"]
    view = await town.videos.submit(town.order(caller, "video"))
    job = await town.office.jobs.claim("video", 5)
    assert job is not None
    for _ in range(5):
        town.office.desk.guard.claimed("demo-video", job.payload["model"], 1.0).failed(EngineFailed("it broke"))
    await town.runner.run_job(job)
    found = (await town.videos.find(caller, view.id)).job
    assert (found.state, found.attempt, found.given_back, engine.jobs) == ("queued", 1, 1, [])
    left = [f"{name} {model}" for name, model in town.office.desk.guard.breakers.closed_to()]
    assert await town.office.jobs.claim("video", 5, without=left) is None
    assert await town.office.jobs.claim("video", 5) is not None


async def test_an_engine_that_is_away_is_asked_less_often_and_its_job_is_made_in_the_end(town: Town) -> None:
    caller = await town.caller("100000")
    engine = town.engines["video"]
    engine.script = (EngineUnavailable("it is away"),)
    view = await town.videos.submit(town.order(caller, "video"))
    for _ in range(5):
        call = town.office.desk.guard.claimed("demo-video", view.job.payload["model"], 1.0)
        call.failed(EngineUnavailable("it is away"))
    async with working(town):
        await asyncio.sleep(0.6)
        assert engine.jobs == []
        engine.script = SCRIPT
        [breaker] = town.office.desk.guard.breakers._breakers.values()
        breaker._until_ms = 0

        async def is_made() -> bool:
            return (await town.videos.find(caller, view.id)).job.state == "completed"

        await until(is_made)
    assert len(engine.jobs) == 1


async def test_a_job_of_an_earlier_release_has_the_engines_name_of_its_model(town: Town) -> None:
    caller = await town.caller("1000")
    await town.videos.submit(town.order(caller, "video"))
    await town.office.pool.execute("update jobs.jobs set payload = payload - 'model'")
    assert await town.office.jobs.claim("video", 5, without=["demo-video sketch-video"]) is None
    job: Job | None = await town.office.jobs.claim("video", 5, without=["demo-video sketch-video@1"])
    assert job is not None
    town.engines["video"].script = SCRIPT
    await town.runner.run_job(job)
    assert [view.model for view in town.office.desk.guard.breakers.views()] == ["sketch-video"]


async def test_what_is_at_a_provider_is_asked_about_in_any_case(studio: Studio) -> None:
    guard = studio.town.office.desk.guard
    await studio.step()
    for _ in range(5):
        guard.watched("demo-video", studio.video.job.payload["model"], studio.video.job.project_id).failed(EngineFailed("it broke"))
    [breaker] = guard.breakers._breakers.values()
    assert breaker.state == "open"
    studio.upstream.film.finish()
    async with asyncio.timeout(10):
        while not await studio.is_in("completed"):
            await studio.step()
    await studio.assert_charged_once()
    assert breaker.state == "open", "only a probe closes it"
