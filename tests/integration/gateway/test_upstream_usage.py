"""An upstream that reports its usage strangely: counted where it cannot be believed, and never charged above the hold."""
# ruff: noqa: ANN401 - fixtures of the conftest, and JSON

from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from taximeter.db.pool import connect_owner
from taximeter.engines.openai_http import OpenAIEngine
from taximeter.metering.fares import METERS
from taximeter.pricing import CatalogStore, apply_dir
from tests.support.asking import ask_chat
from tests.support.raw_upstream import DONE, END, EVENTS, USAGE, RawUpstream, answer, event, head, text

pytestmark = pytest.mark.anyio

TEXT = head(EVENTS) + text("one ") + text("two ") + text("three")
WORDS = ["one ", "two ", "three"]


@pytest.fixture
async def upstream(gateway: Any) -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as raw:
        engine = OpenAIEngine("script", raw.url)
        gateway.office.desk.engines = {"script": engine}
        yield raw
        await engine.close()


UNBELIEVABLE: list[bytes] = [
    b"null",
    b"{}",
    b"[]",
    b'"many"',
    b"7",
    b'{"prompt_tokens": -5, "completion_tokens": 2}',
    b'{"prompt_tokens": 5, "completion_tokens": -2}',
    b'{"prompt_tokens": NaN, "completion_tokens": 2}',
    b'{"prompt_tokens": 5, "completion_tokens": Infinity}',
    b'{"prompt_tokens": 5, "completion_tokens": -Infinity}',
    b'{"prompt_tokens": "5", "completion_tokens": "2"}',
    b'{"prompt_tokens": 5, "completion_tokens": 2.5}',
    b'{"prompt_tokens": 5, "completion_tokens": true}',
    b'{"prompt_tokens": 5, "completion_tokens": null}',
    b'{"prompt_tokens": 5, "completion_tokens": 9223372036854775808}',
    b'{"prompt_tokens": 1%s, "completion_tokens": 2}' % (b"0" * 400),
    b'{"prompt_tokens": 1e300, "completion_tokens": 2}',
    b'{"prompt_tokens": 5, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 6}}',
    b'{"prompt_tokens": 5, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": -1}}',
]


async def test_usage_that_cannot_be_true_is_counted_and_the_receipt_says_so(
    gateway: Any, tenant: Any, upstream: RawUpstream, subtests: pytest.Subtests
) -> None:
    for number, usage in enumerate(UNBELIEVABLE):
        # In turns: how it is read does not depend on the way it came, and each way is tried in full elsewhere.
        stream = number % 2 == 0
        with subtests.test(usage[:60].decode()):
            before = Decimal((await gateway.wallet(tenant))[0])
            plain = answer("one two three", usage=0).split(b'"usage": 0')
            body = plain[0].split(b"\r\n\r\n", 1)[1] + b'"usage": ' + usage + plain[1]
            streamed = TEXT + END + event(b'{"choices": [], "usage": ' + usage + b"}") + DONE
            upstream.script = (streamed if stream else head(Content_Length=len(body)) + body,)
            told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=stream)
            assert (told.status, "".join(told.texts)) == (200, "one two three")
            # 12 bytes of prompt are 3 tokens at four bytes each; three pieces, or 13 bytes, of answer are 3 or 4.
            assert (told.extra["tokens_charged"], told.extra["settlement"]) == ("9" if stream else "11", "settled")
            (receipt, *_) = await gateway.receipts(tenant)
            assert (receipt["measured"], receipt["outcome"]) == (False, "completed")
            assert await gateway.wallet(tenant) == (str(before - Decimal(told.extra["tokens_charged"])), "0")


async def test_an_answer_without_usage_that_is_cut_at_the_bound_costs_the_bound(gateway: Any, tenant: Any, upstream: RawUpstream) -> None:
    upstream.script = (head(EVENTS) + b"".join(text(f"{number} ") for number in range(500)) + END + DONE,)
    told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=True)
    assert "".join(told.texts) == "0 1 2 3 4 5 6 7 8 "
    assert (told.extra["outcome"], told.extra["tokens_charged"]) == ("truncated", str(3 + 9 * 2))
    assert await gateway.wallet(tenant) == ("979", "0")


