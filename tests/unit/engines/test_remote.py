"""The client of an engine host: hosts that are not there, go away, come back, fall silent or talk nonsense."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from taximeter.engines import wire
from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Done, Event, Job, Progress
from taximeter.engines.remote import RemoteEngine
from tests.support.engine_host import SECRET, StepEngine, hosted, steps
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def answering(parts: list[bytes], *, status: int = 200, cut: bool = False, hang: bool = False) -> AsyncIterator[RemoteEngine]:
    """A client of a host that answers every job with these bytes."""

    async def run(request: web.Request) -> web.StreamResponse:
        await request.read()
        answer = web.StreamResponse(status=status)
        await answer.prepare(request)
        for part in parts:
            await answer.write(part)
        if hang:
            await asyncio.Event().wait()
        if cut and request.transport is not None:
            request.transport.abort()
        return answer

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", run)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = RemoteEngine("steps", f"http://127.0.0.1:{runner.addresses[0][1]}", secret=SECRET)
    try:
        yield client
    finally:
        await client.close()
        await runner.cleanup()


async def failure(client: RemoteEngine, job: Job) -> EngineError:
    with pytest.raises(EngineError) as caught:
        async for _event in client.run(job):
            pass
    return caught.value


async def test_a_host_that_is_not_there_is_unavailable_and_used_again_when_it_is_back() -> None:
    async with hosted([StepEngine()]) as (url, _stop):
        client = RemoteEngine("steps", url, secret=SECRET)
        assert [type(event) async for event in client.run(steps(1))] == [Progress, Done]
    assert type(await failure(client, steps(1))) is EngineUnavailable
    with pytest.raises(EngineUnavailable):
        await client.check()
    port = int(url.rsplit(":", 1)[1])
    async with answering([]) as other:
        assert other is not client
    runner = await _host_again(port)
    assert [type(event) async for event in client.run(steps(1))] == [Done]
    await runner.cleanup()
    await client.close()


async def _host_again(port: int) -> web.AppRunner:
    async def run(_request: web.Request) -> web.Response:
        return web.Response(body=wire.pack(Done(work={"steps": 1})))

    app = web.Application()
    app.router.add_post(wire.RUN_PATH, run)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    return runner


@pytest.mark.parametrize("cut", [True, False])
async def test_a_host_that_goes_away_in_the_middle_is_a_failure(*, cut: bool) -> None:
    async with answering([wire.pack(Progress(done=1, total=2)), b"\x00\x00"], cut=cut) as client:
        assert type(await failure(client, steps(2))) is EngineFailed


async def test_a_host_that_falls_silent_is_a_timeout() -> None:
    async with answering([wire.pack(Progress(done=1, total=2))], hang=True) as client:
        assert type(await failure(client, steps(2, deadline_s=0.2))) is EngineTimeout


async def test_a_host_that_talks_nonsense_is_a_failure() -> None:
    async with answering([b"<html>hello</html>"]) as client:
        assert type(await failure(client, steps(2))) is EngineFailed
        with pytest.raises(EngineUnavailable):
            await client.check()


async def test_a_wrong_secret_is_unavailable() -> None:
    async with hosted([StepEngine()]) as (url, _stop):
        client = RemoteEngine("steps", url, secret="wrong")
        assert type(await failure(client, steps(1))) is EngineUnavailable
        with pytest.raises(EngineUnavailable):
            await client.check()
        await client.close()


async def test_a_number_that_does_not_fit_the_wire_is_refused() -> None:
    async with hosted([StepEngine()]) as (url, _stop):
        client = RemoteEngine("steps", url, secret=SECRET)
        job = Job(id="job", modality="video", model="steps", request={"seed": 2**80}, bound={"steps": 1}, deadline_s=1)
        assert type(await failure(client, job)) is EngineRefused
        await client.close()


async def test_closing_the_client_ends_its_jobs() -> None:
    engine = StepEngine(step_s=3600)
    async with hosted([engine]) as (url, _stop):
        client = RemoteEngine("steps", url, secret=SECRET)
        events: AsyncGenerator[Event] = client.run(steps(1))
        task = asyncio.create_task(anext(events))
        await until(lambda: engine.running == 1)
        await client.close()
        with pytest.raises(EngineError):
            await task
        await until(lambda: engine.running == 0)
