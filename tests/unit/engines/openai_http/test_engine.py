"""The OpenAI adapter against a real HTTP upstream: what it asks for, counts and stops."""

import asyncio
import json

import msgspec
import pytest

from taximeter.engines.errors import EngineFailed, EngineRefused, EngineUnavailable
from taximeter.engines.model import Chunk, Done, Started, Vectors
from taximeter.engines.openai_http import OpenAIEngine
from tests.support.mock_openai import MockOpenAI, mock_vector
from tests.support.openai_jobs import chat, collect, done_of, embed, failure_of, text_of
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_a_stream_yields_every_delta_and_ends_with_the_upstreams_usage(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.cached_tokens = 2
    upstream.behaviour.reasoning_tokens = 4
    events = await collect(engine, chat())
    assert events[0] == Started(provider_job="req-mock")
    assert text_of(events) == "Once upon a time a taxi ran on and on."
    assert [event.output_tokens for event in events if isinstance(event, Chunk)] == [0, *range(1, 12), 11]
    done = done_of(events)
    assert done.work == {
        "prompt_tokens": 6,
        "cached_tokens": 2,
        "output_tokens": 11,
        "reasoning_tokens": 4,
        "provider.prompt_tokens": 6,
        "provider.prompt_tokens_details.cached_tokens": 2,
        "provider.completion_tokens": 11,
        "provider.completion_tokens_details.reasoning_tokens": 4,
        "provider.total_tokens": 17,
    }
    assert done.measured
    assert not done.truncated


async def test_the_usage_chunk_is_asked_for_and_not_passed_on(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    events = await collect(engine, chat(stream_options={"include_usage": False}))
    assert upstream.requests[0].body["stream"] is True
    assert upstream.requests[0].body["stream_options"] == {"include_usage": True}
    assert upstream.requests[0].body["model"] == "mock-model"
    assert all(event.choices for event in events if isinstance(event, Chunk))


async def test_a_plain_request_makes_one_chunk_with_the_choices_as_they_are(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    events = await collect(engine, chat(stream=False))
    assert upstream.requests[0].body["stream"] is False
    assert "stream_options" not in upstream.requests[0].body
    chunk, done = events
    assert isinstance(chunk, Chunk)
    assert chunk.output_tokens == 11
    assert chunk.choices[0]["message"] == {"role": "assistant", "content": "Once upon a time a taxi ran on and on.", "refusal": None}
    assert chunk.choices[0]["finish_reason"] == "stop"
    assert isinstance(done, Done)
    assert done.work["output_tokens"] == 11


async def test_the_bound_is_sent_as_the_limit_and_never_raised(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    await collect(engine, chat(5, max_tokens=50, max_completion_tokens=3))
    await collect(engine, chat(5, max_tokens=None))
    await collect(engine, chat(5, max_tokens=None, max_completion_tokens=4))
    sent = [{name: request.body.get(name) for name in ("max_tokens", "max_completion_tokens")} for request in upstream.requests]
    assert sent == [
        {"max_tokens": 5, "max_completion_tokens": 3},
        {"max_tokens": 5, "max_completion_tokens": None},
        {"max_tokens": None, "max_completion_tokens": 4},
    ]


async def test_an_upstream_that_stops_at_the_bound_counts_as_truncated_and_measured(engine: OpenAIEngine) -> None:
    done = done_of(await collect(engine, chat(4)))
    assert (done.work["output_tokens"], done.truncated, done.measured) == (4, True, True)


async def test_a_stream_that_ignores_the_limit_is_cut_at_the_bound_and_hung_up(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.ignore_max_tokens = True
    upstream.behaviour.talk = 100_000
    upstream.behaviour.delay_s = 0.001
    events = await collect(engine, chat(4))
    assert text_of(events) == "Once upon a time"
    last = events[-2]
    assert isinstance(last, Chunk)
    assert last.choices == [{"index": 0, "delta": {}, "finish_reason": "length"}]
    done = done_of(events)
    assert (done.work["output_tokens"], done.truncated, done.measured) == (4, True, False)
    await until(lambda: upstream.running == 0)
    assert upstream.generated < 1000


async def test_with_a_tokenizer_the_cut_is_exact_inside_a_chunk(upstream: MockOpenAI) -> None:
    upstream.behaviour.ignore_max_tokens = True
    upstream.behaviour.words = ("one two three", " four five six")
    upstream.behaviour.usage = "missing"
    upstream.behaviour.talk = 2
    engine = OpenAIEngine("mock", upstream.url, count_tokens=lambda text: len(text.split()))
    streamed = await collect(engine, chat(4))
    plain = await collect(engine, chat(4, stream=False))
    await engine.close()
    assert text_of(streamed).split() == ["one", "two", "three", "four"]
    assert done_of(streamed).work["output_tokens"] == 4
    chunk = plain[0]
    assert isinstance(chunk, Chunk)
    assert chunk.choices[0]["message"]["content"].split() == ["one", "two", "three", "four"]
    assert chunk.choices[0]["finish_reason"] == "length"
    assert done_of(plain).truncated


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    "usage",
    [
        "missing",
        None,
        {},
        "many",
        {"prompt_tokens": -1, "completion_tokens": 3},
        {"prompt_tokens": 5, "completion_tokens": float("nan")},
        {"prompt_tokens": 5, "completion_tokens": 2.5},
        {"prompt_tokens": 5, "completion_tokens": True},
        {"prompt_tokens": 10**15, "completion_tokens": 3},
        {"prompt_tokens": 0, "completion_tokens": 0},
        {"prompt_tokens": 5, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 6}},
        {"prompt_tokens": 5, "completion_tokens": 3, "completion_tokens_details": {"reasoning_tokens": 4}},
    ],
)
async def test_usage_that_is_missing_or_cannot_be_true_is_counted_instead(
    engine: OpenAIEngine, upstream: MockOpenAI, usage: object, *, stream: bool
) -> None:
    upstream.behaviour.usage = usage
    done = done_of(await collect(engine, chat(stream=stream)))
    assert not done.measured
    # 12 characters of prompt are 3 tokens at four bytes each; 38 characters of answer are 10, or 11 chunks.
    assert done.work == {"prompt_tokens": 3, "cached_tokens": 0, "output_tokens": 11 if stream else 10, "reasoning_tokens": 0}


@pytest.mark.parametrize("stream", [True, False])
async def test_usage_above_the_bound_is_not_believed_and_kept_for_the_operator(engine: OpenAIEngine, upstream: MockOpenAI, *, stream: bool) -> None:
    upstream.behaviour.usage = {"prompt_tokens": 5, "completion_tokens": 900}
    done = done_of(await collect(engine, chat(20, stream=stream)))
    assert done.work["output_tokens"] == 20
    assert not done.measured
    assert done.detail["upstream_output_tokens"] == 900


async def test_details_that_are_null_count_as_nothing(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.usage = {"prompt_tokens": 5, "completion_tokens": 11, "prompt_tokens_details": None, "completion_tokens_details": {}}
    done = done_of(await collect(engine, chat()))
    assert done.measured
    assert done.work == {
        "prompt_tokens": 5,
        "cached_tokens": 0,
        "output_tokens": 11,
        "reasoning_tokens": 0,
        "provider.prompt_tokens": 5,
        "provider.completion_tokens": 11,
    }


async def test_an_upstream_that_cannot_stream_is_passed_on_as_one_delta(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.can_stream = False
    events = await collect(engine, chat())
    assert text_of(events) == "Once upon a time a taxi ran on and on."
    assert done_of(events).measured


async def test_a_stream_that_finished_without_its_end_mark_is_complete(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.done_mark = False
    assert done_of(await collect(engine, chat())).measured


async def test_closing_the_iterator_stops_the_upstream_at_once(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.talk = 100_000
    upstream.behaviour.delay_s = 0.001
    events = engine.run(chat(100_000))
    async for event in events:
        if isinstance(event, Chunk) and event.output_tokens == 3:
            break
    await events.aclose()
    await until(lambda: upstream.running == 0)
    made = upstream.generated
    assert done_of(await collect(engine, chat(2))).work["output_tokens"] == 2
    assert upstream.generated == made + 2


@pytest.mark.parametrize("stream", [True, False])
async def test_cancelling_the_reader_stops_the_upstream_at_once(engine: OpenAIEngine, upstream: MockOpenAI, *, stream: bool) -> None:
    upstream.behaviour.delay_s = 30
    task = asyncio.create_task(collect(engine, chat(stream=stream)))
    await until(lambda: upstream.running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: upstream.running == 0)


async def test_connections_are_used_again(engine: OpenAIEngine) -> None:
    for index in range(4):
        await collect(engine, chat(stream=index % 2 == 0))
    assert engine._link.pool.idle == 1


async def test_embeddings_are_asked_for_as_base64_and_come_in_input_order(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    vectors, done = await collect(engine, embed("a taxi", "ein Taxi"))
    assert upstream.requests[0].body == {"input": ["a taxi", "ein Taxi"], "model": "mock-model", "encoding_format": "base64"}
    assert vectors == Vectors(vectors=[mock_vector("a taxi"), mock_vector("ein Taxi")])
    assert isinstance(done, Done)
    assert (done.work, done.measured) == ({"prompt_tokens": 4, "inputs": 2}, True)


async def test_embeddings_as_lists_are_the_same_bytes(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    upstream.behaviour.vectors_as_lists = True
    assert (await collect(engine, embed("a taxi")))[0] == Vectors(vectors=[mock_vector("a taxi")])


@pytest.mark.parametrize("usage", ["missing", {"prompt_tokens": -4}, {"prompt_tokens": 0}, {"prompt_tokens": 5000}])
async def test_embeddings_usage_that_cannot_be_true_is_not_believed(engine: OpenAIEngine, upstream: MockOpenAI, usage: object) -> None:
    upstream.behaviour.usage = usage
    done = done_of(await collect(engine, embed("a taxi", bound=1000)))
    assert not done.measured
    assert done.work == {"prompt_tokens": 1000 if usage == {"prompt_tokens": 5000} else 2, "inputs": 1}


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        [{"index": 0, "embedding": "AAA"}],
        [{"index": 0, "embedding": []}],
        [{"index": 0, "embedding": ["x"]}],
        [{"index": 0, "embedding": [float("nan")]}],
        [{"index": 0, "embedding": [1e300]}],
        [{"index": 0, "embedding": "AADAfw=="}],
        [{"index": 5, "embedding": [1.0]}],
        [3],
    ],
)
async def test_embeddings_that_cannot_be_right_are_a_failure(engine: OpenAIEngine, upstream: MockOpenAI, data: object) -> None:
    upstream.behaviour.body = json.dumps({"data": data, "usage": {"prompt_tokens": 1}}).encode()
    assert type(await failure_of(engine, embed("a"))) is EngineFailed


async def test_health_lists_the_upstreams_models(engine: OpenAIEngine, upstream: MockOpenAI) -> None:
    assert await engine.check() == {"models": ["mock-model"]}
    upstream.behaviour.status = 500
    with pytest.raises(EngineUnavailable):
        await engine.check()
    upstream.behaviour.status = 404
    assert await engine.check() == {"models": []}


async def test_what_it_cannot_do_is_refused(engine: OpenAIEngine) -> None:
    assert type(await failure_of(engine, msgspec.structs.replace(chat(), modality="speech"))) is EngineRefused
    assert type(await failure_of(engine, chat(0))) is EngineRefused


@pytest.mark.parametrize("url", ["", "127.0.0.1:80", "ftp://host/v1", "http://"])
def test_an_address_that_is_none_is_refused_at_the_start(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        OpenAIEngine("mock", url)


@pytest.mark.parametrize("stream", [True, False])
async def test_closing_the_engine_ends_its_jobs(engine: OpenAIEngine, upstream: MockOpenAI, *, stream: bool) -> None:
    upstream.behaviour.delay_s = 3600
    task = asyncio.create_task(failure_of(engine, chat(stream=stream, deadline_s=3600)))
    await until(lambda: upstream.running == 1)
    await asyncio.sleep(0)
    await engine.close()
    async with asyncio.timeout(5):
        assert type(await task) is EngineFailed
    await until(lambda: upstream.running == 0)
