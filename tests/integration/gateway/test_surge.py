"""Surge prices over HTTP: where they are shown, what a sender may say about them, and that they are off unless turned on."""
# ruff: noqa: ANN401 - JSON

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from taximeter.admission.surge import Policy
from tests.integration.gateway.conftest import ADMIN_KEY
from tests.support.gateways import gateway_processes
from tests.support.raw_upstream import RawUpstream
from tests.support.surges import set_price
from tests.support.tenants import open_town

pytestmark = pytest.mark.anyio

CHATS = "/v1/chat/completions"
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
ENGINE = "script"


async def metrics(gateway: Any) -> dict[str, float]:
    text = (await gateway.call("GET", "/metrics", ""))[2].decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("taximeter_surge_")]
    return {name: float(value) for name, _, value in lines}


async def chat(gateway: Any, tenant: Any, **headers: str) -> tuple[int, Any, Any]:
    answered: tuple[int, Any, Any] = await gateway.call("POST", CHATS, tenant.key, json={**CHAT, "model": "teller"}, headers=headers)
    return answered


async def test_without_the_setting_nothing_says_anything_of_a_surge(gateway: Any, tenant: Any) -> None:
    wish = {"model": "teller", "request": CHAT}
    board, (_, _, before) = gateway.office.desk.surge, await gateway.call("POST", "/v1/quotes", tenant.key, json=wish)
    # What another installation's worker has left in the database.
    await set_price(gateway.office, ENGINE, 175)
    gateway.office.desk.surge = board
    _, _, after = await gateway.call("POST", "/v1/quotes", tenant.key, json=wish)
    changing = {"id", "issued_at", "expires_at", "signature"}
    assert {name: value for name, value in before.items() if name not in changing} == {
        name: value for name, value in after.items() if name not in changing
    }
    status, headers, body = await chat(gateway, tenant, **{"taximeter-max-multiplier": "1"})
    assert (status, "taximeter-multiplier" in headers) == (200, False)
    assert body["taximeter"]["tokens_charged"] == body["taximeter"]["tokens_consumed"]
    _, _, models = await gateway.call("GET", "/v1/models", tenant.key)
    assert all("surge" not in (model["price"] or {}) for model in models["data"])
    _, _, told = await gateway.call("GET", "/v1/surge", tenant.key)
    assert told == {"object": "surge", "enabled": False, "data": []}
    assert await metrics(gateway) == {}


async def test_a_surge_is_shown_on_models_in_quotes_on_answers_and_as_a_metric(gateway: Any, tenant: Any) -> None:
    _, _, plain = await chat(gateway, tenant)
    await set_price(gateway.office, ENGINE, 125, load_bp=9_250)
    status, headers, body = await chat(gateway, tenant)
    assert (status, headers["taximeter-multiplier"]) == (200, "1.25")
    assert float(body["taximeter"]["tokens_charged"]) == float(plain["taximeter"]["tokens_charged"]) * 1.25
    assert body["taximeter"]["tokens_consumed"] == plain["taximeter"]["tokens_consumed"]
    _, _, model = await gateway.call("GET", "/v1/models/teller", tenant.key)
    price = model["price"]
    assert (price["multiplier"], price["service_tiers"]) == ("1.25", {"standard": "1.25"})
    assert (price["surge"]["multiplier"], price["surge"]["utilisation_percent"], price["surge"]["cap"]) == ("1.25", "92.5", "2.5")
    assert price["surge"]["curve"][0] == {"utilisation_percent": "85", "multiplier": "1"}
    _, _, quote = await gateway.call("POST", "/v1/quotes", tenant.key, json={"model": "teller", "request": CHAT})
    assert quote["multiplier"] == "1.25"
    [line] = quote["multipliers"]
    assert (line["name"], line["factor"]) == ("surge", "1.25")
    _, _, told = await gateway.call("GET", "/v1/surge", tenant.key)
    [engine] = told["data"]
    assert (engine["engine"], engine["multiplier"], engine["policy"]["id"], engine["last_change"]) == (ENGINE, "1.25", Policy().id, 1)
    assert engine["since"] is not None
    assert engine["next_change"] > engine["since"]
    shown = await metrics(gateway)
    assert shown['taximeter_surge_multiplier{engine="script"}'] == 1.25
    assert shown['taximeter_surge_utilisation{engine="script"}'] == 0.925
    assert shown['taximeter_surge_changes_total{engine="script"}'] == 1
    assert shown['taximeter_surge_stale{engine="script"}'] == 0
    receipts = await gateway.receipts(tenant)
    assert [receipt["multiplier"] for receipt in receipts] == ["1.25", "1"]


async def test_an_answer_tells_a_multiplier_of_1_while_prices_may_move_streams_and_videos_too(gateway: Any, tenant: Any) -> None:
    await set_price(gateway.office, ENGINE, 100)
    assert (await chat(gateway, tenant))[1]["taximeter-multiplier"] == "1"
    _, headers, _ = await gateway.call("POST", CHATS, tenant.key, json={**CHAT, "model": "teller", "stream": True})
    assert headers["taximeter-multiplier"] == "1"
    _, headers, _ = await gateway.call("POST", "/v1/videos", tenant.key, json={"model": "painter", "prompt": "a ball", "seconds": "1"})
    assert headers["taximeter-multiplier"] == "1"


