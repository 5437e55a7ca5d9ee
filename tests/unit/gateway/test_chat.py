"""Chat: the plain answer, the stream, what the last chunk carries, and clients that leave."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from taximeter.engines import Chunk, EngineFailed, EngineUnavailable
from taximeter.ledger import InsufficientBalance
from taximeter.metering import Receipt

pytestmark = pytest.mark.anyio

URL = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}], "unknown_field": 1}
STREAM = {**ASK, "stream": True}
WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}


def delta(content: str | None = None, finish: str | None = None, index: int = 0) -> Chunk:
    fields = {} if content is None else {"content": content}
    return Chunk([{"index": index, "delta": fields, "logprobs": None, "finish_reason": finish}])


async def test_the_plain_answer_has_every_field_of_openais(client: Any, rides: Callable[..., Any], receipt: Receipt) -> None:
    rides(delta("Hel"), delta("lo"), delta(None, "stop"), receipt)
    answer = await client("POST", URL, ASK)
    assert answer.status == 200
    assert answer.json == {
        "id": "chatcmpl-00000000000000000000000000000007",
        "object": "chat.completion",
        "created": 1_760_000_000,
        "model": "tiny",
        "service_tier": "default",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello", "refusal": None}, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 5,
            "total_tokens": 14,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
        "taximeter": receipt.extra(),
    }
    assert {name: answer.headers[name] for name in receipt.headers()} == receipt.headers()
    assert answer.headers["x-request-id"].startswith("req_")
    assert answer.headers["openai-processing-ms"].isdecimal()


async def test_the_order_has_the_body_without_what_only_concerns_the_answers_form(
    client: Any, rides: Callable[..., Any], receipt: Receipt, metering: Any
) -> None:
    rides(delta("x", "stop"), receipt)
    headers = {"taximeter-max-tokens": "2.5", "taximeter-quote": "quo_1", "idempotency-key": "abc"}
    await client("POST", URL, WITH_USAGE, headers)
    (order,) = metering.orders
    assert (order.model, order.modality, order.stream) == ("tiny", "chat", True)
    assert order.request == {"messages": ASK["messages"], "unknown_field": 1}
    assert (order.tokens_max_utok, order.quote_id, order.idempotency_key) == (2_500_000, "quo_1", "abc")


async def test_without_usage_the_price_is_in_the_chunk_that_ends_the_text(client: Any, rides: Callable[..., Any], receipt: Receipt) -> None:
    rides(delta("Hel"), delta("lo"), delta(None, "stop"), receipt)
    answer = await client("POST", URL, STREAM)
    *chunks, done = answer.events
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"] for chunk in chunks] == [{"content": "Hel"}, {"content": "lo"}, {}]
    assert all("usage" not in chunk for chunk in chunks)
    assert [chunk.get("taximeter") for chunk in chunks] == [None, None, receipt.extra()]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert {(chunk["id"], chunk["object"], chunk["model"]) for chunk in chunks} == {
        ("chatcmpl-00000000000000000000000000000007", "chat.completion.chunk", "tiny")
    }
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["taximeter-tokens-held"] == "6.4"
    assert "content-length" not in answer.headers


async def test_with_usage_an_extra_chunk_has_both(client: Any, rides: Callable[..., Any], receipt: Receipt) -> None:
    rides(delta("Hel"), delta(None, "stop"), receipt)
    answer = await client("POST", URL, WITH_USAGE)
    *chunks, last, done = answer.events
    assert done == "[DONE]"
    assert [chunk["usage"] for chunk in chunks] == [None, None]
    assert (last["choices"], last["usage"]["total_tokens"], last["taximeter"]) == ([], 14, receipt.extra())


@pytest.mark.parametrize("ask", [STREAM, WITH_USAGE])
async def test_a_stream_that_was_cut_at_its_hold_ends_with_length(
    client: Any, rides: Callable[..., Any], truncated: Receipt, ask: dict[str, Any]
) -> None:
    rides(delta("Hel"), truncated)
    answer = await client("POST", URL, ask)
    reasons = [choice["finish_reason"] for chunk in answer.events[:-1] for choice in chunk["choices"]]
    assert reasons == [None, "length"]


async def test_two_choices_that_end_at_different_times_lose_nothing(client: Any, rides: Callable[..., Any], receipt: Receipt) -> None:
    rides(delta("a"), delta("b", index=1), delta(None, "stop"), delta("c", index=1), delta(None, "length", 1), receipt)
    *chunks, _ = (await client("POST", URL, STREAM)).events
    ends = [(choice["index"], choice["finish_reason"]) for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]
    assert ends == [(0, "stop"), (1, "length")]
    assert [index for index, chunk in enumerate(chunks) if "taximeter" in chunk] == [len(chunks) - 1]


async def test_every_delta_is_sent_as_it_comes(client: Any, rides: Callable[..., Any], receipt: Receipt) -> None:
    gate = asyncio.Event()
    rides(delta("first"), gate, delta(None, "stop"), receipt)
    task = asyncio.create_task(client("POST", URL, STREAM))
    async with asyncio.timeout(5):
        while len(client.sent) < 2:
            await asyncio.sleep(0)
        assert b"first" in client.sent[1]["body"]
        gate.set()
        await task


async def test_an_error_before_the_first_delta_is_a_plain_answer(client: Any, rides: Callable[..., Any]) -> None:
    ride = rides(EngineUnavailable("the engine is down"))
    answer = await client("POST", URL, STREAM)
    assert (answer.status, answer.error["code"], answer.headers["retry-after"]) == (503, "engine_unavailable", "1")
    assert answer.headers["taximeter-receipt"] == ride.headers()["taximeter-receipt"]
    assert ride.closed


async def test_an_error_inside_the_stream_is_a_data_line(client: Any, rides: Callable[..., Any]) -> None:
    rides(delta("Hel"), EngineFailed("the engine broke"))
    answer = await client("POST", URL, STREAM)
    assert answer.status == 200
    assert answer.events[1:] == [{"error": {"message": "the engine broke", "type": "server_error", "param": None, "code": "engine_failed"}}, "[DONE]"]


async def test_a_bug_inside_the_stream_says_nothing_about_itself(client: Any, rides: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    rides(delta("Hel"), RuntimeError("secret detail"))
    answer = await client("POST", URL, STREAM)
    assert answer.events[1]["error"]["code"] == "internal_error"
    assert b"secret" not in answer.body
    assert "secret detail" in caplog.text


async def test_a_bug_in_a_plain_request_is_a_500_that_names_the_request(
    client: Any, rides: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    ride = rides(RuntimeError("secret detail"))
    answer = await client("POST", URL, ASK)
    assert answer.headers["taximeter-receipt"] == ride.headers()["taximeter-receipt"]
    assert (answer.status, answer.error["code"], answer.error["type"]) == (500, "internal_error", "server_error")
    assert answer.headers["x-request-id"] in answer.error["message"]
    assert b"secret" not in answer.body
    assert answer.headers["x-request-id"] in caplog.text


@pytest.mark.parametrize("ask", [ASK, STREAM])
async def test_a_client_that_leaves_before_the_first_delta_closes_the_ride(client: Any, rides: Callable[..., Any], ask: dict[str, Any]) -> None:
    ride = rides(asyncio.Event())
    task = asyncio.create_task(client("POST", URL, ask))
    asyncio.get_running_loop().call_later(0.01, client.leave)
    async with asyncio.timeout(5):
        await task
    assert ride.closed


async def test_a_client_that_leaves_the_stream_closes_the_ride(client: Any, rides: Callable[..., Any]) -> None:
    ride = rides(delta("Hel"), asyncio.Event())
    task = asyncio.create_task(client("POST", URL, STREAM))
    async with asyncio.timeout(5):
        while len(client.sent) < 2:
            await asyncio.sleep(0)
        client.leave()
        await task
    assert ride.closed


async def test_an_empty_wallet_is_402_and_not_to_be_repeated(client: Any, metering: Any) -> None:
    metering.refusal = InsufficientBalance("too little")
    answer = await client("POST", URL, ASK)
    assert (answer.status, answer.error["code"], answer.error["type"]) == (402, "insufficient_balance", "insufficient_quota")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {}}, "stream_options"),
        ({"stream": True, "stream_options": []}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "include_usage"),
    ],
)
async def test_a_field_of_ours_that_is_malformed_is_named(client: Any, metering: Any, change: dict[str, Any], param: str) -> None:
    answer = await client("POST", URL, {**ASK, **change})
    assert (answer.status, answer.error["param"]) == (400, param)
    assert metering.orders == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("taximeter-max-tokens", ""),
        ("taximeter-max-tokens", "-1"),
        ("taximeter-max-tokens", "NaN"),
        ("taximeter-max-tokens", "1.0000001"),
        ("taximeter-max-tokens", "lots"),
        ("taximeter-max-tokens", "9" * 400),
        ("idempotency-key", ""),
        ("idempotency-key", "x" * 256),
        ("taximeter-quote", "\t"),
    ],
)
async def test_a_malformed_header_is_named(client: Any, metering: Any, name: str, value: str) -> None:
    answer = await client("POST", URL, ASK, {name: value})
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, name, "invalid_value")
    assert metering.orders == []
