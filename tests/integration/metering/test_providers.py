"""Videos that a provider makes: ordered once, on record before anybody waits, and unknown while there is no answer."""

from pathlib import Path

import pytest

from taximeter import engines
from taximeter.engines import Started
from taximeter.kernel.ids import encode_id
from taximeter.metering import VideoView
from tests.support.studio import Studio, open_studio, working
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_a_video_is_ordered_watched_fetched_and_charged(studio: Studio) -> None:
    async with working(studio.town):
        await until(lambda: bool(studio.upstream.films))
        studio.upstream.film.status, studio.upstream.film.progress = "in_progress", 40
        await until(lambda: studio.upstream.count("GET") > 2)
        studio.upstream.film.finish()
        await until(lambda: studio.is_in("completed"))
    await studio.assert_charged_once()
    fields, headers = studio.upstream.orders[0]
    assert (fields["model"], fields["prompt"], fields["size"], fields["seconds"]) == ("sketch-video", "a red sun", "640x360", "1")
    assert headers["Idempotency-Key"] == fields["metadata[taximeter_request]"]
    # Nobody counted the steps: the receipt says so.
    assert (await studio.view()).receipt.measured is False
    assert (await studio.view()).job.provider_verdict == "completed"


async def test_that_an_order_goes_out_is_on_record_before_it_does_and_its_name_before_it_is_waited_for(studio: Studio) -> None:
    seen: list[tuple[bool, str | None]] = []

    async def look() -> None:
        row = await studio.town.office.pool.fetchrow("select ordered_at is not null as ordered, provider_job from jobs.jobs")
        seen.append((row["ordered"], row["provider_job"]))

    studio.upstream.on_order = look
    await studio.step()
    assert seen == [(True, None)]
    assert studio.upstream.count("GET") == 0
    view = await studio.view()
    assert (view.job.state, view.job.ordered, view.job.provider_job) == ("in_progress", True, studio.upstream.film.id)
    studio.upstream.film.finish()
    await studio.step()
    await studio.assert_charged_once()


async def test_a_worker_that_orders_is_free_for_the_next_video_at_once(studio: Studio) -> None:
    other = await studio.town.videos.submit(studio.town.order(studio.caller, "video"))
    async with working(studio.town):
        await until(lambda: len(studio.upstream.films) == 2)
        for film in studio.upstream.films.values():
            film.finish()
        await until(lambda: studio.is_in("completed"))
        await until(lambda: _is_completed(studio, other))


async def _is_completed(studio: Studio, view: VideoView) -> bool:
    return (await studio.town.videos.find(studio.caller, view.id)).job.state == "completed"


async def test_a_worker_that_dies_while_it_waits_is_replaced_without_a_second_order(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path, job_lease_s=0.3) as studio:
        await studio.step()
        claimed = await studio.town.office.jobs.claim_ordered("video", 0.3)
        # It dies with the claim: nothing is put back, the lease runs out.
        assert claimed is not None
        studio.upstream.film.finish()
        second = await studio.step()
        assert second.attempt == claimed[0].attempt + 1
        await studio.assert_charged_once()


async def test_workers_that_keep_dying_while_they_wait_do_not_end_what_the_provider_makes(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path, video_attempts_max=1) as studio:
        await studio.step()
        for _ in range(4):
            await until(lambda: _claimed(studio))
        studio.upstream.film.finish()
        await studio.step()
        await studio.assert_charged_once()


async def _claimed(studio: Studio) -> bool:
    return await studio.town.office.jobs.claim_ordered("video", 0.01) is not None


async def test_a_worker_that_dies_right_after_its_order_leaves_a_job_that_is_found_and_not_ordered_again(studio: Studio) -> None:
    await _order_and_die(studio)
    studio.upstream.film.finish()
    await studio.step()
    await studio.assert_charged_once()


async def _order_and_die(studio: Studio) -> None:
    """The order is taken, and the worker is gone before it hears the answer."""
    job = await studio.town.office.jobs.claim("video", 0.01)
    assert job is not None
    assert await studio.town.office.jobs.mark_ordered(job, studio.town.office.settings.provider_max_s)
    payload = job.payload
    order = engines.Job(
        id=encode_id("req", job.id), modality="video", model="sketch", request=payload["request"], bound=payload["bound"], deadline_s=5
    )
    run = studio.town.office.desk.engines["demo-video"].run(order)
    assert [type(await anext(run)) for _ in range(2)] == [Started, Started]
    assert len(studio.upstream.films) == 1


async def test_an_order_whose_answer_is_lost_is_unknown_until_it_is_found(studio: Studio) -> None:
    studio.upstream.lose_answer = True
    await studio.step()
    view = await studio.view()
    assert (view.job.state, view.job.provider_job) == ("unknown", None)
    assert (await studio.town.wallet(studio.caller))["held"] != "0"
    studio.upstream.film.finish()
    await studio.step()
    await studio.assert_charged_once()


