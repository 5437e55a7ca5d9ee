"""The video engine as the platform sees it: events, bounds, cancelling, failing."""

import asyncio
import io
import threading
from typing import Any

import av
import pytest

from taximeter.engines.demo.video import MODEL, DemoVideo
from taximeter.engines.demo.video.clip import Clip
from taximeter.engines.errors import EngineFailed, EngineRefused, EngineUnavailable
from taximeter.engines.model import Done, Engine, Event, Job, Media, Progress, Started
from taximeter.kernel.clock import ManualClock, SystemClock
from taximeter.meters import get

pytestmark = pytest.mark.anyio


def job(bound: dict[str, int] | None = None, *, deadline_s: float = 60, **changes: Any) -> Job:  # noqa: ANN401 - wrong types are tried too
    request: dict[str, Any] = {"prompt": "a cat", "width": 128, "height": 96, "frames": 6, "fps": 6, "steps": 4, "seed": 5} | changes
    return Job(id="job", modality="video", model=MODEL, request=request, bound=bound or {}, deadline_s=deadline_s)


async def collect(engine: DemoVideo, order: Job) -> list[Event]:
    return [event async for event in engine.run(order)]


def film(events: list[Event]) -> bytes:
    return b"".join(event.data for event in events if isinstance(event, Media))


def frames_of(data: bytes) -> int:
    with av.open(io.BytesIO(data), "r") as container:
        return len(list(container.decode(video=0)))


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for every pass that really ran."""
    ran: list[int] = []
    refine = Clip.refine

    def counted(clip: Clip) -> None:
        refine(clip)
        ran.append(1)

    monkeypatch.setattr(Clip, "refine", counted)
    return ran


async def test_a_job_reports_each_step_then_the_film_then_its_work() -> None:
    engine: Engine = DemoVideo(SystemClock())
    events = [event async for event in engine.run(job())]
    assert isinstance(events[0], Started)
    assert [event for event in events if isinstance(event, Progress)] == [Progress(step, 4) for step in (1, 2, 3, 4)]
    done = events[-1]
    assert isinstance(done, Done)
    assert done.work == {"steps": 4, "passes": 4, "frames": 6, "width": 128, "height": 96, "latent_tokens": 6 * 8 * 6, "activations": 1}
    assert done.measured
    assert not done.truncated
    assert done.detail["scene"]["drawn"] == {"cat": 1}
    assert done.detail["seed"] == 5
    assert frames_of(film(events)) == 6


async def test_only_the_first_film_after_a_start_pays_for_loading() -> None:
    engine = DemoVideo(SystemClock())
    dones = [(await collect(engine, job()))[-1] for _ in range(3)]
    assert [done.work["activations"] for done in dones if isinstance(done, Done)] == [1, 0, 0]
    asked = {"prompt": "a cat", "size": "128x96"}
    profile = {"sizes": ["128x96"], "default_size": "128x96", "default_fps": 6, "default_steps": 4}
    meter = get("video.frames/1")
    estimate = meter.estimate(asked, profile)
    charged = [meter.actual(done.work, estimate, profile)["activations"] for done in dones if isinstance(done, Done)]
    assert (charged, estimate.maximum["activations"]) == ([1, 0, 0], 1)


async def test_the_bound_is_never_exceeded(passes: list[int]) -> None:
    events = await collect(DemoVideo(SystemClock()), job({"steps": 2, "frames": 3}))
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.work["steps"], done.work["frames"]) == (2, 3)
    assert done.truncated
    assert len(passes) == 2
    assert frames_of(film(events)) == 3


async def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    engine = DemoVideo(SystemClock())
    first, again, other = [film(await collect(engine, job(seed=seed))) for seed in (5, 5, 6)]
    assert first == again
    assert first != other


async def test_closing_stops_before_the_next_step(passes: list[int]) -> None:
    engine = DemoVideo(SystemClock())
    events = engine.run(job(steps=50))
    async for event in events:
        if event == Progress(3, 50):
            break
    await events.aclose()
    assert len(passes) == 3
    # The engine is free for the next job.
    assert isinstance((await collect(engine, job()))[-1], Done)


async def test_cancelling_in_the_middle_of_a_step_ends_it_and_frees_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = threading.Event()
    check = Clip._check

    def held(clip: Clip) -> None:
        entered.set()
        clip._stop.wait()
        check(clip)

    monkeypatch.setattr(Clip, "_check", held)
    engine = DemoVideo(SystemClock())
    task = asyncio.create_task(collect(engine, job()))
    await asyncio.to_thread(entered.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    monkeypatch.setattr(Clip, "_check", check)
    assert isinstance((await collect(engine, job()))[-1], Done)


async def test_jobs_wait_for_each_other() -> None:
    engine = DemoVideo(SystemClock(), parallel=1)
    first = engine.run(job())
    assert isinstance(await anext(first), Started)
    assert isinstance(await anext(first), Progress)
    second = engine.run(job())
    assert isinstance(await anext(second), Started)
    waiting = asyncio.ensure_future(anext(second))
    assert isinstance(await anext(first), Progress)
    assert not waiting.done()
    await first.aclose()
    assert isinstance(await waiting, Progress)
    await second.aclose()


async def test_a_missing_encoder_fails_the_job_and_the_health_check() -> None:
    engine = DemoVideo(SystemClock(), encoders=("no-such-encoder",))
    with pytest.raises(EngineFailed, match="no-such-encoder") as caught:
        await collect(engine, job())
    assert caught.value.work["steps"] == 0
    with pytest.raises(EngineUnavailable):
        await engine.check()


async def test_an_encoder_for_another_format_fails_with_the_work_done_so_far() -> None:
    # MP4 does not hold ProRes, so this fails where a broken encoder would: after the passes.
    with pytest.raises(EngineFailed, match="could not be encoded with prores_ks") as caught:
        await collect(DemoVideo(SystemClock(), encoders=("prores_ks",)), job())
    assert (caught.value.work["steps"], caught.value.work["passes"]) == (4, 4)


async def test_a_passed_deadline_ends_the_job_with_the_work_done_so_far() -> None:
    clock = ManualClock()
    events = DemoVideo(clock).run(job(deadline_s=10))
    while await anext(events) != Progress(2, 4):
        pass
    clock.advance(11)
    with pytest.raises(EngineFailed, match="within 10 s") as caught:
        await anext(events)
    assert caught.value.work["steps"] == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 127},
        {"height": 32},
        {"frames": 0},
        {"steps": 0},
        {"steps": "8"},
        {"fps": True},
        {"prompt": 5},
        {"width": 1920, "height": 1080, "frames": 400},
    ],
)
async def test_what_cannot_be_drawn_is_refused_before_anything_runs(changes: dict[str, Any], passes: list[int]) -> None:
    with pytest.raises(EngineRefused):
        await collect(DemoVideo(SystemClock()), job(**changes))
    assert passes == []


@pytest.mark.parametrize("prompt", ["", "   ", "\0", "😀😀", "x" * 5000, "猫" * 500])
async def test_odd_prompts_still_make_a_film(prompt: str) -> None:
    assert isinstance((await collect(DemoVideo(SystemClock()), job(prompt=prompt, steps=1, frames=1)))[-1], Done)


async def test_the_health_check_names_the_encoder_and_close_ends_the_engine() -> None:
    engine = DemoVideo(SystemClock())
    assert (await engine.check())["encoder"] in ("libopenh264", "libx264")
    assert (engine.name, engine.modalities) == ("demo-video", frozenset({"video"}))
    await engine.close()
