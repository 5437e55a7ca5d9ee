"""How videos that a provider makes end: duplicate completions, missing content, refused orders, and calling off."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from taximeter.jobs import Job
from tests.support.mock_videos import FILM
from tests.support.studio import Studio, open_studio, working
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_two_workers_that_see_the_same_completion_charge_once(studio: Studio) -> None:
    await studio.step()
    studio.upstream.film.finish()
    jobs = studio.town.office.jobs
    first = await jobs.claim_ordered("video", 0.01)
    assert first is not None
    second: list[tuple[Job, float]] = []

    async def take_over() -> bool:
        claimed = await jobs.claim_ordered("video", 5)
        if claimed is not None:
            second.append(claimed)
        return bool(second)

    await until(take_over)
    # The first one was not dead after all; it does not hear of its successor before it has delivered.
    await asyncio.gather(studio.town.runner.run_job(*first), studio.town.runner.run_job(*second[0]))
    await studio.assert_charged_once()
    files = [await studio.town.office.objects.find(f"videos/{studio.video.job.id}/{job.attempt}.mp4") for job, _ in (first, second[0])]
    assert sum(file is not None for file in files) == 1
    assert await studio.town.office.pool.fetchval("select count(*) from metering.receipts") == 1


async def test_a_completion_that_is_told_again_changes_nothing(studio: Studio) -> None:
    await studio.step()
    studio.upstream.film.finish()
    job = await studio.step()
    await studio.town.runner.run_job(job, 10.0)
    await studio.assert_charged_once()


async def test_completed_without_content_is_asked_again_and_then_costs_nothing(studio: Studio) -> None:
    await studio.step()
    studio.upstream.film.finish(None)
    await studio.step()
    await studio.assert_released("engine_failed")
    # The provider will bill it all the same.
    assert await studio.figure("unpaid") == 1
    (listed,) = await studio.town.videos.at_providers("unpaid", None, 10)
    assert listed.to_api()["provider_job"] == studio.upstream.film.id
    reported = (await studio.view()).receipt.detail["reported_work"]
    assert reported["steps"] > 0


async def test_content_that_is_no_video_file_costs_nothing(studio: Studio) -> None:
    await studio.step()
    studio.upstream.film.finish(b"sorry!")
    studio.upstream.film.content_type = "text/html"
    await studio.step()
    await studio.assert_released("engine_failed")
    assert await studio.figure("unpaid") == 1


async def test_content_that_comes_a_little_later_is_fetched(studio: Studio) -> None:
    await studio.step()
    studio.upstream.film.finish(b"")
    running = asyncio.create_task(studio.step())
    await until(lambda: studio.upstream.calls[-1].endswith("/content"))
    studio.upstream.film.content = FILM
    await running
    await studio.assert_charged_once()


async def test_content_that_breaks_off_is_fetched_again(studio: Studio) -> None:
    await studio.step()
    studio.upstream.film.finish()
    studio.upstream.cut_content = True
    await studio.step()
    assert await studio.is_in("unknown")
    studio.upstream.cut_content = False
    await studio.step()
    await studio.assert_charged_once()


async def test_a_provider_that_forgets_its_job_for_good_has_failed(studio: Studio) -> None:
    await studio.step()
    studio.upstream.films.clear()
    await studio.step()
    await studio.assert_released("engine_failed")


async def test_a_deleted_video_is_called_off_at_the_provider(studio: Studio) -> None:
    async with working(studio.town):
        await until(lambda: bool(studio.upstream.films))
        await until(lambda: studio.upstream.count("GET") > 0)
        await studio.town.videos.delete(studio.caller, studio.video.id)
        await studio.assert_nothing_held()
        await until(lambda: studio.upstream.films == {})
        await until(lambda: studio.has_verdict("cancelled"))


async def test_a_video_that_is_deleted_while_its_order_is_on_the_way_is_called_off_too(studio: Studio) -> None:
    ordering, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        ordering.set()
        await go.wait()

    studio.upstream.on_order = wait
    async with working(studio.town):
        await ordering.wait()
        await studio.town.videos.delete(studio.caller, studio.video.id)
        go.set()
        await until(lambda: studio.has_verdict("cancelled"))
    assert studio.upstream.films == {}
    await studio.assert_nothing_held()


async def test_what_a_provider_bills_after_it_was_called_off_is_the_operators(studio: Studio) -> None:
    studio.upstream.on_delete = "completed"
    async with working(studio.town):
        await until(lambda: bool(studio.upstream.films))
        await studio.town.videos.delete(studio.caller, studio.video.id)
        await until(lambda: studio.has_verdict("completed"))
    await studio.assert_nothing_held()
    assert await studio.figure("unpaid") == 1


async def test_calling_off_goes_on_until_the_provider_has_stopped(studio: Studio) -> None:
    studio.upstream.on_delete = "deaf"
    async with working(studio.town):
        await until(lambda: bool(studio.upstream.films))
        await studio.town.videos.delete(studio.caller, studio.video.id)
        await until(lambda: studio.upstream.count("DELETE") > 2)
        studio.upstream.on_delete = "gone"
        await until(lambda: studio.has_verdict("cancelled"))


async def test_a_refused_order_fails_and_is_not_sent_again(studio: Studio) -> None:
    studio.upstream.order_status = 400
    await studio.step()
    await studio.assert_released("engine_refused")
    assert studio.upstream.count("POST") == 1
    assert await studio.town.office.jobs.to_call_off("video", 10) == []


async def test_an_order_that_a_busy_provider_did_not_take_is_sent_again_later(studio: Studio) -> None:
    studio.upstream.order_status = 429
    await studio.step()
    view = await studio.view()
    assert (view.job.state, view.job.ordered) == ("queued", False)
    studio.upstream.order_status = 200
    await studio.step()
    studio.upstream.film.finish()
    await studio.step()
    assert (await studio.view()).job.state == "completed"


async def test_an_order_that_was_answered_with_an_error_may_have_been_taken_and_is_not_sent_again(studio: Studio) -> None:
    studio.upstream.order_status = 500
    await studio.step()
    for _ in range(2):
        await studio.step()
        assert await studio.is_in("unknown")
    assert studio.upstream.count("POST") == 1


async def test_an_order_that_is_taken_without_a_name_is_looked_up(studio: Studio) -> None:
    studio.upstream.order_body = {"status": "queued"}
    await studio.step()
    assert await studio.is_in("unknown")
    studio.upstream.film.finish()
    await studio.step()
    await studio.assert_charged_once()


async def test_a_worker_that_is_told_to_stop_hears_its_orders_answer_and_leaves_the_watch_to_another(studio: Studio) -> None:
    ordering, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        ordering.set()
        await go.wait()

    studio.upstream.on_order = wait
    worker = asyncio.create_task(studio.town.runner.run())
    await ordering.wait()
    worker.cancel()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await worker
    assert (await studio.view()).job.provider_job == studio.upstream.film.id
    studio.upstream.film.finish()
    async with working(studio.town):
        await until(lambda: studio.is_in("completed"))
    await studio.assert_charged_once()


async def test_a_hold_past_its_end_stays_while_the_provider_may_still_finish(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path, video_hold_ttl_s=1) as studio:
        await studio.step()
        await until(lambda: _is_overdue(studio))
        assert await studio.town.sweeper.sweep() == 0
        studio.upstream.film.finish()
        await studio.step()
        await studio.assert_charged_once()


async def _is_overdue(studio: Studio) -> bool:
    return (await studio.town.office.figures())["taximeter_holds_overdue"][1] == 1


async def test_a_finished_film_that_cannot_be_stored_is_fetched_again(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    await studio.step()
    studio.upstream.film.finish()

    async def full(_key: str, _data: bytes) -> None:
        raise OSError(28, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(studio.town.office.objects, "put", full)
        await studio.step()
    assert await studio.is_in("unknown")
    await studio.step()
    await studio.assert_charged_once()


async def test_the_rows_of_jobs_at_providers_are_consistent(studio: Studio, subtests: pytest.Subtests) -> None:
    wrong = {
        "a provider's job that was not ordered": "provider_job = 'x'",
        "an order without an end": "ordered_at = now()",
        "an end without an order": "provider_until = now()",
        "unknown and not ordered": "unknown_since = now(), unknown_reason = 'x'",
        "unknown and no reason": "ordered_at = now(), provider_until = now(), unknown_since = now()",
        "a verdict on nothing": "provider_verdict = 'failed'",
        "another verdict": "ordered_at = now(), provider_until = now(), provider_verdict = 'perhaps'",
    }
    for name, change in wrong.items():
        with subtests.test(name), pytest.raises(asyncpg.CheckViolationError):
            await studio.town.office.pool.execute(f"update jobs.jobs set {change}")  # noqa: S608 - from the list above
    assert await studio.is_in("queued")
