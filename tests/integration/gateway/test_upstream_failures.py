"""An upstream that breaks in every way we know: a clear error, no charge, no hold left behind, and the next request works."""
# ruff: noqa: ANN401 - fixtures of the conftest, and JSON

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from taximeter.engines.openai_http import OpenAIEngine, UpstreamLimits
from tests.support.asking import ask_chat
from tests.support.raw_upstream import (
    DONE,
    END,
    EVENTS,
    GOOD,
    HANG_UP,
    LAST,
    SILENCE,
    USAGE,
    Drip,
    RawUpstream,
    Step,
    answer,
    event,
    head,
    text,
    whole,
)
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

GOOD_PLAIN = (answer("All well.", usage=USAGE),)
ANSWER_BYTES_MAX = 1_000_000


@pytest.fixture
async def upstream(gateway: Any) -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as raw:
        engine = OpenAIEngine("script", raw.url, limits=UpstreamLimits(silence_s=0.5, answer_bytes_max=ANSWER_BYTES_MAX))
        gateway.office.desk.engines = {"script": engine}
        gateway.office.desk.settings = replace(gateway.office.desk.settings, chat_timeout_s=1.5)
        yield raw
        await engine.close()


@dataclass(frozen=True)
class Fault:
    """What an upstream does to a request, and what the caller is told, before or after the first text."""

    name: str
    script: Sequence[Step]
    code: str = "engine_failed"
    status: int = 502
    texts: int = 0
    again: str | None = None


ERROR = {"error": {"message": "CUDA out of memory", "type": "server_error", "code": 500}}
STRANGE = rb'{"error": {"message": "cut \ud83d and \u0000"}}'
TEXT = head(EVENTS) + text("Half ") + text("way")
PLAIN = [
    Fault("it answers 500", (whole(b"{}", status="500 Oops"),)),
    Fault("it answers 429 and when to come again", (whole(b"{}", status="429 Busy", Retry_After=7),), "engine_unavailable", 503, again="7"),
    Fault("an error stands inside a good answer", (whole(json.dumps(ERROR).encode()),)),
    Fault("an error with half an emoji and a NUL in it", (whole(STRANGE),)),
    Fault("it answers with a page", (whole(b"<html><body>Bad gateway</body></html>", "text/html"),)),
    Fault("its body is empty", (whole(b""),)),
    Fault("it is cut off inside its answer", (GOOD_PLAIN[0][:-20], HANG_UP)),
    Fault("it is no gzip although it says so", (whole(b"plainly not", Content_Encoding="gzip"),)),
    Fault("its gzip is cut off", (whole(gzip.compress(b'{"choices": []}' * 99)[:-9], Content_Encoding="gzip"),)),
    Fault("it sends headers and then nothing", (head(Content_Length=100), SILENCE), "engine_timeout", 504),
    Fault("it does not speak HTTP", (b"SSH-2.0-OpenSSH_9.6\r\n",)),
    Fault("an answer of 10 MB", (head() + b"x" * 10_000_000,)),
]
STREAMED = [
    Fault("it answers 503", (whole(b"", status="503 Busy"),), "engine_unavailable", 503, again="1"),
    Fault("an error stands inside a good answer", (whole(json.dumps(ERROR).encode()),)),
    Fault("an error is the first event", (head(EVENTS) + event(ERROR) + DONE,)),
    Fault("an error comes after some text", (TEXT + event(ERROR) + DONE,), texts=2),
    Fault("an error with half an emoji and a NUL in it comes after some text", (TEXT + event(STRANGE) + DONE,), texts=2),
    Fault("it answers with a page", (whole(b"<html><body>Bad gateway</body></html>", "text/html"),)),
    Fault("nothing comes", (head(EVENTS),)),
    Fault("it says done and nothing else", (head(EVENTS) + DONE,)),
    Fault("it is cut off inside an event", (TEXT + b'data: {"choices": [{"ind', HANG_UP), texts=2),
    Fault("it ends without an end mark", (TEXT,), texts=2),
    Fault("it is cut off inside a chunk of HTTP", (head(EVENTS, Transfer_Encoding="chunked") + b"100\r\n" + text("Half"), HANG_UP), texts=1),
    Fault("a character is cut in half and never completed", (TEXT + event(b'{"choices": [{"delta": {"content": "\xe2\x82"}}]}'),), texts=2),
    Fault("an event is no JSON", (TEXT + event(b"{not json}") + END + DONE,), texts=2),
    Fault("its gzip is broken", (head(EVENTS, Content_Encoding="gzip") + b"\x1f\x8b\x08\0nonsense", HANG_UP)),
    Fault("it sends headers and then nothing", (head(EVENTS), SILENCE), "engine_timeout", 504),
    Fault("it falls silent after some text", (TEXT, SILENCE), "engine_timeout", texts=2),
    Fault("it sends a byte now and then and never ends", (head(EVENTS), Drip(b"data: {" + b" " * 1000, 0.05)), "engine_timeout", 504),
    Fault("it hangs up without a word", (HANG_UP,)),
    Fault("an event of 10 MB", (TEXT + b"data: " + b"x" * 10_000_000 + b"\n\n",), texts=2),
]


