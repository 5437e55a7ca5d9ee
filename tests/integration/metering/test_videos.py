"""Videos as durable jobs: what they cost, in every way they can end."""

import asyncio
from pathlib import Path

import pytest

from taximeter.db.pool import open_pool
from taximeter.engines import Done, EngineFailed, EngineUnavailable, Media, Progress
from taximeter.jobs import Job, JobStore
from taximeter.ledger import InsufficientBalance, Kind, Operation
from taximeter.metering import Videos, VideoView
from taximeter.metering.errors import VideoExpired, VideoFailed, VideoNotFound, VideoNotReady
from taximeter.metering.store import MeteringStore
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

SCRIPT = (Progress(done=1, total=2), Media(data=b"ftyp"), Media(data=b"mdat"))


def report(job: dict[str, int]) -> Done:
    work = {name: job[name] for name in ("steps", "frames", "width", "height")}
    return Done(work={**work, "passes": job["steps"], "latent_tokens": 1}, engine_ms=12)


async def claim(town: Town) -> Job:
    job = await town.office.jobs.claim("video", town.office.settings.job_lease_s)
    assert job is not None
    return job


async def run_next(town: Town) -> Job:
    job = await claim(town)
    town.engines["video"].script = (*SCRIPT, report(job.payload["request"]))
    await town.runner.run_job(job)
    return job


async def test_a_video_is_made_stored_and_settled(town: Town) -> None:
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    await run_next(town)
    done = await town.videos.find(caller, view.id)
    shown = done.to_api()
    assert (shown["status"], shown["progress"], shown["error"], shown["size"], shown["seconds"]) == ("completed", 100, None, "640x360", "1")
    assert done.receipt.charged_utok == done.receipt.held_utok > 0
    file = await town.videos.content(caller, view.id)
    assert b"".join([piece async for piece in file.read(0, file.size)]) == b"ftypmdat"
    assert b"".join([piece async for piece in file.read(2, 6)]) == b"ypmd"
    assert await town.open_holds() == 0
    await town.assert_books_agree()


async def test_a_video_that_was_ordered_is_not_denied_when_it_cannot_be_read_back(town: Town, database_url: str) -> None:
    caller = await town.caller("1000")
    lost = await open_pool(database_url, 1)
    lost.terminate()
    office = town.office
    view = await Videos(office.desk, JobStore(lost), MeteringStore(lost), office.objects).submit(town.order(caller, "video"))
    stored = await town.videos.find(caller, view.id)
    assert (view.job.id, view.job.state, view.job.payload) == (stored.job.id, "queued", stored.job.payload)
    assert view.receipt.held_utok == stored.receipt.held_utok > 0
    assert {**view.to_api(), "created_at": 0, "taximeter": 0} == {**stored.to_api(), "created_at": 0, "taximeter": 0}
    await run_next(town)
    assert (await town.videos.find(caller, view.id)).job.state == "completed"


async def test_the_object_has_every_key_of_openai(town: Town) -> None:
    view = await town.videos.submit(town.order(await town.caller(), "video"))
    assert set(view.to_api()) - {"taximeter"} == {
        "id", "object", "model", "status", "progress", "created_at", "completed_at", "expires_at", "prompt", "size", "seconds",
        "remixed_from_video_id", "error",
    }  # fmt: skip


async def test_a_failed_video_costs_nothing_and_says_why(town: Town) -> None:
    """new-api #2050: a failed /v1/videos was still charged."""
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    job = await claim(town)
    town.engines["video"].script = (Progress(done=1, total=2), EngineFailed("the renderer ran out of paint"))
    await town.runner.run_job(job)
    failed = await town.videos.find(caller, view.id)
    assert failed.to_api()["status"] == "failed"
    assert failed.to_api()["error"] == {"code": "engine_failed", "message": "the renderer ran out of paint"}
    assert (failed.receipt.outcome, failed.receipt.charged_utok) == ("failed", 0)
    assert (await town.wallet(caller))["balance"] == "1000"
    with pytest.raises(VideoFailed):
        await town.videos.content(caller, view.id)


async def test_without_the_balance_there_is_neither_hold_nor_job(town: Town) -> None:
    caller = await town.caller("1")
    with pytest.raises(InsufficientBalance):
        await town.videos.submit(town.order(caller, "video"))
    assert await town.office.jobs.waiting() == (0, 0)
    assert await town.open_holds() == 0


async def test_content_before_completion_is_not_ready(town: Town) -> None:
    caller = await town.caller()
    view = await town.videos.submit(town.order(caller, "video"))
    with pytest.raises(VideoNotReady):
        await town.videos.content(caller, view.id)


async def test_another_projects_video_does_not_exist(town: Town) -> None:
    """litellm #37627: video content was fetched without an ownership check."""
    owner, stranger = await town.caller(), await town.caller()
    view = await town.videos.submit(town.order(owner, "video"))
    for touch in (town.videos.find, town.videos.content, town.videos.delete):
        with pytest.raises(VideoNotFound):
            await touch(stranger, view.id)
    assert list(await town.videos.list(stranger, None, 10, newest_first=True)) == []


async def test_deleting_a_video_that_waits_releases_its_hold(town: Town) -> None:
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    await town.videos.delete(caller, view.id)
    assert (await town.wallet(caller))["balance"] == "1000"
    assert await town.open_holds() == 0
    assert await town.office.jobs.claim("video", 5) is None
    with pytest.raises(VideoNotFound):
        await town.videos.find(caller, view.id)


