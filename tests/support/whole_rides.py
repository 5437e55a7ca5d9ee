"""A chat and a video from their order to their end."""

from uuid import UUID

from taximeter.engines import Chunk, Done, EngineFailed, Media
from taximeter.identity import Caller
from taximeter.kernel.ids import decode_id
from tests.support.tenants import Town

CHAT = (
    Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1),
    Done(work={"prompt_tokens": 10, "cached_tokens": 4, "output_tokens": 7, "reasoning_tokens": 0}, engine_ms=5),
)


async def ride_chat(town: Town, caller: Caller, *, fails: bool = False) -> UUID:
    town.engines["chat"].script = (EngineFailed("it broke"),) if fails else CHAT
    ride = await town.metering.open(town.order(caller))
    try:
        async for _ in ride.events():
            pass
    except EngineFailed:
        assert fails
    return ride.id


async def make_video(town: Town, caller: Caller, *, fails: bool = False, waits: bool = False) -> UUID:
    view = await town.videos.submit(town.order(caller, "video"))
    if not waits:
        job = await town.office.jobs.claim("video", town.office.settings.job_lease_s)
        assert job is not None
        request = job.payload["request"]
        work = {name: request[name] for name in ("steps", "frames", "width", "height")}
        done = Done(work={**work, "passes": request["steps"], "latent_tokens": 1}, engine_ms=12)
        town.engines["video"].script = (EngineFailed("it broke"),) if fails else (Media(data=b"ftyp"), done)
        await town.runner.run_job(job)
    video_id = decode_id("video", view.id)
    assert video_id is not None
    return video_id