@pytest.mark.parametrize("stream", [True, False])
async def test_whatever_breaks_is_told_clearly_and_costs_nothing(
    gateway: Any, upstream: RawUpstream, subtests: pytest.Subtests, *, stream: bool
) -> None:
    gateway.never_break_circuits()
    tenant = await gateway.tenant("Research", "100000")
    for fault in STREAMED if stream else PLAIN:
        with subtests.test(fault.name):
            upstream.script = fault.script
            before = await gateway.wallet(tenant)
            told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=stream)
            assert (told.status, told.error["code"]) == (200 if fault.texts else fault.status, fault.code)
            assert len(told.texts) == fault.texts
            assert told.error["type"] == "server_error"
            assert "Traceback" not in told.error["message"]
            assert told.headers.get("retry-after") == fault.again
            receipt = (await gateway.receipts(tenant))[0]
            assert (receipt["id"], receipt["outcome"]) == (told.headers["taximeter-receipt"], "failed")
            assert (receipt["tokens_charged"], receipt["settlement"]) == ("0", "settled")
            assert receipt["reason"].startswith(fault.code)
            assert (await gateway.wallet(tenant), await gateway.holds_open()) == (before, 0)
            # The upstream is not left waiting, and the next request is served as ever: 5 prompt tokens at 1, 2 of answer at 2.
            await until(lambda: upstream.running == 0)
            upstream.script = GOOD if stream else GOOD_PLAIN
            told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=stream)
            assert "".join(told.texts) == "All well."
            assert (await gateway.receipts(tenant))[0]["tokens_charged"] == "9"


async def test_a_late_success_changes_nothing_and_its_repeat_is_charged_once(gateway: Any, tenant: Any, upstream: RawUpstream) -> None:
    slow = asyncio.Event()
    upstream.script = (slow, *GOOD_PLAIN)
    told = await ask_chat(gateway.http, gateway.url, tenant.key, repeat_key="order 1")
    assert (told.status, told.error["code"], told.headers["x-should-retry"]) == (504, "engine_timeout", "false")
    slow.set()
    await until(lambda: upstream.running == 0)
    assert await gateway.wallet(tenant) == ("1000", "0")
    told = await ask_chat(gateway.http, gateway.url, tenant.key, repeat_key="order 1")
    again = await ask_chat(gateway.http, gateway.url, tenant.key, repeat_key="order 1")
    assert (told.texts, again.texts, len(upstream.requests)) == (["All well."], ["All well."], 2)
    assert await gateway.wallet(tenant) == ("991", "0")
    assert [receipt["outcome"] for receipt in await gateway.receipts(tenant)] == ["completed", "failed"]


async def test_bytes_that_come_one_at_a_time_are_a_stream_like_any_other(gateway: Any, tenant: Any, upstream: RawUpstream) -> None:
    """Characters of several bytes are cut in half on their way."""
    upstream.script = (head(EVENTS), Drip(event('{"choices": [{"index": 0, "delta": {"content": "12 €, 二"}}]}'.encode()), 0), END + LAST)
    told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=True)
    assert (told.texts, told.extra["tokens_charged"]) == (["12 €, 二"], "9")


async def test_an_event_that_does_not_end_is_given_up_and_not_collected(gateway: Any, tenant: Any, upstream: RawUpstream) -> None:
    upstream.script = (head(EVENTS) + text("Half"), *(b"x" * 1_000_000 for _ in range(100)))
    told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=True)
    assert (told.texts, told.error["code"]) == (["Half"], "engine_failed")
    await until(lambda: upstream.running == 0)
    assert upstream.sent < 50_000_000
    assert await gateway.wallet(tenant) == ("1000", "0")


async def test_half_an_emoji_in_an_answer_is_replaced_and_the_rest_is_delivered(gateway: Any, upstream: RawUpstream) -> None:
    tenant = await gateway.tenant("Research", "100000")
    message = rb'{"role": "assistant", "content": "Well \ud83d done"}'
    upstream.script = (whole(b'{"choices": [{"index": 0, "message": ' + message + b', "finish_reason": "stop"}]}'),)
    told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=False)
    assert told.status == 200
    assert told.texts == ["Well \ufffd done"]
