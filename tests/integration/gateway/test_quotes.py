"""Quotes over HTTP: signed, checked without the server, and what a request that names one is held to."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncOpenAI

from taximeter.db.pool import connect_owner
from taximeter.engines import EngineFailed
from taximeter.kernel.key_file import key_path, rotate_keys
from taximeter.kernel.signatures import PublicKey
from taximeter.metering.quotes import read_quote, revoke_key, verify_quote

pytestmark = pytest.mark.anyio

HELLO: list[Any] = [{"role": "user", "content": "Hi"}]
CHAT: dict[str, Any] = {"messages": HELLO, "max_tokens": 5}
EMBED: dict[str, Any] = {"input": "Hi"}
SPEECH: dict[str, Any] = {"input": "Hi", "voice": "alloy"}
VIDEO: dict[str, Any] = {"prompt": "a ball", "seconds": "1"}
CHATS, EMBEDDINGS, SPEECHES, VIDEOS = "/v1/chat/completions", "/v1/embeddings", "/v1/audio/speech", "/v1/videos"
RIDES = [(CHATS, "teller", CHAT), (EMBEDDINGS, "mapper", EMBED), (SPEECHES, "speaker", SPEECH), (VIDEOS, "painter", VIDEO)]
MODALITIES = ["chat", "embeddings", "speech", "video"]


async def quote(gateway: Any, tenant: Any, model: str, request: Mapping[str, Any]) -> dict[str, Any]:
    status, _, offer = await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": model, "request": request})
    assert status == 200, offer
    return dict(offer)


async def ride(gateway: Any, tenant: Any, path: str, body: Mapping[str, Any], offer: Mapping[str, Any], **headers: str) -> tuple[int, Any, Any]:
    answer: tuple[int, Any, Any] = await gateway.call("POST", path, tenant.key, json=body, headers={"taximeter-quote": offer["id"], **headers})
    return answer


async def keys(gateway: Any) -> list[PublicKey]:
    status, _, found = await gateway.call("GET", "/v1/keys", "")
    assert status == 200
    return [PublicKey.from_jwk(each) for each in found["keys"]]


def error(body: Any) -> tuple[str, str | None]:
    return body["error"]["code"], body["error"]["param"]


@pytest.mark.parametrize(("path", "model", "request_body"), RIDES, ids=MODALITIES)
async def test_a_quote_binds_a_request_of_each_kind_and_its_receipt_names_it(
    gateway: Any, tenant: Any, path: str, model: str, request_body: dict[str, Any]
) -> None:
    offer = await quote(gateway, tenant, model, request_body)
    assert verify_quote(offer, await keys(gateway)).id == offer["signature"]["key"]
    assert offer["basis"] == "list"
    status, headers, body = await ride(gateway, tenant, path, {**request_body, "model": model}, offer)
    assert (status, headers["taximeter-quote"], headers["taximeter-tokens-held"]) == (200, offer["id"], offer["tokens_max"]), body
    await gateway.until_no_hold_is_open()
    receipt = (await gateway.call("GET", f"/v1/receipts/{headers['taximeter-receipt']}", tenant.key))[2]
    assert (receipt["quote"], receipt["outcome"]) == (offer["id"], "completed")
    assert Decimal(receipt["tokens_charged"]) <= Decimal(offer["tokens_max"])
    _, _, kept = await gateway.call("GET", f"/v1/quotes/{offer['id']}", tenant.key)
    assert (kept.pop("state"), kept.pop("receipt")) == ("used", receipt["id"])
    assert kept == offer
    balance = await gateway.wallet(tenant)
    status, headers, refusal = await ride(gateway, tenant, path, {**request_body, "model": model}, offer)
    assert (status, error(refusal), headers["taximeter-receipt"]) == (422, ("quote_used", "taximeter-quote"), receipt["id"])
    assert await gateway.wallet(tenant) == balance


@pytest.mark.parametrize(("path", "model", "request_body"), RIDES, ids=MODALITIES)
async def test_a_cap_without_a_quote_refuses_before_anything_runs(
    gateway: Any, tenant: Any, path: str, model: str, request_body: dict[str, Any]
) -> None:
    offer = await quote(gateway, tenant, model, request_body)
    most = Decimal(offer["tokens_max"])
    body = {**request_body, "model": model}
    status, _, refusal = await gateway.call("POST", path, tenant.key, json=body, headers={"taximeter-max-tokens": str(most - Decimal("0.000001"))})
    assert (status, refusal["error"]["code"], await gateway.wallet(tenant), gateway.engine.jobs) == (400, "above_max_tokens", ("1000", "0"), [])
    status, headers, _ = await gateway.call("POST", path, tenant.key, json=body, headers={"taximeter-max-tokens": str(most)})
    assert (status, headers["taximeter-tokens-held"]) == (200, str(most))
    # With a quote the cap counts too.
    status, _, refusal = await ride(gateway, tenant, path, body, offer, **{"taximeter-max-tokens": "0"})
    assert (status, refusal["error"]["code"]) == (400, "above_max_tokens")
    assert (await ride(gateway, tenant, path, body, offer))[0] == 200


@pytest.mark.parametrize(
    ("change", "field"),
    [({"max_tokens": 6}, "max_tokens"), ({"temperature": 0.5}, "temperature"), ({"messages": [{"role": "user", "content": "Ho"}]}, "messages")],
)
async def test_another_request_than_the_quoted_one_is_refused_and_told_which_field_differs(
    gateway: Any, tenant: Any, change: dict[str, Any], field: str
) -> None:
    offer = await quote(gateway, tenant, "teller", CHAT)
    status, _, refusal = await ride(gateway, tenant, CHATS, {**CHAT, **change, "model": "teller"}, offer)
    assert (status, error(refusal), field in refusal["error"]["message"]) == (422, ("quote_mismatch", field), True)
    status, _, refusal = await ride(gateway, tenant, CHATS, {**CHAT, "model": "orphan"}, offer)
    assert (status, error(refusal)) == (422, ("quote_mismatch", "model"))
    assert (await gateway.wallet(tenant), gateway.engine.jobs) == (("1000", "0"), [])
    # The quote is as good as before.
    assert (await ride(gateway, tenant, CHATS, {**CHAT, "model": "teller"}, offer))[0] == 200


async def test_a_form_and_json_are_one_job_and_so_are_a_default_and_its_value(gateway: Any, tenant: Any) -> None:
    forms: list[dict[str, Any]] = [{"prompt": "a ball", "seconds": "1"}, {"prompt": "a ball", "seconds": 1, "size": "640x360", "steps": 20.0}]
    for request_body in forms:
        offer = await quote(gateway, tenant, "painter", request_body)
        headers = {"taximeter-quote": offer["id"]}
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in {"model": "painter", "fps": "16", "seconds": "1", "prompt": "a ball"}.items():
            form.add_field(name, value)
        status, _, body = await gateway.call("POST", VIDEOS, tenant.key, data=form, headers=headers)
        assert status == 200, body
    chat = await quote(gateway, tenant, "teller", {**CHAT, "temperature": 1.0, "stream": True})
    assert (await ride(gateway, tenant, CHATS, {"temperature": 1, "model": "teller", **CHAT}, chat))[0] == 200


async def test_expired_foreign_and_unknown_quotes_are_told_apart_as_far_as_that_is_the_callers_business(gateway: Any, tenant: Any) -> None:
    other = await gateway.tenant("Another")
    body = {**CHAT, "model": "teller"}
    object.__setattr__(gateway.office.settings, "quote_ttl_s", 0)
    over = await quote(gateway, tenant, "teller", CHAT)
    object.__setattr__(gateway.office.settings, "quote_ttl_s", 900)
    status, headers, refusal = await ride(gateway, tenant, CHATS, body, over)
    assert (status, error(refusal), "retry-after" in headers) == (410, ("quote_expired", "taximeter-quote"), False)
    assert (await gateway.call("GET", f"/v1/quotes/{over['id']}", tenant.key))[2]["state"] == "expired"
    theirs = await quote(gateway, other, "teller", CHAT)
    answers = [await ride(gateway, tenant, CHATS, body, {"id": name}) for name in (theirs["id"], f"quo_{'0' * 26}", "quo_x", over["id"][4:])]
    assert {(status, json.dumps(refusal)) for status, _, refusal in answers} == {(404, json.dumps(answers[0][2]))}
    assert error(answers[0][2]) == ("quote_not_found", "taximeter-quote")
    assert (await gateway.call("GET", f"/v1/quotes/{theirs['id']}", tenant.key))[0] == 404
    assert (await gateway.wallet(tenant), gateway.engine.jobs) == (("1000", "0"), [])


@pytest.mark.parametrize("path", [CHATS, VIDEOS])
async def test_of_fifty_at_once_one_runs(gateway: Any, tenant: Any, path: str) -> None:
    _, model, request_body = next(each for each in RIDES if each[0] == path)
    offer = await quote(gateway, tenant, model, request_body)
    answers = await asyncio.gather(*(ride(gateway, tenant, path, {**request_body, "model": model}, offer) for _ in range(50)))
    assert Counter(status for status, _, _ in answers) == {200: 1, 422: 49}
    assert {error(body)[0] for status, _, body in answers if status == 422} == {"quote_used"}
    await gateway.until_no_hold_is_open()
    assert (len(gateway.engine.jobs), len(await gateway.receipts(tenant))) == (1, 1)


async def test_a_quote_whose_request_failed_is_free_again(gateway: Any, tenant: Any) -> None:
    offer = await quote(gateway, tenant, "teller", CHAT)
    body = {**CHAT, "model": "teller"}
    gateway.engine.failure = EngineFailed("the engine is broken")
    assert (await ride(gateway, tenant, CHATS, body, offer))[0] == 502
    await gateway.until_no_hold_is_open()
    assert (await gateway.call("GET", f"/v1/quotes/{offer['id']}", tenant.key))[2]["state"] == "open"
    gateway.engine.failure = None
    status, headers, _ = await ride(gateway, tenant, CHATS, body, offer)
    assert (status, headers["taximeter-quote"]) == (200, offer["id"])
    assert error((await ride(gateway, tenant, CHATS, body, offer))[2])[0] == "quote_used"


async def test_a_request_that_cannot_be_paid_does_not_use_its_quote(gateway: Any) -> None:
    poor = await gateway.tenant("Poor", tokens=None)
    offer = await quote(gateway, poor, "teller", CHAT)
    body = {**CHAT, "model": "teller"}
    answers = await asyncio.gather(*(ride(gateway, poor, CHATS, body, offer) for _ in range(5)))
    assert {error(refusal)[0] for _, _, refusal in answers} == {"insufficient_balance"}
    await gateway.admin("POST", f"/projects/{poor.id}/top-ups", json={"tokens": offer["tokens_max"]})
    assert (await ride(gateway, poor, CHATS, body, offer))[0] == 200


async def test_a_repeat_under_a_key_is_replayed_and_not_a_second_use(gateway: Any, tenant: Any) -> None:
    offer = await quote(gateway, tenant, "teller", CHAT)
    body = {**CHAT, "model": "teller"}
    named = {"idempotency-key": "order 17"}
    gateway.engine.gate = asyncio.Event()
    calls = [asyncio.create_task(ride(gateway, tenant, CHATS, body, offer, **named)) for _ in range(20)]
    async with asyncio.timeout(20):
        while sum(call.done() for call in calls) < 19:
            await asyncio.sleep(0.01)
    gateway.engine.gate.set()
    answers = await asyncio.gather(*calls)
    assert Counter(status for status, _, _ in answers) == {200: 1, 409: 19}
    assert {error(refusal)[0] for status, _, refusal in answers if status == 409} == {"idempotency_in_progress"}
    status, headers, again = await ride(gateway, tenant, CHATS, body, offer, **named)
    assert (status, headers["idempotency-replayed"], headers["taximeter-quote"]) == (200, "true", offer["id"])
    assert again == next(answer for status, _, answer in answers if status == 200)
    assert error((await ride(gateway, tenant, CHATS, body, offer, **{"idempotency-key": "order 18"}))[2])[0] == "quote_used"
    assert len(gateway.engine.jobs) == 1


async def test_a_quote_is_priced_by_its_own_versions_after_a_price_has_changed(gateway: Any, tenant: Any, tmp_path: Any) -> None:
    from taximeter.metering.fares import METERS  # noqa: PLC0415 - with the next one
    from taximeter.pricing import apply_dir  # noqa: PLC0415 - only this test publishes

    offers = [await quote(gateway, tenant, model, body) for _, model, body in (RIDES[0], RIDES[3])]
    (tmp_path / "dearer").mkdir()
    text = (tmp_path / "catalog" / "test.yaml").read_text(encoding="utf-8")
    documents = [each for each in text.split("---\n") if "name: text\n" in each or "name: film\n" in each]
    dearer = "---\n".join(
        each.replace("version: 1", "version: 2").replace("2026-01-01", "2026-02-01").replace("tokens: ", "tokens: 7") for each in documents
    )
    (tmp_path / "dearer" / "test.yaml").write_text(dearer, encoding="utf-8")
    owner = await connect_owner(gateway.office.settings.database_url)
    await apply_dir(owner, tmp_path / "dearer", METERS)
    await owner.close()
    async with asyncio.timeout(10):
        while (await quote(gateway, tenant, "teller", CHAT))["rate_card"] != "text@2":
            await asyncio.sleep(0.05)
    assert Decimal((await quote(gateway, tenant, "teller", CHAT))["tokens_max"]) > 10 * Decimal(offers[0]["tokens_max"])
    for (path, model, body), offer in zip((RIDES[0], RIDES[3]), offers, strict=True):
        status, headers, answer = await ride(gateway, tenant, path, {**body, "model": model}, offer)
        assert (status, headers["taximeter-rate-card"], headers["taximeter-tokens-held"]) == (200, offer["rate_card"], offer["tokens_max"]), answer
        await gateway.until_no_hold_is_open()
        receipt = (await gateway.call("GET", f"/v1/receipts/{headers['taximeter-receipt']}", tenant.key))[2]
        assert Decimal(receipt["tokens_charged"]) <= Decimal(offer["tokens_max"])


async def test_the_official_client_sends_a_refused_quote_once(gateway: Any, tenant: Any) -> None:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=tenant.key) as client:
        offer = await quote(gateway, tenant, "teller", CHAT)
        extra = {"taximeter-quote": offer["id"]}
        stream = await client.chat.completions.create(model="teller", messages=HELLO, max_tokens=5, stream=True, extra_headers=extra)
        chunks = [chunk async for chunk in stream]
        assert chunks[-1].model_extra is not None
        with pytest.raises(openai.UnprocessableEntityError) as used:
            await client.chat.completions.create(model="teller", messages=HELLO, max_tokens=5, extra_headers=extra)
        with pytest.raises(openai.NotFoundError) as unknown:
            await client.chat.completions.create(model="teller", messages=HELLO, extra_headers={"taximeter-quote": "quo_none"})
        spoken = await quote(gateway, tenant, "speaker", SPEECH)
        audio = await client.audio.speech.create(model="speaker", voice="alloy", input="Hi", extra_headers={"taximeter-quote": spoken["id"]})
    assert (used.value.code, unknown.value.code, audio.read()) == ("quote_used", "quote_not_found", b"sound of alloy")
    page = (await gateway.call("GET", "/metrics", ""))[2].decode()
    assert f'taximeter_http_requests_total{{method="POST",route="{CHATS}",status="422"}} 1.0' in page


async def test_a_batch_has_a_quote_or_an_error_for_each_item_and_their_totals(gateway: Any, tenant: Any) -> None:
    items = [{"model": "teller", "request": CHAT}, {"model": "nobody", "request": CHAT}, "nonsense", {"model": "painter", "request": VIDEO}]
    status, _, batch = await gateway.call("POST", "/v1/quotes", tenant.key, json={"items": items})
    assert status == 200
    assert [each.get("error", {}).get("code", "quoted") for each in batch["items"]] == ["quoted", "model_not_found", "invalid_value", "quoted"]
    offers = [each["quote"] for each in batch["items"] if "quote" in each]
    public = await keys(gateway)
    assert [verify_quote(offer, public).id for offer in offers] == [public[0].id] * 2
    totals = batch["totals"]
    assert (totals["quoted"], totals["refused"]) == (2, 2)
    assert Decimal(totals["tokens_max"]) == sum(Decimal(offer["tokens_max"]) for offer in offers)
    assert int(totals["money"][0]["maximum_nano"]) == sum(int(offer["money"]["maximum_nano"]) for offer in offers)
    assert (await ride(gateway, tenant, VIDEOS, {**VIDEO, "model": "painter"}, offers[1]))[0] == 200


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({"items": []}, "invalid_value", "items"),
        ({"items": [{}] * 1001}, "too_many_quotes", "items"),
        ({"items": [{}], "model": "teller"}, "invalid_value", "model"),
        ({"items": [{}], "alternatives": True}, "invalid_value", "alternatives"),
        ({"model": "teller"}, "missing_required_parameter", "request"),
        ({"model": "teller", "request": CHAT, "alternatives": "yes"}, "invalid_value", "alternatives"),
    ],
)
async def test_what_is_no_question_for_quotes_is_refused(gateway: Any, tenant: Any, body: dict[str, Any], code: str, param: str) -> None:
    status, _, problem = await gateway.call("POST", "/v1/quotes", tenant.key, json=body)
    assert (status, problem["code"], problem["param"]) == (400, code, param)


async def test_a_large_batch_leaves_others_their_turn(gateway: Any, tenant: Any) -> None:
    items = [{"model": "teller", "request": {"messages": [{"role": "user", "content": f"number {number}"}]}} for number in range(1000)]
    turns = 0
    batch = asyncio.create_task(gateway.call("POST", "/v1/quotes", tenant.key, json={"items": items}))
    while not batch.done():
        assert (await gateway.call("GET", "/healthz", ""))[0] == 200
        turns += 1
    status, _, answer = await batch
    assert (status, answer["totals"]["quoted"]) == (200, 1000)
    # Without yielding, one would get its turn before it and one after it.
    assert turns > 5


async def test_alternatives_are_cheaper_sorted_and_quotable_for_just_that(gateway: Any, tenant: Any) -> None:
    body = {"model": "painter", "request": {**VIDEO, "seconds": "8"}, "alternatives": True}
    _, _, offer = await gateway.call("POST", "/v1/quotes", tenant.key, json=body)
    verify_quote(offer, await keys(gateway))
    found = offer["alternatives"]
    assert found
    most = [Decimal(each["tokens_max"]) for each in found]
    assert most == sorted(most)
    assert most[-1] < Decimal(offer["tokens_max"])
    for each in found:
        again = await quote(gateway, tenant, each["model"], each["request"])
        assert (again["tokens_max"], again["money"]) == (each["tokens_max"], each["money"])
        assert Decimal(each["tokens_saved"]) == Decimal(offer["tokens_max"]) - Decimal(each["tokens_max"])
    assert {each["changes"][0]["field"] for each in found} == {"steps"}, "the card prices nothing else"


async def test_a_new_key_signs_and_the_old_one_still_checks(gateway: Any, tenant: Any) -> None:
    before = await quote(gateway, tenant, "teller", CHAT)
    rotate_keys(key_path(gateway.office.settings))
    async with asyncio.timeout(10):
        while (after := await quote(gateway, tenant, "teller", CHAT))["signature"]["key"] == before["signature"]["key"]:
            await asyncio.sleep(0.1)
        while len(public := await keys(gateway)) < 2:
            await asyncio.sleep(0.1)
    assert [verify_quote(offer, public).id for offer in (after, before)] == [key.id for key in public]
    # The old quote binds as before.
    assert (await ride(gateway, tenant, CHATS, {**CHAT, "model": "teller"}, before))[0] == 200


async def test_a_revoked_key_signs_nothing_and_its_later_quotes_bind_nobody(
    gateway: Any, tenant: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taximeter.metering.quotes.service.KEYS_REFRESH_S", 0.05)
    early, late = [await quote(gateway, tenant, "teller", CHAT) for _ in range(2)]
    kid = early["signature"]["key"]
    owner = await connect_owner(database_url)
    made = {row["document"]: row["created_at"] for row in await owner.fetch("select document, created_at from metering.quotes")}
    start = next(at for document, at in made.items() if late["id"] in document)
    assert await revoke_key(owner, kid, start) == start
    assert await revoke_key(owner, kid, None) == start, "a later time changes nothing"
    await owner.close()
    # Whatever the gateway has seen by now, what was put on record since then does not count.
    status, _, refusal = await ride(gateway, tenant, CHATS, {**CHAT, "model": "teller"}, late)
    assert (status, error(refusal)) == (410, ("quote_key_revoked", "taximeter-quote"))
    assert (await gateway.call("GET", f"/v1/quotes/{late['id']}", tenant.key))[2]["state"] == "revoked"
    assert (await ride(gateway, tenant, CHATS, {**CHAT, "model": "teller"}, early))[0] == 200
    async with asyncio.timeout(30):
        while (answer := await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": "teller", "request": CHAT}))[0] == 200:
            await asyncio.sleep(0.1)
        assert (answer[0], answer[2]["code"]) == (503, "signing_key_revoked")
        while "revoked_from" not in (key := (await gateway.call("GET", "/v1/keys", ""))[2]["keys"][0]):
            await asyncio.sleep(0.1)
        assert (key["kid"], datetime.fromisoformat(key["revoked_from"])) == (kid, start)
        rotate_keys(key_path(gateway.office.settings))
        while (answer := await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": "teller", "request": CHAT}))[0] == 503:
            await asyncio.sleep(0.1)
    assert (answer[0], answer[2]["signature"]["key"] != kid) == (200, True)
    assert (await ride(gateway, tenant, CHATS, {**CHAT, "model": "teller"}, answer[2]))[0] == 200


async def test_quotes_long_gone_are_forgotten_and_those_in_use_are_not(gateway: Any, tenant: Any) -> None:
    offer = await quote(gateway, tenant, "teller", CHAT)
    object.__setattr__(gateway.office.settings, "quote_ttl_s", -10)
    gone = await quote(gateway, tenant, "teller", CHAT)
    count = await gateway.office.pool.fetchval("select metering.forget_quotes(5, 100)")
    assert count == 1
    assert (await gateway.call("GET", f"/v1/quotes/{gone['id']}", tenant.key))[0] == 404
    assert read_quote(json.dumps((await gateway.call("GET", f"/v1/quotes/{offer['id']}", tenant.key))[2]))["id"] == offer["id"]
