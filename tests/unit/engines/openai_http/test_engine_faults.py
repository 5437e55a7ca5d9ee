"""The OpenAI adapter against a real HTTP upstream that fails: what the caller is told."""

import gzip
import tracemalloc

import pytest

from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import Job, Started
from taximeter.engines.openai_http import OpenAIEngine, UpstreamLimits
from tests.support.mock_openai import MockOpenAI
from tests.support.openai_jobs import chat, collect, done_of, embed, failure_of
from tests.support.raw_upstream import EVENTS, RawUpstream, whole
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, EngineRefused),
        (404, EngineRefused),
        (422, EngineRefused),
        (429, EngineUnavailable),
        (503, EngineUnavailable),
        (402, EngineFailed),
        (409, EngineFailed),
        (500, EngineFailed),
        (502, EngineFailed),
        (302, EngineFailed),
    ],
)
async def test_each_status_becomes_the_right_error(
    engine: OpenAIEngine, upstream: MockOpenAI, status: int, kind: type[EngineError], *, stream: bool
) -> None:
    upstream.behaviour.status = status
    upstream.behaviour.error = {"message": "the  temperature\nis too high", "param": "temperature"}
    upstream.behaviour.headers = {"Retry-After": "7", "Location": "http://127.0.0.1:9/"}
    error = await failure_of(engine, chat(stream=stream))
    assert type(error) is kind
    assert len(upstream.requests) == 1
    if kind is EngineRefused:
        assert "the temperature is too high" in error.message
        assert error.param == "temperature"
    assert error.headers == ({"Retry-After": "7"} if kind is EngineUnavailable else {})


async def test_a_refused_upstream_key_is_the_operators_fault_and_is_not_shown() -> None:
    async with MockOpenAI(api_key="right") as locked:
        engine = OpenAIEngine("mock", locked.url, api_key="wrong-secret")
        error = await failure_of(engine, chat())
        with pytest.raises(EngineUnavailable, match="key"):
            await engine.check()
        await engine.close()
        assert type(error) is EngineFailed
        assert "operator's upstream key" in error.message
        assert "wrong-secret" not in error.message
        good = OpenAIEngine("mock", locked.url, api_key="right")
        assert done_of(await collect(good, chat())).measured
        await good.close()


@pytest.mark.parametrize("body", [b"", b"not json", b"[]", b'{"choices": 3}', b'{"choices": []}', b"\xff\xfe", b'{"choices": [1]}', b"[" * 100_000])
@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_is_no_answer_is_a_failure(engine: OpenAIEngine, upstream: MockOpenAI, body: bytes, *, stream: bool) -> None:
    upstream.behaviour.body = body
    assert type(await failure_of(engine, chat(stream=stream))) is EngineFailed


@pytest.mark.parametrize("job", [chat(stream=False), chat(), embed("a")])
async def test_an_error_inside_a_good_status_is_a_failure(engine: OpenAIEngine, upstream: MockOpenAI, job: Job) -> None:
    upstream.behaviour.error_inside = True
    upstream.behaviour.break_after = 3
    upstream.behaviour.error = {"message": "out of memory"}
    error = await failure_of(engine, job)
    assert type(error) is EngineFailed
    assert "out of memory" in error.message


async def test_a_broken_stream_fails_with_the_work_until_then(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.break_after = 3
    error = await failure_of(engine, chat())
    assert type(error) is EngineFailed
    assert error.work == {"prompt_tokens": 3, "cached_tokens": 0, "output_tokens": 3, "reasoning_tokens": 0}


async def test_a_stream_without_end_mark_or_reason_is_broken(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.error_inside = True
    upstream.behaviour.error = None
    upstream.behaviour.break_after = 2
    error = await failure_of(engine, chat())
    assert type(error) is EngineFailed
    assert error.work["output_tokens"] == 2


async def test_silence_ends_with_a_timeout_and_the_work_until_then(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.hang_after = 2
    error = await failure_of(engine, chat(deadline_s=0.3))
    assert type(error) is EngineTimeout
    assert error.work["output_tokens"] == 2
    await until(lambda: upstream.running == 0)


async def test_a_slow_plain_answer_ends_with_a_timeout(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.delay_s = 10
    assert type(await failure_of(engine, chat(stream=False, deadline_s=0.3))) is EngineTimeout
    await until(lambda: upstream.running == 0)


async def test_an_upstream_that_is_not_there_is_unavailable(upstream: MockOpenAI) -> None:
    url = upstream.url
    await upstream.stop()
    for base in (url, "http://no-such-host.invalid/v1"):
        engine = OpenAIEngine("mock", base)
        assert type(await failure_of(engine, chat())) is EngineUnavailable
        with pytest.raises(EngineUnavailable):
            await engine.check()
        await engine.close()


async def test_a_full_pool_is_unavailable(upstream: MockOpenAI) -> None:
    upstream.behaviour.hang_after = 1
    engine = OpenAIEngine("mock", upstream.url, limits=UpstreamLimits(connections=1, connect_s=0.1))
    first = engine.run(chat())
    assert isinstance(await anext(first), Started)
    assert type(await failure_of(engine, chat())) is EngineUnavailable
    await first.aclose()
    await engine.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_unpacks_to_more_than_the_limit_is_not_unpacked(*, stream: bool) -> None:
    small = gzip.compress(b" " * 40_000_000, 1)
    assert len(small) < 500_000
    async with RawUpstream() as upstream:
        upstream.script = (whole(small, EVENTS if stream else "application/json", Content_Encoding="gzip"),)
        engine = OpenAIEngine("mock", upstream.url, limits=UpstreamLimits(answer_bytes_max=500_000))
        tracemalloc.start()
        error = await failure_of(engine, chat(stream=stream))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        await engine.close()
    assert type(error) is EngineFailed
    assert peak < 20_000_000
