"""The order in which jobs are claimed: by class, then by what each tenant was given, and never more than an engine can do."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from taximeter.identity import Caller
from taximeter.jobs import Job
from taximeter.metering import VideoView
from tests.support.tenants import Town

pytestmark = pytest.mark.anyio


async def submit(town: Town, caller: Caller, tier: str = "auto", deadline_ms: int | None = None) -> VideoView:
    order = town.order(caller, "video", service_tier=tier)
    return await town.videos.submit(replace(order, deadline_ms=deadline_ms))


async def claim(town: Town, **slots: int) -> Job | None:
    return await town.office.jobs.claim("video", 30.0, {name.replace("_", "-"): most for name, most in slots.items()})


async def let_pass(town: Town, seconds: int) -> None:
    await town.office.pool.execute(
        "update jobs.jobs set created_at = created_at - $1::interval, urgent_at = urgent_at - $1::interval, deadline_at = deadline_at - $1::interval",
        timedelta(seconds=seconds),
    )


async def test_who_ordered_one_video_is_before_him_who_ordered_many(town: Town) -> None:
    heavy, light = await town.caller(), await town.caller()
    flood = [await submit(town, heavy) for _ in range(4)]
    late = await submit(town, light)
    came = [job.id for _ in range(5) if (job := await claim(town)) is not None]
    assert came.index(late.job.id) == 1
    assert [one for one in came if one != late.job.id] == [view.job.id for view in flood]


async def test_of_many_workers_at_once_no_more_have_a_job_than_the_engine_has_slots(town: Town) -> None:
    caller = await town.caller("5000")
    for _ in range(8):
        await submit(town, caller)
    claimed = await asyncio.gather(*(claim(town, demo_video=3) for _ in range(20)))
    assert len({job.id for job in claimed if job is not None}) == sum(job is not None for job in claimed) == 3
    # Without slots every worker may have one.
    assert await claim(town) is not None


async def test_a_job_that_is_put_back_keeps_its_turn_and_is_counted_once(town: Town) -> None:
    caller, other = await town.caller(), await town.caller()
    first = await submit(town, caller)
    await submit(town, other)
    tags = []
    for _ in range(3):
        job = await claim(town, demo_video=1)
        assert job is not None
        tags.append(await town.office.pool.fetchval("select tag from admission.pool_tenants where tenant = $1", caller.project_id))
        if job.id != first.job.id:
            break
        assert await town.office.jobs.release(job)
    assert len(set(tags)) == 1


async def test_a_job_whose_worker_died_is_taken_over_before_others_and_needs_no_slot(town: Town) -> None:
    caller = await town.caller()
    first = await submit(town, caller)
    await submit(town, caller)
    assert await town.office.jobs.claim("video", 0.01, {"demo-video": 1}) is not None
    await asyncio.sleep(0.02)
    again = await claim(town, demo_video=1)
    assert again is not None
    assert (again.id, again.attempt) == (first.job.id, 2)


async def test_a_long_job_leaves_the_last_of_several_slots_to_a_short_one(town: Town) -> None:
    caller = await town.caller("5000")
    long = [await submit(town, caller) for _ in range(3)]
    await town.office.pool.execute("update jobs.jobs set long = true")
    short = await submit(town, caller)
    claimed = [await claim(town, demo_video=2) for _ in range(3)]
    assert [job.id if job else None for job in claimed] == [long[0].job.id, short.job.id, None]


async def test_batch_work_goes_up_in_time_and_at_once_when_its_deadline_leaves_no_more(town: Town) -> None:
    caller, other = await town.caller("5000"), await town.caller("5000")
    patient = await submit(town, caller, "batch")
    urgent = await submit(town, caller, "batch", deadline_ms=town.office.desk.clock.now_ms() + 1_000_000)
    for _ in range(3):
        await submit(town, other, "priority")
    await let_pass(town, 970)
    claimed = [await claim(town) for _ in range(5)]
    ids = [job.id for job in claimed if job is not None]
    # By its class it is now among the first, by its tenant's tag one of them; the other batch job is still the last.
    assert ids.index(urgent.job.id) <= 1
    assert ids[-1] == patient.job.id


async def test_what_a_job_did_not_consume_is_given_back_to_its_tenants_tag(town: Town) -> None:
    caller = await town.caller()
    view = await submit(town, caller)
    assert await claim(town) is not None
    before = await town.office.pool.fetchval("select tag from admission.pool_tenants")
    await town.videos.delete(caller, view.id)
    after = await town.office.pool.fetchval("select tag from admission.pool_tenants")
    assert after < before
