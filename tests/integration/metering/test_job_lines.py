"""The lines in which jobs wait: engines take turns, nobody's backlog grows old against a newcomer, and a deadline is kept or ends the wait."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taximeter.admission.fairness import DeadlinePassed
from taximeter.db.pool import connect_owner
from taximeter.engines import Done, Media, Progress
from taximeter.identity import Caller
from taximeter.jobs import Job
from taximeter.metering import VideoView
from tests.integration.metering.test_fair_jobs import let_pass, submit
from tests.support.scripted_engine import ScriptedEngine
from tests.support.studio import working
from tests.support.surges import set_price
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

WORK = {"steps": 20, "frames": 16, "width": 640, "height": 360, "passes": 20, "latent_tokens": 1}
SCRIPT = (Progress(done=1, total=2), Media(data=b"ftyp"), Done(work=WORK))
CALM_S = 43_200.0


@pytest.fixture
async def rush(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, tmp_path, surge=True) as town:
        yield town


def add_engine(town: Town) -> ScriptedEngine:
    """Another film maker, with a model of its own that is called ``other``."""
    desk, other = town.office.desk, ScriptedEngine("other-video", "video")
    other.script = SCRIPT
    desk.engines = {**desk.engines, other.name: other}
    model = dataclasses.replace(desk.catalog.models["sketch-video"], name="other", engine=other.name)
    desk.catalog = dataclasses.replace(desk.catalog, models={**desk.catalog.models, "other": model})
    return other


async def submit_other(town: Town, caller: Caller) -> VideoView:
    return await town.videos.submit(dataclasses.replace(town.order(caller, "video"), model="other"))


async def claim(town: Town, slots: int = 9) -> Job | None:
    return await town.office.jobs.claim("video", 30.0, {"demo-video": slots, "other-video": slots}, calm_s=CALM_S)


async def position(town: Town, caller: Caller, view: VideoView) -> object:
    return ((await town.videos.find(caller, view.id)).queue or {})["position"]


async def test_a_newcomer_is_next_behind_a_backlog_of_any_age(town: Town) -> None:
    heavy, light = await town.caller("100000"), await town.caller()
    flood = [await submit(town, heavy) for _ in range(5)]
    assert await claim(town) is not None
    await let_pass(town, 7_200)
    newcomer = await submit(town, light)
    assert await position(town, light, newcomer) == 1
    assert await position(town, heavy, flood[1]) == 2
    job = await claim(town)
    assert job is not None
    assert job.id == newcomer.job.id


async def test_a_job_whose_deadline_leaves_no_more_time_does_not_wait_for_the_calm(rush: Town) -> None:
    caller, now_ms = await rush.caller("100000"), rush.office.desk.clock.now_ms()
    patient = await submit(rush, caller, "batch", deadline_ms=now_ms + 7_200_000)
    urgent = await submit(rush, caller, "batch", deadline_ms=now_ms + 1_000_000)
    await set_price(rush.office, "demo-video", 150)
    assert await claim(rush) is None
    await let_pass(rush, 970)
    told = (await rush.videos.find(caller, urgent.id)).queue or {}
    assert (told["position"], "waits_for_calm_until" in told) == (1, False)
    job = await claim(rush)
    assert job is not None
    assert job.id == urgent.job.id
    assert await claim(rush) is None
    # It waits for the calm no longer than until its own deadline leaves no more time.
    told = (await rush.videos.find(caller, patient.id)).queue or {}
    urgent_at = await rush.office.pool.fetchval("select urgent_at from jobs.jobs where id = $1", patient.job.id)
    assert told["waits_for_calm_until"] == urgent_at.isoformat()


async def test_of_urgent_jobs_the_one_with_the_nearest_deadline_is_first(town: Town) -> None:
    caller, now_ms = await town.caller("100000"), town.office.desk.clock.now_ms()
    views = [await submit(town, caller, "batch", deadline_ms=now_ms + seconds * 1000) for seconds in (1_210, 1_200, 1_205)]
    # A minute before their deadlines they are urgent; half a minute is left for this machine to claim them.
    await let_pass(town, 1_165)
    claimed = [await claim(town) for _ in range(3)]
    assert [job.id for job in claimed if job is not None] == [views[number].job.id for number in (1, 2, 0)]


async def test_engines_take_turns_however_long_each_has_worked(town: Town) -> None:
    add_engine(town)
    old, new = await town.caller("100000"), await town.caller("100000")
    views = {view.job.id: name for _ in range(4) for name, view in (("old", await submit(town, old)), ("new", await submit_other(town, new)))}
    owner = await connect_owner(town.office.settings.database_url)
    await owner.execute("update admission.pools set virtual = 1000000000000, highest = 1000000000000 where name = 'demo-video'")
    await owner.execute("update admission.pool_tenants set tag = 1000000000000 where pool = 'demo-video'")
    await owner.close()
    came = [views[job.id] for _ in range(8) if (job := await claim(town)) is not None]
    assert [came[turn] != came[turn + 1] for turn in range(7)] == [True] * 7


async def test_an_hour_of_film_made_here_keeps_no_order_to_a_provider_waiting(town: Town) -> None:
    provider, here = add_engine(town), town.engines["video"]
    provider.orders = True  # type: ignore[attr-defined]
    finished = asyncio.Event()
    here.script = (finished, *SCRIPT)
    caller = await town.caller("5000")
    films = [await submit(town, caller) for _ in range(2)]
    ordered = await submit_other(town, caller)

    async def is_made(view: VideoView) -> bool:
        return (await town.videos.find(caller, view.id)).job.state == "completed"

    async with working(town):
        await here.running.wait()
        await until(lambda: is_made(ordered))
        assert len(here.jobs) == 1
        finished.set()
        await until(lambda: is_made(films[1]))
    await town.assert_books_agree()


async def test_a_job_that_was_not_begun_by_its_deadline_is_released(town: Town) -> None:
    caller, now_ms = await town.caller("5000"), town.office.desk.clock.now_ms()
    begun = await submit(town, caller, "batch", deadline_ms=now_ms + 1_000_000)
    assert await claim(town) is not None
    late = await submit(town, caller, "batch", deadline_ms=now_ms + 1_000_000)
    whenever = await submit(town, caller, "batch")
    await let_pass(town, 1_001)
    assert await town.office.jobs.claim("video", 30.0, {"demo-video": 1}) is None
    job = await town.office.jobs.claim_late("video", 30.0)
    assert job is not None
    assert job.id == late.job.id
    await town.runner.give_up_late(job)
    view = await town.videos.find(caller, late.id)
    assert (view.job.state, view.job.error_code, view.receipt.outcome, view.receipt.charged_utok) == ("failed", "deadline_passed", "failed", 0)
    assert await town.office.jobs.claim_late("video", 30.0) is None
    assert [(await town.videos.find(caller, other.id)).job.state for other in (begun, whenever)] == ["in_progress", "queued"]
    await town.assert_books_agree()


async def test_a_deadline_in_the_past_is_refused_in_every_tier(town: Town) -> None:
    caller, past_ms = await town.caller(), town.office.desk.clock.now_ms() - 1
    for tier in ("auto", "batch"):
        with pytest.raises(DeadlinePassed):
            await submit(town, caller, tier, deadline_ms=past_ms)
    with pytest.raises(DeadlinePassed):
        await town.metering.open(dataclasses.replace(town.order(caller), deadline_ms=past_ms))
    assert await town.open_holds() == 0


async def test_where_organisations_are_tenants_their_projects_share_one_line(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path, queue_tenant="organisation") as town:
        caller, other = await town.caller("5000"), await town.caller("5000")
        lines = [await submit(town, caller), await submit(town, other)]
        await claim(town)
        found = await town.office.pool.fetch("select tenant from admission.pool_tenants")
        assert {row["tenant"] for row in found} == {caller.organisation_id, other.organisation_id}
        assert await position(town, other, lines[1]) == 1
