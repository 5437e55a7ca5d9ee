"""Wallets under pressure: empty ones, small ones shared by many, and clients that leave."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
from decimal import Decimal
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from taximeter.engines import EngineUnavailable

pytestmark = pytest.mark.anyio

CHAT = {"model": "teller", "messages": [{"role": "user", "content": "Hi"}]}
VIDEO = {"model": "painter", "prompt": "a ball"}


async def requests_seen(gateway: Any, route: str, status: int) -> float:
    """How many requests of a route were answered with a status, as the metrics count them."""
    _, _, text = await gateway.call("GET", "/metrics", "")
    wanted = f'taximeter_http_requests_total{{method="POST",route="{route}",status="{status}"}}'
    return next((float(line.rsplit(" ", 1)[1]) for line in text.decode().splitlines() if line.startswith(wanted)), 0.0)


async def test_the_client_asks_an_empty_wallet_once(gateway: Any) -> None:
    poor = await gateway.tenant("Poor", tokens=None)
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=poor.key) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
    assert (caught.value.status_code, caught.value.code) == (402, "insufficient_balance")
    assert await requests_seen(gateway, "/v1/chat/completions", 402) == 1
    assert gateway.engine.jobs == []


async def test_the_client_repeats_what_can_get_better_and_is_charged_once(gateway: Any, tenant: Any) -> None:
    gateway.engine.failure = EngineUnavailable("no room", headers={"retry-after-ms": "50"})
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=tenant.key) as client:
        asking = asyncio.create_task(client.chat.completions.create(**CHAT))  # type: ignore[call-overload]
        async with asyncio.timeout(10):
            while len(gateway.engine.jobs) < 2:
                await asyncio.sleep(0.01)
            gateway.engine.failure = None
            answer = await asking
    charged = Decimal(answer.taximeter["tokens_charged"])
    assert await gateway.wallet(tenant) == (str(1000 - charged), "0")
    assert [receipt["outcome"] for receipt in await gateway.receipts(tenant)] == ["completed", "failed", "failed"]


async def test_many_at_once_get_exactly_what_a_small_wallet_affords(gateway: Any) -> None:
    # Ten Tokens a video: 73.5 Tokens afford seven.
    small = await gateway.tenant("Small", tokens="73.5")
    answers = await asyncio.gather(*(gateway.call("POST", "/v1/videos", small.key, json=VIDEO) for _ in range(60)))
    statuses = [status for status, _, _ in answers]
    assert (statuses.count(200), statuses.count(402)) == (7, 53)
    async with asyncio.timeout(20):
        while (await gateway.wallet(small))[1] != "0":
            await asyncio.sleep(0.05)
    assert await gateway.wallet(small) == ("3.5", "0")


async def test_a_client_that_leaves_a_stream_pays_for_what_was_generated(gateway: Any, tenant: Any) -> None:
    gateway.engine.gate = asyncio.Event()
    headers = {"Authorization": f"Bearer {tenant.key}"}
    async with gateway.http.post(f"{gateway.url}/v1/chat/completions", json={**CHAT, "stream": True}, headers=headers) as answer:
        assert b"w0" in await answer.content.readline()
        balance, held = await gateway.wallet(tenant)
        assert Decimal(held) > 0
        answer.close()
    await gateway.until_no_hold_is_open()
    (receipt,) = await gateway.receipts(tenant)
    assert (receipt["outcome"], receipt["work"]["output_tokens"]) == ("disconnected", 1)
    assert 2 < Decimal(receipt["tokens_charged"]) < Decimal(receipt["tokens_held"])
    assert await gateway.wallet(tenant) == (str(1000 - Decimal(receipt["tokens_charged"])), "0")
    assert gateway.engine.cancelled == 1
    assert Decimal(balance) < 1000


@pytest.mark.parametrize(
    ("path", "ask"),
    [
        ("/v1/chat/completions", CHAT),
        ("/v1/audio/speech", {"model": "speaker", "input": "Hi", "voice": "alloy"}),
        ("/v1/embeddings", {"model": "mapper", "input": "Hi"}),
    ],
)
async def test_a_client_that_leaves_before_its_answer_pays_nothing(gateway: Any, tenant: Any, path: str, ask: dict[str, Any]) -> None:
    gateway.engine.gate = asyncio.Event()
    headers = {"Authorization": f"Bearer {tenant.key}"}
    with pytest.raises(TimeoutError):
        async with gateway.http.post(gateway.url + path, json=ask, headers=headers, timeout=aiohttp.ClientTimeout(total=0.3)):
            pass
    await gateway.until_no_hold_is_open()
    (receipt,) = await gateway.receipts(tenant)
    assert (receipt["outcome"], receipt["tokens_charged"]) == ("disconnected", "0")
    assert await gateway.wallet(tenant) == ("1000", "0")
    assert gateway.engine.cancelled == 1
