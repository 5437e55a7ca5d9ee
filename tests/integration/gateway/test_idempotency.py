"""One key, one charge: repeats over HTTP, one after the other and all at once."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from taximeter.db.pool import connect_owner
from taximeter.engines import EngineFailed
from taximeter.kernel.ids import decode_id

pytestmark = pytest.mark.anyio

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]
CHAT: dict[str, Any] = {"model": "teller", "messages": HELLO}
EMBED: dict[str, Any] = {"model": "mapper", "input": "Hi"}
SPEECH: dict[str, Any] = {"model": "speaker", "input": "Hi", "voice": "alloy"}
VIDEO: dict[str, Any] = {"model": "painter", "prompt": "a ball"}
CHATS, EMBEDDINGS, SPEECHES, VIDEOS = "/v1/chat/completions", "/v1/embeddings", "/v1/audio/speech", "/v1/videos"
KEY = {"idempotency-key": "order 17"}


async def post(gateway: Any, tenant: Any, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, Any, Any]:
    answer: tuple[int, Any, Any] = await gateway.call("POST", path, tenant.key, json=body, headers=KEY if headers is None else headers)
    return answer


async def until_engine_runs(gateway: Any, jobs: int = 1) -> None:
    async with asyncio.timeout(10):
        while len(gateway.engine.jobs) < jobs:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(("path", "body"), [(CHATS, CHAT), (EMBEDDINGS, EMBED)])
async def test_a_repeat_gets_the_first_answer_and_is_not_charged(gateway: Any, tenant: Any, path: str, body: dict[str, Any]) -> None:
    status, first, answer = await post(gateway, tenant, path, body)
    assert (status, "idempotency-replayed" in first) == (200, False)
    wallet = await gateway.wallet(tenant)
    status, second, again = await post(gateway, tenant, path, body)
    assert (status, again, second["idempotency-replayed"], second.get("content-type")) == (200, answer, "true", first.get("content-type"))
    for name in ("taximeter-receipt", "taximeter-tokens-held", "taximeter-tokens-charged", "taximeter-rate-card"):
        assert second[name] == first[name]
    assert await gateway.wallet(tenant) == wallet
    assert (len(gateway.engine.jobs), len(await gateway.receipts(tenant))) == (1, 1)


async def test_a_repeat_needs_no_balance_and_no_engine(gateway: Any, tenant: Any) -> None:
    _, first, _ = await post(gateway, tenant, CHATS, CHAT, {})
    poor = await gateway.tenant("Poor", tokens=first["taximeter-tokens-held"])
    _, _, answer = await post(gateway, poor, CHATS, CHAT)
    assert (await post(gateway, poor, CHATS, CHAT, {}))[2]["error"]["code"] == "insufficient_balance"
    assert (await post(gateway, poor, CHATS, CHAT))[2] == answer
    gateway.office.desk.engines = {}
    assert (await post(gateway, poor, CHATS, CHAT, {}))[2]["error"]["code"] == "engine_unavailable"
    status, _, again = await post(gateway, poor, CHATS, CHAT)
    assert (status, again) == (200, answer)


async def test_of_twenty_at_once_one_runs(gateway: Any, tenant: Any) -> None:
    gateway.engine.gate = asyncio.Event()
    calls = [asyncio.create_task(post(gateway, tenant, CHATS, CHAT)) for _ in range(20)]
    async with asyncio.timeout(20):
        while sum(call.done() for call in calls) < 19:
            await asyncio.sleep(0.01)
    gateway.engine.gate.set()
    answers = await asyncio.gather(*calls)
    assert Counter(status for status, _, _ in answers) == {200: 1, 409: 19}
    for status, headers, body in answers:
        if status == 409:
            assert body["error"]["code"] == "idempotency_in_progress"
            assert (headers["retry-after"], headers.get("x-should-retry")) == ("1", None)
    assert len(gateway.engine.jobs) == 1
    assert await gateway.wallet(tenant) == ("987.6", "0")
    assert (await post(gateway, tenant, CHATS, CHAT))[1]["idempotency-replayed"] == "true"


async def test_the_official_client_waits_for_the_first_answer(gateway: Any, tenant: Any) -> None:
    gateway.engine.gate = asyncio.Event()
    first = asyncio.create_task(post(gateway, tenant, CHATS, CHAT))
    await until_engine_runs(gateway)
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=tenant.key) as client:
        second = asyncio.create_task(client.chat.completions.create(model="teller", messages=HELLO, extra_headers=KEY))
        refused = f'taximeter_http_requests_total{{method="POST",route="{CHATS}",status="409"}}'
        async with asyncio.timeout(10):
            while refused.encode() not in (await gateway.call("GET", "/metrics", ""))[2]:
                await asyncio.sleep(0.01)
        gateway.engine.gate.set()
        answer = await second
    assert answer.id == (await first)[2]["id"]
    assert await gateway.wallet(tenant) == ("987.6", "0")


@pytest.mark.parametrize(
    ("path", "body"), [(CHATS, {**CHAT, "max_tokens": 3}), (CHATS, {**CHAT, "stream": True}), (EMBEDDINGS, EMBED), (VIDEOS, VIDEO)]
)
async def test_a_key_is_not_for_another_request(gateway: Any, tenant: Any, path: str, body: dict[str, Any]) -> None:
    _, first, _ = await post(gateway, tenant, CHATS, CHAT)
    status, headers, refusal = await post(gateway, tenant, path, body)
    assert (status, refusal["error"]["code"], refusal["error"]["param"]) == (422, "idempotency_key_reused", "idempotency-key")
    assert headers["taximeter-receipt"] == first["taximeter-receipt"]
    assert (len(gateway.engine.jobs), await gateway.wallet(tenant)) == (1, ("987.6", "0"))


async def test_a_key_belongs_to_its_project(gateway: Any, tenant: Any) -> None:
    other = await gateway.tenant("Another")
    _, _, answer = await post(gateway, tenant, CHATS, CHAT)
    status, headers, theirs = await post(gateway, other, CHATS, CHAT)
    assert (status, "idempotency-replayed" in headers) == (200, False)
    assert theirs["id"] != answer["id"]
    assert await gateway.wallet(other) == ("987.6", "0")


@pytest.mark.parametrize(
    ("path", "body"),
    [(CHATS, {**CHAT, "stream": True}), (SPEECHES, SPEECH), (SPEECHES, {**SPEECH, "stream_format": "sse"})],
)
async def test_streams_and_speech_are_not_kept_and_a_repeat_is_told_the_receipt(gateway: Any, tenant: Any, path: str, body: dict[str, Any]) -> None:
    status, first, _ = await post(gateway, tenant, path, body)
    assert status == 200
    await gateway.until_no_hold_is_open()
    wallet = await gateway.wallet(tenant)
    status, headers, refusal = await post(gateway, tenant, path, body)
    receipt = first["taximeter-receipt"]
    assert (status, refusal["error"]["code"]) == (409, "idempotency_answer_gone")
    assert (headers["taximeter-receipt"], headers["x-should-retry"], receipt in refusal["error"]["message"]) == (receipt, "false", True)
    assert (len(gateway.engine.jobs), await gateway.wallet(tenant)) == (1, wallet)


async def test_an_answer_that_is_too_large_is_not_kept(gateway: Any, tenant: Any) -> None:
    gateway.engine.tokens = 20
    object.__setattr__(gateway.office.settings, "idempotency_body_max", 100)
    await post(gateway, tenant, CHATS, CHAT)
    status, _, refusal = await post(gateway, tenant, CHATS, CHAT)
    assert (status, refusal["error"]["code"]) == (409, "idempotency_answer_gone")


async def test_an_answer_on_its_way_to_be_kept_is_waited_for_and_one_that_never_came_is_not(gateway: Any, tenant: Any) -> None:
    _, first, answer = await post(gateway, tenant, CHATS, CHAT)
    owner = await connect_owner(gateway.office.settings.database_url)
    try:
        # As if the gateway died between the settlement and keeping the answer.
        await owner.execute("delete from metering.idempotent_answers")
        status, headers, refusal = await post(gateway, tenant, CHATS, CHAT)
        assert (status, refusal["error"]["code"], headers["retry-after"]) == (409, "idempotency_in_progress", "1")
        await owner.execute("alter table metering.receipts disable trigger append_only")
        await owner.execute("update metering.receipts set settled_at = settled_at - interval '10 seconds'")
    finally:
        await owner.close()
    status, headers, refusal = await post(gateway, tenant, CHATS, CHAT)
    assert (status, refusal["error"]["code"]) == (409, "idempotency_answer_gone")
    assert headers["taximeter-receipt"] == first["taximeter-receipt"] == answer["taximeter"]["receipt"]


async def test_a_request_that_failed_may_run_again_under_its_key(gateway: Any, tenant: Any) -> None:
    gateway.engine.failure = EngineFailed("it broke")
    assert (await post(gateway, tenant, CHATS, CHAT))[0] == 502
    gateway.engine.failure = None
    status, headers, answer = await post(gateway, tenant, CHATS, CHAT)
    assert (status, "idempotency-replayed" in headers) == (200, False)
    assert (await post(gateway, tenant, CHATS, CHAT))[2] == answer
    assert await gateway.wallet(tenant) == ("987.6", "0")
    assert [receipt["outcome"] for receipt in await gateway.receipts(tenant)] == ["completed", "failed"]


async def test_the_official_client_repeats_a_failure_under_one_key_and_is_charged_once(gateway: Any, tenant: Any) -> None:
    gateway.engine.failure = EngineFailed("it broke", headers={"retry-after-ms": "20"})
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=tenant.key) as client:
        with pytest.raises(openai.InternalServerError):
            await client.chat.completions.create(model="teller", messages=HELLO, extra_headers=KEY)
    assert len(gateway.engine.jobs) == 3
    assert await gateway.wallet(tenant) == ("1000", "0")


async def test_a_refused_request_takes_no_key(gateway: Any) -> None:
    tenant = await gateway.tenant("Poor", tokens=None)
    assert (await post(gateway, tenant, CHATS, CHAT))[0] == 402
    await gateway.admin("POST", f"/projects/{tenant.id}/top-ups", json={"tokens": "1000"})
    assert (await post(gateway, tenant, CHATS, CHAT))[0] == 200


async def test_twenty_on_an_empty_wallet_are_all_refused_for_that(gateway: Any) -> None:
    tenant = await gateway.tenant("Poor", tokens=None)
    answers = await asyncio.gather(*(post(gateway, tenant, CHATS, CHAT) for _ in range(20)))
    assert Counter(status for status, _, _ in answers) == {402: 20}


async def test_a_video_ordered_twice_is_one_video(gateway: Any, tenant: Any) -> None:
    gateway.engine.gate = asyncio.Event()
    status, first, video = await post(gateway, tenant, VIDEOS, VIDEO)
    assert (status, "idempotency-replayed" in first) == (200, False)
    status, headers, again = await post(gateway, tenant, VIDEOS, VIDEO)
    assert (status, again["id"], headers["idempotency-replayed"]) == (200, video["id"], "true")
    gateway.engine.gate.set()
    await gateway.until_no_hold_is_open()
    _, _, done = await post(gateway, tenant, VIDEOS, VIDEO)
    assert (done["id"], done["status"]) == (video["id"], "completed")
    _, _, page = await gateway.call("GET", VIDEOS, tenant.key)
    assert ([item["id"] for item in page["data"]], len(gateway.engine.jobs)) == ([video["id"]], 1)
    assert await gateway.wallet(tenant) == ("990", "0")


async def test_twenty_orders_at_once_are_one_video(gateway: Any, tenant: Any) -> None:
    answers = await asyncio.gather(*(post(gateway, tenant, VIDEOS, VIDEO) for _ in range(20)))
    assert {status for status, _, _ in answers} == {200}
    assert len({video["id"] for _, _, video in answers}) == 1
    assert sum("idempotency-replayed" not in headers for _, headers, _ in answers) == 1
    await gateway.until_no_hold_is_open()
    assert await gateway.wallet(tenant) == ("990", "0")


async def test_a_video_deleted_while_it_waits_frees_its_key_and_a_finished_one_does_not(gateway: Any, tenant: Any) -> None:
    gateway.engine.gate = asyncio.Event()
    _, _, first = await post(gateway, tenant, VIDEOS, VIDEO)
    await gateway.call("DELETE", f"{VIDEOS}/{first['id']}", tenant.key)
    _, headers, second = await post(gateway, tenant, VIDEOS, VIDEO)
    assert (second["id"] != first["id"], "idempotency-replayed" in headers) == (True, False)
    gateway.engine.gate.set()
    await gateway.until_no_hold_is_open()
    await gateway.call("DELETE", f"{VIDEOS}/{second['id']}", tenant.key)
    status, headers, refusal = await post(gateway, tenant, VIDEOS, VIDEO)
    assert (status, refusal["error"]["code"]) == (409, "idempotency_answer_gone")
    assert decode_id("rcp", headers["taximeter-receipt"]) == decode_id("video", second["id"])


async def test_a_form_and_the_same_texts_in_json_are_one_order(gateway: Any, tenant: Any) -> None:
    fields = {**VIDEO, "seconds": "2"}
    _, _, video = await post(gateway, tenant, VIDEOS, fields)
    _, headers, again = await gateway.call("POST", VIDEOS, tenant.key, data=form(fields), headers=KEY)
    assert (again["id"], headers["idempotency-replayed"]) == (video["id"], "true")


def form(fields: dict[str, str]) -> aiohttp.FormData:
    data = aiohttp.FormData(fields, default_to_multipart=True)
    assert data.is_multipart
    return data