async def test_no_answer_is_no_verdict_and_a_late_success_is_charged_once(studio: Studio) -> None:
    """B17: eliza 11862, openhuman 5411: a poll that timed out was taken for a failure, and refunded or ordered again."""
    await studio.step()
    studio.upstream.silent = True
    await studio.step()
    view = await studio.view()
    assert view.job.state == "unknown"
    shown = view.to_api()
    assert (shown["status"], shown["error"], shown["taximeter"]["state"]) == ("in_progress", None, "unknown")
    assert (await studio.town.wallet(studio.caller))["held"] != "0"
    assert (await studio.figure("unknown"), await studio.figure("at_providers")) == (1, 1)
    await until(lambda: _oldest_is_older_than(studio, 0.01))
    (listed,) = await studio.town.videos.at_providers("unknown", None, 10)
    assert (listed.to_api()["provider_job"], listed.to_api()["state"]) == (studio.upstream.film.id, "unknown")
    studio.upstream.silent = False
    studio.upstream.film.finish()
    await studio.step()
    await studio.assert_charged_once()
    assert await studio.figure("unknown") == 0


async def _oldest_is_older_than(studio: Studio, seconds: float) -> bool:
    return await studio.figure("unknown_oldest_s") > seconds


async def test_a_provider_that_answers_with_an_error_has_given_no_verdict(studio: Studio) -> None:
    await studio.step()
    for status in (500, 502, 401, 429):
        studio.upstream.ask_status = status
        await studio.step()
        assert await studio.is_in("unknown")
    studio.upstream.ask_status = 200
    studio.upstream.film.finish()
    await studio.step()
    await studio.assert_charged_once()


async def test_an_answer_makes_an_unknown_job_known_again(studio: Studio) -> None:
    await studio.step()
    studio.upstream.silent = True
    await studio.step()
    studio.upstream.silent = False
    studio.upstream.film.status, studio.upstream.film.progress = "in_progress", 70
    async with working(studio.town):
        await until(lambda: studio.is_in("in_progress"))
        studio.upstream.film.finish()
        await until(lambda: studio.is_in("completed"))
    await studio.assert_charged_once()


async def test_a_verdict_ends_an_unknown_job_and_costs_nothing(studio: Studio) -> None:
    """B18: a failed video was still charged."""
    await studio.step()
    studio.upstream.silent = True
    await studio.step()
    studio.upstream.silent = False
    studio.upstream.film.status, studio.upstream.film.error = "failed", {"message": "the prompt is against the rules"}
    await studio.step()
    await studio.assert_released("engine_failed")
    view = await studio.view()
    assert "against the rules" in str(view.job.error_message)
    assert view.job.provider_verdict == "failed"


async def test_our_own_time_limit_is_no_verdict_either(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path, video_timeout_s=0.3) as studio:
        await studio.step()
        await studio.step()
        # It answered, so its state is known: it is put down, for others that are due, and asked about again.
        assert await studio.is_in("in_progress")
        assert (await studio.town.wallet(studio.caller))["held"] != "0"
        studio.upstream.film.finish()
        await studio.step()
        await studio.assert_charged_once()


async def test_an_order_that_nobody_can_find_is_released_at_the_end_of_the_providers_time(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path, provider_max_s=1) as studio:
        studio.upstream.lose_answer = True
        studio.upstream.keeps_metadata = False
        async with working(studio.town):
            await until(lambda: studio.is_in("unknown"))
            assert (await studio.town.wallet(studio.caller))["held"] != "0"
            await until(lambda: studio.is_in("failed"))
            await until(lambda: studio.has_verdict("none"))
        await studio.assert_released("engine_timeout")
        assert studio.upstream.count("POST") == 1
        assert (await studio.figure("never_known"), await studio.figure("unpaid")) == (1, 0)
        (listed,) = await studio.town.videos.at_providers("never_known", None, 10)
        assert (listed.to_api()["id"], listed.to_api()["provider_verdict"]) == (studio.video.id, "none")


async def test_a_provider_that_never_ends_is_called_off_at_the_end_of_its_time(database_url: str, tmp_path: Path) -> None:
    async with open_studio(database_url, tmp_path, provider_max_s=1) as studio, working(studio.town):
        await until(lambda: studio.is_in("failed"))
        await until(lambda: studio.has_verdict("cancelled"))
        assert studio.upstream.films == {}
        await studio.assert_released("engine_timeout")


async def test_a_database_that_goes_away_around_an_order_neither_loses_nor_doubles_it(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = studio.town.office.jobs
    lost: list[str] = []

    def once(name: str) -> None:
        """The statement takes effect, and its answer is lost the first time."""
        method = getattr(jobs, name)

        async def flaky(*arguments: object) -> object:
            result = await method(*arguments)
            if name not in lost:
                lost.append(name)
                message = "the connection is gone"
                raise ConnectionError(message)
            return result

        monkeypatch.setattr(jobs, name, flaky)

    once("mark_ordered")
    once("record_provider_job")
    job = await jobs.claim("video", 5)
    assert job is not None
    runner = studio.town.runner
    await runner.run_job(job)
    assert lost == ["mark_ordered", "record_provider_job"]
    assert (await studio.view()).job.provider_job == studio.upstream.film.id
    studio.upstream.film.finish()
    await studio.step()
    await studio.assert_charged_once()
