"""The engine host: who may use it, what it does when callers hang up, engines fail, and the operator stops it."""

import asyncio

import aiohttp
import msgspec
import pytest

from taximeter.engines import wire
from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.host import HostDesk, serve_host
from taximeter.engines.model import Done, Engine, Event, Job, Progress
from tests.support.engine_host import SECRET, StepEngine, hosted, remote, steps
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def outcome(engine: Engine, job: Job) -> list[Event] | EngineError:
    try:
        return [event async for event in engine.run(job)]
    except EngineError as error:
        return error


async def test_a_job_runs_on_the_host_as_it_would_here() -> None:
    engine = StepEngine()
    async with hosted([engine]) as (url, _stop):
        client = remote(engine, url)
        here = await outcome(StepEngine(), steps(3))
        assert await outcome(client, steps(3)) == here
        assert await client.check() == {"running": 0, "jobs": 0, "slots": 1}
        assert client.slots == 1
        await client.close()
    assert (engine.starts, engine.closed) == (1, True)


@pytest.mark.parametrize("secret", ["", "wrong", SECRET + "x", "é"])
@pytest.mark.parametrize("path", [wire.RUN_PATH, wire.CHECK_PATH])
async def test_without_the_secret_there_is_no_service(secret: str, path: str) -> None:
    engine = StepEngine()
    async with hosted([engine]) as (url, _stop), aiohttp.ClientSession() as session:
        method = "POST" if path == wire.RUN_PATH else "GET"
        body = msgspec.msgpack.encode(wire.RunOrder("steps", steps(1)))
        async with session.request(method, url + path, data=body, headers={wire.SECRET_HEADER: secret.encode().decode("latin-1")}) as answer:
            assert answer.status == 403
    assert engine.steps_done == 0


def test_a_host_without_a_secret_is_not_made() -> None:
    with pytest.raises(ValueError, match="secret"):
        HostDesk([], "")


@pytest.mark.parametrize(
    "fault", [EngineRefused("no", param="size"), EngineFailed("broke", work={"steps": 1}), EngineTimeout("late"), EngineUnavailable("full")]
)
async def test_an_engines_error_arrives_with_its_kind_and_work(fault: EngineError) -> None:
    engine = StepEngine(fault=fault)
    async with hosted([engine]) as (url, _stop):
        client = remote(engine, url)
        error = await outcome(client, steps(3))
        await client.close()
    assert isinstance(error, EngineError)
    assert (type(error), error.message, error.param, error.work) == (type(fault), fault.message, fault.param, fault.work)


@pytest.mark.parametrize("fault", [ZeroDivisionError("secret detail"), ConnectionResetError("secret detail")])
async def test_a_bug_in_an_engine_fails_its_job_and_nothing_else(fault: Exception, caplog: pytest.LogCaptureFixture) -> None:
    engine = StepEngine(fault=fault, fault_at=2)
    async with hosted([engine]) as (url, _stop):
        client = remote(engine, url)
        error = await outcome(client, steps(3))
        good = await outcome(client, steps(2))
        await client.close()
    assert isinstance(error, EngineFailed)
    assert "secret detail" not in error.message
    assert "secret detail" in caplog.text
    assert isinstance(good, list)


async def test_a_caller_that_hangs_up_stops_its_job_and_no_other() -> None:
    engine = StepEngine(step_s=0.01)
    async with hosted([engine]) as (url, _stop):
        client = remote(engine, url)
        other = asyncio.create_task(outcome(client, steps(60)))
        events = client.run(steps(100_000))
        async for event in events:
            if event == Progress(done=3, total=100_000):
                break
        await events.aclose()
        await until(lambda: engine.running == 1)
        finished = await other
        await client.close()
    assert isinstance(finished, list)
    assert engine.steps_done < 200


async def test_a_caller_that_hangs_up_between_events_stops_the_job() -> None:
    engine = StepEngine(step_s=3600)
    async with hosted([engine]) as (url, _stop):
        client = remote(engine, url)
        task = asyncio.create_task(outcome(client, steps(1)))
        await until(lambda: engine.running == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await until(lambda: engine.running == 0)
        await client.close()


async def test_stopping_the_host_cancels_jobs_and_tells_their_callers() -> None:
    engine = StepEngine(step_s=3600)
    async with hosted([engine], grace_s=2.0) as (url, stop):
        client = remote(engine, url)
        task = asyncio.create_task(outcome(client, steps(1)))
        await until(lambda: engine.running == 1)
        stop.set()
        async with asyncio.timeout(10.0):
            error = await task
        await client.close()
    assert isinstance(error, EngineFailed)
    assert "operator" in error.message
    assert (engine.running, engine.closed) == (0, True)


async def test_an_engine_that_cannot_start_leaves_the_others_working(caplog: pytest.LogCaptureFixture) -> None:
    ill = StepEngine(ill=EngineUnavailable("the model is missing"))
    ill.name = "ill"
    well = StepEngine()
    async with hosted([ill, well]) as (url, _stop):
        sick, fit = remote(ill, url), remote(well, url)
        with pytest.raises(EngineUnavailable, match="the model is missing"):
            await sick.check()
        assert isinstance(await outcome(fit, steps(1)), list)
        await sick.close()
        await fit.close()
    assert "the model is missing" in caplog.text


async def test_an_engine_the_host_does_not_have_is_unavailable() -> None:
    async with hosted([StepEngine()]) as (url, _stop):
        other = StepEngine()
        other.name = "other"
        client = remote(other, url)
        assert isinstance(await outcome(client, steps(1)), EngineUnavailable)
        with pytest.raises(EngineUnavailable):
            await client.check()
        await client.close()


async def test_an_order_that_cannot_be_read_is_turned_down() -> None:
    async with hosted([StepEngine()]) as (url, _stop), aiohttp.ClientSession(headers={wire.SECRET_HEADER: SECRET}) as session:
        for body in (b"", b"\xc1", msgspec.msgpack.encode({"engine": "steps"})):
            async with session.post(url + wire.RUN_PATH, data=body) as answer:
                assert answer.status == 400
        async with session.get(url + wire.CHECK_PATH) as answer:
            assert await answer.json() == {"engines": ["steps"], "running": 0}


async def test_a_taken_port_is_said_at_once() -> None:
    async with hosted([StepEngine()]) as (url, _stop):
        engine = StepEngine()
        with pytest.raises(OSError, match="address already in use"):
            await serve_host([engine], host="127.0.0.1", port=int(url.rsplit(":", 1)[1]), secret=SECRET, stop=asyncio.Event())
        assert engine.closed


async def test_jobs_run_side_by_side_without_mixing() -> None:
    engine = StepEngine(step_s=0.001)
    async with hosted([engine]) as (url, _stop):
        client = remote(engine, url)
        results = await asyncio.gather(*(outcome(client, steps(count, id=str(count))) for count in range(1, 21)))
        await client.close()
    for count, events in enumerate(results, 1):
        assert isinstance(events, list)
        assert len(events) == count + 1
        assert isinstance(events[-1], Done)
        assert events[-1].detail == {"id": str(count)}