async def test_deleting_a_video_that_runs_stops_it_and_costs_nothing(town: Town) -> None:
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    job = await claim(town)
    town.engines["video"].script = (Progress(done=1, total=2), asyncio.Event())
    running = asyncio.create_task(town.runner.run_job(job))
    await town.engines["video"].running.wait()
    await town.videos.delete(caller, view.id)
    await asyncio.wait_for(running, 10)
    assert town.engines["video"].closed_early == 1
    assert (await town.wallet(caller))["balance"] == "1000"
    await town.assert_books_agree()


async def test_a_deleted_video_that_finishes_all_the_same_is_not_charged(town: Town) -> None:
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    job = await claim(town)
    await town.videos.delete(caller, view.id)
    town.engines["video"].script = (*SCRIPT, report(job.payload["request"]))
    await town.runner.run_job(job)
    assert (await town.wallet(caller))["balance"] == "1000"
    assert await town.office.objects.find(f"videos/{job.id}/1.mp4") is None


async def test_a_worker_that_died_is_replaced_and_the_video_is_charged_once(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path, job_lease_s=0.05) as town:
        caller = await town.caller("1000")
        view = await town.videos.submit(town.order(caller, "video"))
        dead = await claim(town)
        second = await _claim_when_lease_ends(town)
        assert second.attempt == dead.attempt + 1
        town.engines["video"].script = (*SCRIPT, report(second.payload["request"]))
        await town.runner.run_job(second)
        # The first worker was not dead after all, and reports late.
        await town.runner.run_job(dead)
        done = await town.videos.find(caller, view.id)
        assert done.job.object_key == f"videos/{second.id}/2.mp4"
        assert await town.office.objects.find(f"videos/{second.id}/1.mp4") is None
        assert (await town.videos.content(caller, view.id)).size == 8
        assert 0 < done.receipt.charged_utok == done.receipt.held_utok
        await town.assert_books_agree()


async def _claim_when_lease_ends(town: Town) -> Job:
    async with asyncio.timeout(10):
        while True:
            job = await town.office.jobs.claim("video", 10)
            if job is not None:
                return job
            await asyncio.sleep(0.01)


async def test_a_video_whose_workers_keep_dying_is_given_up(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path, job_lease_s=0.01, video_attempts_max=2) as town:
        caller = await town.caller("1000")
        view = await town.videos.submit(town.order(caller, "video"))
        await claim(town)
        await _claim_when_lease_ends_for(town, 0.01)
        third = await _claim_when_lease_ends(town)
        await town.runner.run_job(third)
        shown = await town.videos.find(caller, view.id)
        assert shown.job.state == "failed"
        assert "died 2 times" in str(shown.job.error_message)
        assert (await town.wallet(caller))["balance"] == "1000"


async def _claim_when_lease_ends_for(town: Town, lease_s: float) -> None:
    async with asyncio.timeout(10):
        while await town.office.jobs.claim("video", lease_s) is None:
            await asyncio.sleep(0.01)


async def test_a_worker_that_stops_puts_its_video_back(town: Town) -> None:
    caller = await town.caller()
    view = await town.videos.submit(town.order(caller, "video"))
    job = await claim(town)
    town.engines["video"].script = (asyncio.Event(),)
    running = asyncio.create_task(town.runner.run_job(job))
    await town.engines["video"].running.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    again = await town.videos.find(caller, view.id)
    assert (again.job.state, again.job.attempt, again.job.given_back) == ("queued", 1, 1)
    assert await town.open_holds() == 1


async def test_a_video_that_is_finished_after_its_hold_expired_is_not_charged(town: Town) -> None:
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    job = await claim(town)
    await town.office.desk.books.submit(Operation(id=job.id, kind=Kind.EXPIRE, lane=caller.lane))
    town.engines["video"].script = (*SCRIPT, report(job.payload["request"]))
    # The worker has not noticed: the expiry fell between its last heartbeat and its settlement.
    await town.runner.run_job(job)
    assert (await town.wallet(caller))["balance"] == "1000"
    assert await town.office.objects.find(f"videos/{view.job.id}/1.mp4") is None
    # The sweeper would have ended the job with the hold.
    await town.assert_books_agree(but={"unfinished job without a hold"})


async def test_an_engine_without_room_makes_the_video_wait(town: Town) -> None:
    caller = await town.caller()
    view = await town.videos.submit(town.order(caller, "video"))
    job = await claim(town)
    town.engines["video"].script = (EngineUnavailable("the engine host restarts"),)
    await town.runner.run_job(job)
    assert (await town.videos.find(caller, view.id)).job.state == "queued"


async def test_pages_of_videos_follow_each_other(town: Town) -> None:
    caller = await town.caller()
    made = [(await town.videos.submit(town.order(caller, "video"))).id for _ in range(5)]
    newest: list[VideoView] = [*await town.videos.list(caller, None, 2, newest_first=True)]
    rest = await town.videos.list(caller, newest[-1].id, 10, newest_first=True)
    assert [video.id for video in [*newest, *rest]] == made[::-1]
    oldest = await town.videos.list(caller, made[1], 2, newest_first=False)
    assert [video.id for video in oldest] == made[2:4]


async def test_a_file_whose_time_is_over_is_removed_and_the_receipt_stays(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path, video_ttl_s=0) as town:
        caller = await town.caller("1000")
        view = await town.videos.submit(town.order(caller, "video"))
        job = await run_next(town)
        await town.sweeper.keep_house()
        assert await town.office.objects.find(f"videos/{job.id}/1.mp4") is None
        with pytest.raises(VideoExpired):
            await town.videos.content(caller, view.id)
        assert (await town.videos.find(caller, view.id)).receipt.charged_utok > 0