async def test_more_answer_than_was_held_for_is_not_charged(gateway: Any, tenant: Any, upstream: RawUpstream) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 900}
    for stream in (True, False):
        upstream.script = (TEXT + END + event({"choices": [], "usage": usage}) + DONE if stream else answer("one two three", usage=usage),)
        told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=stream)
        # The bound of nine output tokens, and not the 900 that are claimed for three words.
        assert told.extra["tokens_charged"] == str(5 + 9 * 2)
        receipt = (await gateway.receipts(tenant))[0]
        assert (receipt["measured"], receipt["work"]["output_tokens"]) == (False, 9)
        assert receipt["detail"]["upstream_output_tokens"] == 900
    assert await gateway.wallet(tenant) == (str(1000 - 2 * 23), "0")


async def test_more_prompt_than_was_held_for_costs_the_hold_and_the_receipt_shows_both(gateway: Any, tenant: Any, upstream: RawUpstream) -> None:
    prompt_tokens = 1_000_000_000
    upstream.script = (TEXT + END + event({"choices": [], "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": 3}}) + DONE,)
    told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=True)
    (receipt,) = await gateway.receipts(tenant)
    assert told.extra["tokens_charged"] == receipt["tokens_charged"] == receipt["tokens_held"]
    assert receipt["tokens_consumed"] == str(prompt_tokens + 3 * 2)
    assert (receipt["settlement"], receipt["outcome"]) == ("settled", "completed")
    assert await gateway.wallet(tenant) == (str(1000 - Decimal(receipt["tokens_held"])), "0")
    figures = await gateway.office.figures()
    assert figures["taximeter_shortfall_utok"][1] == 0


def piece(content: str, prompt: int, output: int) -> bytes:
    return text(content, usage={"prompt_tokens": prompt, "completion_tokens": output})


