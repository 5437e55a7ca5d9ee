"""A process of its own that a test kills: it rides or makes a video, and says on its output how far it is.

It waits for a line on its input before the engine ends, so that the test can take the database away in between.
"""

import asyncio
import sys
from pathlib import Path

from taximeter.engines import Chunk, Done, Media
from taximeter.kernel.ids import encode_id
from taximeter.metering import Receipt
from tests.support.tenants import Town, open_town

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


async def hear(go: asyncio.Event) -> None:
    await asyncio.to_thread(sys.stdin.readline)
    go.set()


async def ride(town: Town) -> None:
    caller = await town.caller("1000")
    go = asyncio.Event()
    town.engines["chat"].script = (go, TEXT, REPORT)
    started = await town.metering.open(town.order(caller))
    say("held", caller.project_id, encode_id("rcp", started.id))
    hearing = asyncio.create_task(hear(go))
    async for item in started.events():
        if isinstance(item, Receipt):
            say(item.settlement, item.charged_utok)
    await hearing


async def make_video(town: Town) -> None:
    caller = await town.caller("1000")
    view = await town.videos.submit(town.order(caller, "video"))
    job = await town.office.jobs.claim("video", town.office.settings.job_lease_s)
    assert job is not None
    go = asyncio.Event()
    request = job.payload["request"]
    work = {**{name: request[name] for name in ("steps", "frames", "width", "height")}, "passes": request["steps"], "latent_tokens": 1}
    town.engines["video"].script = (go, Media(data=b"ftyp"), Done(work=work))
    say("held", caller.project_id, view.id)
    hearing = asyncio.create_task(hear(go))
    running = asyncio.create_task(town.runner.run_job(job))
    while not (await town.office.figures())["taximeter_spool_entries"][1]:
        await asyncio.sleep(0.02)
    say("pending", 0)
    await asyncio.gather(running, hearing)


async def main(kind: str, database_url: str, home: str) -> None:
    async with open_town(database_url, Path(home), settle_patience_s=0.2) as town:
        await {"ride": ride, "video": make_video}[kind](town)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
