"""The way past the framework answers as the way through it, and its headers read as Starlette's."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

from typing import Any

import asyncpg
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from taximeter.engines import Chunk, EngineUnavailable
from taximeter.gateway.application import Gateway
from taximeter.gateway.quick_request import QuickHeaders
from taximeter.ledger import InsufficientBalance
from taximeter.metering import Receipt

pytestmark = pytest.mark.anyio

CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "Hi"}]}
ASKED = [
    ("POST", "/v1/chat/completions", CHAT, {}),
    ("POST", "/v1/chat/completions", {**CHAT, "stream": True}, {}),
    ("POST", "/v1/chat/completions", b"{", {}),
    ("POST", "/v1/chat/completions", CHAT, {"taximeter-max-tokens": "many"}),
    ("POST", "/v1/chat/completions", b" " * 3000, {}),
    ("PUT", "/v1/chat/completions", CHAT, {}),
    ("HEAD", "/v1/models", b"", {}),
    ("GET", "/v1/models", b"", {}),
    ("GET", "/v1/models/tiny", b"", {}),
    ("GET", "/v1/receipts?limit=x", b"", {}),
    ("POST", "/v1/quotes", {"model": "tiny"}, {}),
    ("GET", "/healthz", b"", {}),
    ("GET", "/nowhere", b"", {}),
]
FAILURES = [
    InsufficientBalance("too little", headers={"taximeter-balance": "1"}),
    EngineUnavailable("no room", headers={"Retry-After": "7"}),
    asyncpg.CannotConnectNowError("starting up"),
    ConnectionRefusedError(),
    RuntimeError("a bug"),
]


def told(answer: Any) -> tuple[int, dict[str, str], bytes]:
    """An answer without what differs from one request to the next."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "openai-processing-ms"}}
    return answer.status, headers, answer.body.replace(answer.headers["x-request-id"].encode(), b"req_...")


async def both_ways(app: FastAPI, ask: Any) -> None:
    assert isinstance(app, Gateway)
    short = told(await ask())
    short_cut, app.short_cut = app.short_cut, None
    long = told(await ask())
    app.short_cut = short_cut
    assert short == long


@pytest.mark.parametrize("asked", ASKED, ids=lambda asked: f"{asked[0]} {asked[1]}")
async def test_an_answer_is_the_same_both_ways(app: FastAPI, client: Any, rides: Any, receipt: Receipt, asked: Any) -> None:
    chunk = Chunk([{"index": 0, "delta": {"content": "Hello"}, "finish_reason": "stop"}], 1)
    for _ in range(2):
        rides(chunk, receipt)
    await both_ways(app, lambda: client(*asked))


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: type(failure).__name__)
async def test_a_failure_is_told_the_same_both_ways(app: FastAPI, client: Any, metering: Any, failure: Exception) -> None:
    metering.refusal = failure
    await both_ways(app, lambda: client("POST", "/v1/chat/completions", CHAT))


async def test_a_prefix_of_a_server_in_front_is_left_to_the_framework(app: FastAPI) -> None:
    asked: list[str] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        asked.append(message["type"])

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/meter/healthz",
        "raw_path": b"/meter/healthz",
        "root_path": "/meter",
        "query_string": b"",
        "headers": [],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send)
    assert asked == ["http.response.start", "http.response.body"]


names = st.sampled_from(["authorization", "content-type", "taximeter-quote", "x"])


@given(st.lists(st.tuples(names, st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=5)), max_size=6), names)
def test_headers_read_as_starlettes_do(pairs: list[tuple[str, str]], name: str) -> None:
    raw = [(key.encode("latin-1"), value.encode("latin-1")) for key, value in pairs]
    quick, slow = QuickHeaders(raw=raw), Headers(raw=raw)
    for asked in (name, name.title()):
        assert quick.get(asked) == slow.get(asked)
        assert quick.get(asked, 7) == slow.get(asked, 7)
        assert (asked in quick) == (asked in slow)
    if name in slow:
        assert quick[name] == slow[name]
    else:
        with pytest.raises(KeyError):
            quick[name]
    assert quick.items() == slow.items()
