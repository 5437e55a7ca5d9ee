"""Quotes at their limits: prices that nobody can hold, repeats at once, what is no question for a quote."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from multidict import CIMultiDict

from taximeter.db.pool import connect_owner
from taximeter.metering.fares import METERS
from taximeter.metering.quotes import QuoteStore
from taximeter.metering.quotes.store import Row
from taximeter.pricing import apply_dir

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
VIDEO: dict[str, Any] = {"prompt": "a ball", "seconds": "1"}
CHATS, VIDEOS = "/v1/chat/completions", "/v1/videos"


async def quote(gateway: Any, tenant: Any, model: str, request: dict[str, Any]) -> dict[str, Any]:
    status, _, offer = await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": model, "request": request})
    assert status == 200, offer
    return dict(offer)


async def make_films_dear(gateway: Any, folder: Path) -> None:
    """A step for 7 x 10^15 Tokens: a film of them is above what a bigint holds in micro-Tokens."""
    text = (folder / "catalog" / "test.yaml").read_text(encoding="utf-8")
    film = next(each for each in text.split("---\n") if "name: film\n" in each)
    (folder / "dear").mkdir()
    dear = film.replace("version: 1", "version: 2").replace("2026-01-01", "2026-02-01").replace("tokens: 0.5", "tokens: 7000000000000000")
    (folder / "dear" / "test.yaml").write_text(dear, encoding="utf-8")
    owner = await connect_owner(gateway.office.settings.database_url)
    await apply_dir(owner, folder / "dear", METERS)
    await owner.close()
    async with asyncio.timeout(10):
        while gateway.office.desk.catalog.priced("painter").card.id != "film@2":
            await asyncio.sleep(0.05)


async def test_a_price_that_no_request_may_have_is_refused_and_fails_nobody_elses_quote(gateway: Any, tenant: Any, tmp_path: Path) -> None:
    await make_films_dear(gateway, tmp_path)
    other = await gateway.tenant("Another")
    dear, plain = {"model": "painter", "request": VIDEO}, {"model": "teller", "request": CHAT}
    calls = [gateway.call("POST", "/v1/quotes", each.key, json=wish) for _ in range(20) for each, wish in ((tenant, dear), (other, plain))]
    answers = await asyncio.gather(*calls)
    assert [(status, body["code"]) for status, _, body in answers[::2]] == [(400, "too_expensive")] * 20
    assert {status for status, _, _ in answers[1::2]} == {200}
    status, _, batch = await gateway.call("POST", "/v1/quotes", tenant.key, json={"items": [plain, dear, plain]})
    assert (status, batch["totals"]["quoted"], batch["totals"]["refused"]) == (200, 2, 1)
    assert batch["items"][1]["error"]["code"] == "too_expensive"
    status, _, problem = await gateway.call("POST", VIDEOS, tenant.key, json={**VIDEO, "model": "painter"})
    assert (status, problem["error"]["code"]) == (400, "too_expensive")
    status, _, page = await gateway.call("GET", "/quote?model=painter", "")
    assert (status, b"no single request may cost more" in page) == (400, True)


@pytest.mark.parametrize("fault", [{"fingerprint": b"short"}, {"maximum_utok": 2**63}, {"maximum_utok": -1}, {"document": "a\0b"}])
async def test_a_row_that_the_database_does_not_take_fails_alone(gateway: Any, tenant: Any, fault: dict[str, Any]) -> None:
    ids, office = gateway.office.desk.ids, gateway.office
    offer = await quote(gateway, tenant, "teller", CHAT)
    kept = await office.pool.fetchrow("select project_id, fingerprint, maximum_utok, document, parts, expires_at from metering.quotes")
    rows = [Row(id=ids.new(), **kept) for _ in range(6)]
    store = QuoteStore(office.pool)
    shares = [[rows[0]], [rows[1], msgspec.structs.replace(rows[2], **fault)], rows[3:5], [rows[5]]]
    results = await asyncio.gather(*(store.keep(share) for share in shares), return_exceptions=True)
    assert [result is None for result in results] == [True, False, True, True]
    found = [await store.find(kept["project_id"], row.id) is not None for row in rows]
    assert found == [True, False, False, True, True, True]
    assert offer["id"]


@pytest.mark.parametrize(("path", "model", "body"), [(CHATS, "teller", CHAT), (VIDEOS, "painter", VIDEO)], ids=["chat", "video"])
async def test_repeats_at_once_under_a_key_and_a_quote_are_never_told_that_the_quote_is_used(
    gateway: Any, tenant: Any, path: str, model: str, body: dict[str, Any]
) -> None:
    for number in range(4):
        offer = await quote(gateway, tenant, model, body)
        headers = {"taximeter-quote": offer["id"], "idempotency-key": f"order {number}"}
        calls = [gateway.call("POST", path, tenant.key, json={**body, "model": model}, headers=headers) for _ in range(50)]
        answers = await asyncio.gather(*calls)
        statuses = Counter(status for status, _, _ in answers)
        assert set(statuses) <= {200, 409}, statuses
        assert {answer["error"]["code"] for status, _, answer in answers if status == 409} <= {"idempotency_in_progress"}
        await gateway.until_no_hold_is_open()
    assert (len(gateway.engine.jobs), len(await gateway.receipts(tenant))) == (4, 4)


@pytest.mark.parametrize(
    ("wish", "code", "param", "says"),
    [
        ({"model": "teller", "request": {**CHAT, "model": "orphan"}}, "invalid_value", "model", "'teller', and the 'model' in 'request' is 'orphan'"),
        ({"model": "teller", "request": {**CHAT, "model": [[]]}}, "invalid_value", "model", "is no text"),
        ({"model": "teller", "request": CHAT, "card": "own"}, "invalid_value", "card", "is no member"),
        ({"model": "painter", "request": {**VIDEO, "input_reference": {"image_url": "x"}}}, "unsupported_input", "input_reference", "not supported"),
        ({"model": "painter", "request": {**VIDEO, "input_reference[image_url]": "x"}}, "unsupported_input", "input_reference", "not supported"),
        ({"model": "teller", "request": {**CHAT, "stream": "yes"}}, "invalid_value", "stream", "stream"),
        ({"model": "teller", "request": {**CHAT, "stream_options": {}}}, "invalid_value", "stream_options", "only allowed"),
        ({"model": "mapper", "request": {"input": "Hi", "encoding_format": "text"}}, "invalid_value", "encoding_format", "one of"),
        ({"model": "speaker", "request": {"input": "Hi", "voice": "alloy", "stream_format": "x"}}, "invalid_value", "stream_format", "one of"),
    ],
)
async def test_what_the_ride_refuses_or_nobody_understands_is_not_quoted(
    gateway: Any, tenant: Any, wish: dict[str, Any], code: str, param: str, says: str
) -> None:
    status, _, problem = await gateway.call("POST", "/v1/quotes", tenant.key, json=wish)
    assert (status, problem["code"], problem["param"]) == (400, code, param)
    assert says in problem["detail"]
    status, _, batch = await gateway.call("POST", "/v1/quotes", tenant.key, json={"items": [wish, {"model": "teller", "request": CHAT}]})
    assert (status, batch["items"][0]["error"]["code"], "quote" in batch["items"][1]) == (200, code, True)


async def test_members_that_only_a_single_question_has_are_no_members_of_an_item(gateway: Any, tenant: Any) -> None:
    item = {"model": "teller", "request": CHAT}
    _, _, batch = await gateway.call("POST", "/v1/quotes", tenant.key, json={"items": [{**item, "alternatives": True}]})
    assert batch["items"][0]["error"]["param"] == "alternatives"
    status, _, problem = await gateway.call("POST", "/v1/quotes", tenant.key, json={"items": [item], "card": "own"})
    assert (status, problem["param"]) == (400, "card")


async def test_a_body_that_names_its_model_and_its_form_is_quoted_as_it_is_sent(gateway: Any, tenant: Any) -> None:
    sent = {**CHAT, "model": "teller", "stream": True, "stream_options": {"include_usage": True}}
    offer = await quote(gateway, tenant, "teller", sent)
    status, _, answer = await gateway.call("POST", CHATS, tenant.key, json=sent, headers={"taximeter-quote": f" {offer['id']} "})
    assert status == 200, answer


async def test_chat_defaults_that_are_written_out_are_the_same_job(gateway: Any, tenant: Any) -> None:
    defaults = {"temperature": 1.0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "response_format": {"type": "text"}}
    for quoted, sent in (({}, defaults), (defaults, {})):
        offer = await quote(gateway, tenant, "teller", {**CHAT, **quoted})
        body = {**CHAT, **sent, "model": "teller"}
        status, _, answer = await gateway.call("POST", CHATS, tenant.key, json=body, headers={"taximeter-quote": offer["id"]})
        assert status == 200, answer
    # The engine gets what was sent.
    assert ["temperature" in job.request for job in gateway.engine.jobs] == [True, False]


@pytest.mark.parametrize("name", ["taximeter-max-tokens", "taximeter-quote", "idempotency-key"])
async def test_a_header_that_stands_twice_is_refused(gateway: Any, tenant: Any, name: str) -> None:
    headers = [("Authorization", f"Bearer {tenant.key}"), (name, "1"), (name, "2")]
    for path, body in ((CHATS, {**CHAT, "model": "teller"}), (VIDEOS, {**VIDEO, "model": "painter"})):
        async with gateway.http.post(gateway.url + path, json=body, headers=CIMultiDict(headers)) as answer:
            problem = (await answer.json())["error"]
        assert (answer.status, problem["param"], "2 times" in problem["message"]) == (400, name, True)
    assert (await gateway.wallet(tenant), gateway.engine.jobs) == (("1000", "0"), [])
