"""Jobs that wait for more than their turn: for an engine that is away, and for the calm."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from taximeter.db.pool import connect_owner
from taximeter.engines import Done, EngineUnavailable, Media, Progress
from taximeter.jobs import Job
from tests.support.scripted_engine import ScriptedEngine
from tests.support.studio import working
from tests.support.surges import set_price
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

WORK = {"steps": 20, "frames": 16, "width": 640, "height": 360, "passes": 20, "latent_tokens": 1}
SCRIPT = (Progress(done=1, total=2), Media(data=b"ftyp"), Done(work=WORK))
REST_MAX_S = 5.0


@pytest.fixture
async def rush(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    """A town with surge prices, whose film maker is known to need some time."""
    async with open_town(database_url, tmp_path, surge=True) as town:
        yield town


async def claim(town: Town) -> Job | None:
    return await town.office.jobs.claim("video", 30.0, {"demo-video": 3})


async def make_pace_known(town: Town) -> None:
    owner = await connect_owner(town.office.settings.database_url)
    await owner.execute("update admission.pools set served_utok = 1000000, served_ms = 1000, slots = 1")
    await owner.close()


async def let_rest_end(town: Town) -> None:
    await town.office.pool.execute("update jobs.jobs set rests_until = clock_timestamp()")


async def test_a_job_whose_engine_is_away_rests_and_others_go_first(town: Town) -> None:
    caller = await town.caller("5000")
    views = [await town.videos.submit(town.order(caller, "video")) for _ in range(3)]
    job = await claim(town)
    assert job is not None
    assert await town.office.jobs.release(job, 60.0)
    found = await town.videos.find(caller, views[0].id)
    assert (found.job.state, found.to_api()["status"], found.queue) == ("queued", "queued", {"position": 1, "expected_start_at": None})
    claimed = [await claim(town) for _ in range(3)]
    assert [each.id if each else None for each in claimed] == [views[1].job.id, views[2].job.id, None]
    await let_rest_end(town)
    again = await claim(town)
    assert again is not None
    assert (again.id, again.attempt, again.given_back) == (views[0].job.id, 2, 1)


async def test_it_rests_longer_each_time_and_never_longer_than_it_may(town: Town) -> None:
    await town.videos.submit(town.order(await town.caller(), "video"))
    pool = town.office.pool
    for most_s in (1, 2, 4, REST_MAX_S, REST_MAX_S, REST_MAX_S):
        job = await claim(town)
        assert job is not None
        before = await pool.fetchval("select clock_timestamp()")
        assert await town.office.jobs.release(job, REST_MAX_S)
        after, until_ = await pool.fetchrow("select clock_timestamp(), rests_until from jobs.jobs")
        assert most_s / 2 <= (until_ - before).total_seconds()
        assert (until_ - after).total_seconds() <= most_s
        await let_rest_end(town)
    # A job that was put back for another reason may be claimed at once, and begins anew.
    for rest_s in (0.0, REST_MAX_S):
        job = await claim(town)
        assert job is not None
        assert await town.office.jobs.release(job, rest_s)
        assert await pool.fetchval("select rests from jobs.jobs") == (1 if rest_s else 0)


async def test_an_engine_that_is_away_does_not_keep_the_others_jobs_and_is_found_when_it_is_back(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path, job_rest_max_s=0.2, breaker_failures=0, breaker_failure_percent=0) as town:
        desk, away = town.office.desk, town.engines["video"]
        away.script = (EngineUnavailable("it is away"),)
        other = ScriptedEngine("other-video", "video")
        other.script = SCRIPT
        desk.engines = {**desk.engines, other.name: other}
        model = dataclasses.replace(desk.catalog.models["sketch-video"], name="other", engine=other.name)
        desk.catalog = dataclasses.replace(desk.catalog, models={**desk.catalog.models, "other": model})
        caller = await town.caller("5000")
        waits = await town.videos.submit(town.order(caller, "video"))
        goes = await town.videos.submit(dataclasses.replace(town.order(caller, "video"), model="other"))

        async def is_made(video_id: str) -> bool:
            return (await town.videos.find(caller, video_id)).job.state == "completed"

        async with working(town):
            await until(lambda: is_made(goes.id))
            await until(lambda: len(away.jobs) >= 3)
            away.script = SCRIPT
            await until(lambda: is_made(waits.id))
        await town.assert_books_agree()


async def test_what_waits_for_the_calm_expects_no_start_and_says_how_long_it_waits_at_most(rush: Town) -> None:
    caller, patient = await rush.caller("5000"), await rush.caller("5000")
    batch = await rush.videos.submit(rush.order(patient, "video", service_tier="batch"))
    # As if it had been there for so long that it has gone up to the first class, and an engine that is known to be slow.
    await rush.office.pool.execute("update jobs.jobs set class = 0")
    await make_pace_known(rush)
    usual = await rush.videos.submit(rush.order(caller, "video"))

    async def told() -> list[dict[str, object]]:
        views = await asyncio.gather(rush.videos.find(patient, batch.id), rush.videos.find(caller, usual.id))
        return [dict(view.queue or {}) for view in views]

    calm = await told()
    assert [queue["position"] for queue in calm] == [1, 2]
    assert all(queue["expected_start_at"] is not None and "waits_for_calm_until" not in queue for queue in calm)

    await set_price(rush.office, "demo-video", 150)
    first, second = await told()
    assert (first["position"], first["expected_start_at"]) == (2, None)
    waits_until = datetime.fromisoformat(str(first["waits_for_calm_until"]))
    assert waits_until - batch.job.created_at == timedelta(seconds=rush.office.settings.surge_wait_max_s)
    # It is not in the way of those who do not wait for the calm.
    assert (second["position"], set(second)) == (1, {"position", "expected_start_at"})
    assert str(second["expected_start_at"]) < str(calm[1]["expected_start_at"])


async def test_a_job_that_rests_expects_no_start_before_its_rest_is_over(rush: Town) -> None:
    caller = await rush.caller("5000")
    view = await rush.videos.submit(rush.order(caller, "video"))
    await make_pace_known(rush)
    job = await claim(rush)
    assert job is not None
    assert await rush.office.jobs.release(job, REST_MAX_S)
    await rush.office.pool.execute("update jobs.jobs set rests_until = clock_timestamp() + interval '1 hour'")
    queue = (await rush.videos.find(caller, view.id)).queue
    assert queue is not None
    left = datetime.fromisoformat(queue["expected_start_at"]) - datetime.now(UTC)
    assert timedelta(minutes=50) < left <= timedelta(minutes=60, seconds=1)
