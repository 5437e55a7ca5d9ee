"""Quotes at their limits: prices that nobody can hold, repeats at once, what is no question for a quote."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

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