REPEATED = {
    "usage grows with every piece": head(EVENTS) + piece("one ", 5, 1) + piece("two ", 5, 2) + piece("three", 5, 3) + END + DONE,
    "the prompt is reported first and the answer last": head(EVENTS) + piece("one ", 5, 0) + text("two ") + piece("three", 5, 3) + END + DONE,
    "the last report is nonsense": head(EVENTS) + text("one ") + text("two ") + piece("three", 5, 3) + END + event({"usage": {"prompt_tokens": -1}}),
    "the last report is all zeros": TEXT + END + event({"usage": {"prompt_tokens": 5, "completion_tokens": 3}}) + piece("", 0, 0) + DONE,
    "the report comes twice": TEXT + END + 2 * event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}) + DONE,
    "the end comes twice": TEXT + 2 * END + event({"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 3}}) + 2 * DONE,
    "the whole answer comes twice": TEXT + 2 * (END + event({"usage": {"prompt_tokens": 5, "completion_tokens": 3}}) + DONE + text("one two")),
}


async def test_usage_in_several_pieces_and_answers_that_come_twice_are_charged_once(
    gateway: Any, tenant: Any, upstream: RawUpstream, subtests: pytest.Subtests
) -> None:
    for name, answered in REPEATED.items():
        with subtests.test(name):
            before = Decimal((await gateway.wallet(tenant))[0])
            upstream.script = (answered,)
            told = await ask_chat(gateway.http, gateway.url, tenant.key, stream=True)
            assert (told.error, told.texts) == ({}, WORDS)
            assert told.extra["tokens_charged"] == str(5 + 3 * 2)
            assert (await gateway.receipts(tenant))[0]["measured"] is True
            assert await gateway.wallet(tenant) == (str(before - 11), "0")
    assert len(await gateway.receipts(tenant)) == len(upstream.requests) == len(REPEATED)


async def test_a_plain_answer_with_a_second_one_behind_it_is_not_one(gateway: Any, tenant: Any, upstream: RawUpstream) -> None:
    body = answer("one two three", usage=USAGE).split(b"\r\n\r\n", 1)[1]
    upstream.script = (head(Content_Length=2 * len(body)) + 2 * body,)
    told = await ask_chat(gateway.http, gateway.url, tenant.key)
    assert (told.status, told.error["code"]) == (502, "engine_failed")
    assert await gateway.wallet(tenant) == ("1000", "0")


LISTENER = """
kind: rate_card
name: heard
version: 1
effective_from: 2026-01-01
lines:
  - {label: Prompt, quantity: fresh_prompt_tokens, tokens: 1}
  - {label: Cached, quantity: cached_prompt_tokens, tokens: 0.1}
  - {label: Kept, quantity: cache_write_5m_tokens, tokens: 1.25}
  - {label: Kept longer, quantity: cache_write_1h_tokens, tokens: 2}
  - {label: Seen, quantity: image_input_tokens, tokens: 3}
  - {label: Heard, quantity: audio_input_tokens, tokens: 4}
  - {label: Answer, quantity: output_tokens, tokens: 5}
  - {label: Reasoning, quantity: reasoning_tokens, tokens: 5}
  - {label: Spoken, quantity: audio_output_tokens, tokens: 8}
unpriced: [prompt_tokens, total_tokens]
---
kind: model
name: listener
version: 1
effective_from: 2026-01-01
title: Listener
modality: chat
engine: {name: script, model: listener}
meter: {id: text.tokens/2, tokenizer: bytes, context_tokens: 400, default_output_tokens: 20, image_tokens: 60}
default_card: own
cards: {own: {rate_card: heard, tariff: standard}}
"""


async def test_each_bucket_of_the_upstreams_usage_has_its_price(
    gateway: Any, tenant: Any, upstream: RawUpstream, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "listener").mkdir()
    for name, catalog in (("test.yaml", (tmp_path / "catalog" / "test.yaml").read_text(encoding="utf-8")), ("listener.yaml", LISTENER)):
        (tmp_path / "listener" / name).write_text(catalog, encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "listener", METERS)
    await owner.close()
    gateway.office.desk.catalog = await CatalogStore(gateway.office.pool).load()
    usage: dict[str, Any] = {
        "prompt_tokens": 100,
        "completion_tokens": 9,
        "total_tokens": 109,
        "prompt_tokens_details": {"cached_tokens": 40, "image_tokens": 30, "audio_tokens": 5, "cache_write_tokens": 10},
        "completion_tokens_details": {"reasoning_tokens": 4, "rejected_prediction_tokens": 2},
    }
    picture = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
    body = {"model": "listener", "messages": [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, picture]}]}
    upstream.script = (answer("one two three", usage=usage),)
    status, _, told = await gateway.call("POST", "/v1/chat/completions", tenant.key, json=body)
    assert status == 200
    # Nobody asked to hear anything, or to keep anything: these 15 were read as text.  40 are cached, 30 a picture.
    assert Decimal(told["taximeter"]["tokens_charged"]) == (100 - 40 - 30) * 1 + 40 * Decimal("0.1") + 30 * 3 + 9 * 5
    assert told["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 9,
        "total_tokens": 109,
        "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 0, "image_tokens": 30, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4, "audio_tokens": 0},
    }
    # A total that is not the sum of its parts: the parts are charged as text, and the receipt says what was told.
    upstream.script = (answer("one two three", usage={**usage, "total_tokens": 500}),)
    _, _, told = await gateway.call("POST", "/v1/chat/completions", tenant.key, json=body)
    receipt = (await gateway.receipts(tenant))[0]
    assert (receipt["measured"], receipt["detail"]["upstream_total_tokens"]) == (False, 500)
    assert (told["usage"]["prompt_tokens"], told["usage"]["total_tokens"]) == (100, 109)