async def test_a_multiplier_above_what_the_sender_takes_is_refused_before_anything_is_held(gateway: Any, tenant: Any) -> None:
    await set_price(gateway.office, ENGINE, 150)
    for path, body in (
        (CHATS, {**CHAT, "model": "teller"}),
        ("/v1/embeddings", {"model": "mapper", "input": "Hi"}),
        ("/v1/audio/speech", {"model": "speaker", "input": "Hi", "voice": "alloy"}),
        ("/v1/videos", {"model": "painter", "prompt": "a ball", "seconds": "1"}),
    ):
        status, headers, refusal = await gateway.call("POST", path, tenant.key, json=body, headers={"taximeter-max-multiplier": "1.49"})
        assert (status, refusal["error"]["code"], refusal["error"]["param"]) == (412, "multiplier_above_maximum", "taximeter-max-multiplier"), body
        assert headers["taximeter-multiplier"] == "1.5"
        assert int(headers["retry-after"]) >= 1
    assert (await gateway.wallet(tenant), gateway.engine.jobs, await gateway.receipts(tenant)) == (("1000", "0"), [], [])
    assert (await chat(gateway, tenant, **{"taximeter-max-multiplier": "1.5"}))[0] == 200


async def test_a_highest_multiplier_that_is_no_number_is_refused(gateway: Any, tenant: Any) -> None:
    for text in ("", "0", "0.0", "-1", "1,5", "1e3", "NaN", "1.1234567", "12345", "\u0661", "1.5 1.5"):
        status, _, refusal = await chat(gateway, tenant, **{"taximeter-max-multiplier": text})
        assert (status, refusal["error"]["code"], refusal["error"]["param"]) == (400, "invalid_value", "taximeter-max-multiplier"), text
    for value in ("", "0", 0, -1.5, True, [1], "NaN"):
        wish = {"model": "teller", "request": CHAT, "max_multiplier": value}
        status, _, refusal = await gateway.call("POST", "/v1/quotes", tenant.key, json=wish)
        assert (status, refusal["code"], refusal["param"]) == (400, "invalid_value", "max_multiplier"), value


async def test_the_multiplier_of_the_quote_counts_and_a_quote_may_name_the_highest(gateway: Any, tenant: Any) -> None:
    wish = {"model": "teller", "request": CHAT, "max_multiplier": 1.2}
    _, _, calm = await gateway.call("POST", "/v1/quotes", tenant.key, json=wish)
    await set_price(gateway.office, ENGINE, 125)
    status, headers, refusal = await gateway.call("POST", "/v1/quotes", tenant.key, json=wish)
    assert (status, refusal["code"], headers["taximeter-multiplier"]) == (412, "multiplier_above_maximum", "1.25")
    assert refusal["param"] == "max_multiplier"
    _, _, many = await gateway.call("POST", "/v1/quotes", tenant.key, json={"items": [wish, {**wish, "max_multiplier": "1.25"}]})
    assert [next(iter(item)) for item in many["items"]] == ["error", "quote"]
    assert many["items"][0]["error"]["code"] == "multiplier_above_maximum"
    status, headers, _ = await chat(gateway, tenant, **{"taximeter-quote": calm["id"], "taximeter-max-multiplier": "1"})
    assert (status, headers["taximeter-multiplier"]) == (200, "1")
    dear = many["items"][1]["quote"]
    status, _, refusal = await chat(gateway, tenant, **{"taximeter-quote": dear["id"], "taximeter-max-multiplier": "1.2"})
    assert (status, refusal["error"]["code"]) == (412, "multiplier_above_maximum")
    # It was not used by that, and is as good as before.
    assert (await chat(gateway, tenant, **{"taximeter-quote": dear["id"]}))[0] == 200


async def test_every_change_is_listed_for_operators_newest_first(gateway: Any) -> None:
    for factor_pct in (110, 120, 130):
        await set_price(gateway.office, ENGINE, factor_pct)
    await set_price(gateway.office, "other", 105)
    page = await gateway.admin("GET", "/surge/changes?engine=script&limit=2")
    assert [(change["from"], change["to"], change["number"]) for change in page["data"]] == [("1.2", "1.3", 3), ("1.1", "1.2", 2)]
    page = await gateway.admin("GET", f"/surge/changes?engine=script&limit=2&cursor={page['next_cursor']}")
    assert ([change["to"] for change in page["data"]], page["next_cursor"]) == (["1.1"], None)
    assert len((await gateway.admin("GET", "/surge/changes"))["data"]) == 4
    assert (await gateway.call("GET", "/v1/admin/surge/changes", ADMIN_KEY + "x"))[0] == 401
    assert (await gateway.call("GET", "/v1/surge", "tx-nobody"))[0] == 401


async def test_two_gateways_see_a_new_price_within_two_seconds(database_url: str, open_folder: Path) -> None:
    async with (
        RawUpstream() as upstream,
        open_town(database_url, open_folder) as town,
        gateway_processes(2, open_folder, database_url, upstream.url, TAXIMETER_SURGE="1", TAXIMETER_ADMIN_KEY=ADMIN_KEY) as urls,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as http,
    ):
        async with http.post(f"{urls[0]}/v1/admin/projects", json={"name": "Research"}) as made:
            project = (await made.json())["id"]
        async with http.post(f"{urls[0]}/v1/admin/projects/{project}/keys", json={"name": "test"}) as made:
            key = {"Authorization": f"Bearer {(await made.json())['key']}"}

        async def seen(url: str) -> str:
            async with http.get(f"{url}/v1/models/smollm2-135m", headers=key) as model:
                return str((await model.json())["price"]["multiplier"])

        assert [await seen(url) for url in urls] == ["1", "1"]
        await set_price(town.office, "demo-text", 175)
        async with asyncio.timeout(10):
            while [await seen(url) for url in urls] != ["1.75", "1.75"]:
                await asyncio.sleep(0.02)
