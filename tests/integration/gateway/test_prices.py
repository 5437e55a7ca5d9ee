"""Who pays which price: plan, currency and service tier, over HTTP."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

ADMIN_KEY = "the admin key"
CHAT = "/v1/chat/completions"
ASK = {"model": "teller", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}


async def test_a_projects_plan_and_currency_are_shown_changed_and_checked(gateway: Any) -> None:
    made = await gateway.admin("POST", "/projects", json={"name": "Research", "currency": "EUR"})
    assert made["subscription"] is None, "it pays by this plan, and has not subscribed to it"
    assert (made["plan"], made["currency"]) == ("standard", "EUR")
    changed = await gateway.admin("PATCH", f"/projects/{made['id']}", json={"currency": "USD"})
    assert (changed["plan"], changed["currency"]) == ("standard", "USD")
    assert await gateway.admin("GET", f"/projects/{made['id']}") == changed
    for body, code, param in (({"plan": "gold"}, "unknown_plan", "plan"), ({"currency": "usd"}, "unknown_currency", "currency")):
        status, _, answer = await gateway.call("PATCH", f"/v1/admin/projects/{made['id']}", ADMIN_KEY, json=body)
        assert (status, answer["code"], answer["param"]) == (400, code, param)
        status, _, answer = await gateway.call("POST", "/v1/admin/projects", ADMIN_KEY, json={"name": "x", **body})
        assert (status, answer["code"]) == (400, code)
    status, _, _ = await gateway.call("PATCH", "/v1/admin/projects/prj_" + "0" * 26, ADMIN_KEY, json={"currency": "USD"})
    assert status == 404


async def test_a_currency_without_a_price_is_refused_until_the_project_has_another(gateway: Any, tenant: Any) -> None:
    await gateway.admin("PATCH", f"/projects/{tenant.id}", json={"currency": "CHF"})

    async def code() -> str:
        _, _, answer = await gateway.call("POST", CHAT, tenant.key, json=ASK)
        return str(answer.get("error", {}).get("code"))

    async with asyncio.timeout(10):
        while await code() != "currency_not_priced":
            await asyncio.sleep(0.05)
    _, _, models = await gateway.call("GET", "/v1/models", tenant.key)
    assert {model["price"] for model in models["data"]} == {None}
    assert await gateway.holds_open() == 0
    await gateway.admin("PATCH", f"/projects/{tenant.id}", json={"currency": "USD"})
    async with asyncio.timeout(10):
        while await code() != "None":
            await asyncio.sleep(0.05)


async def test_the_tier_that_was_used_is_told_and_others_are_refused_with_the_list(gateway: Any, tenant: Any) -> None:
    headers: Any = {}
    for wanted in ("auto", "default", "standard", None):
        status, headers, answer = await gateway.call("POST", CHAT, tenant.key, json={**ASK, "service_tier": wanted})
        assert (status, answer["service_tier"]) == (200, "default")
    status, _, answer = await gateway.call("POST", CHAT, tenant.key, json={**ASK, "service_tier": "priority"})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "service_tier_not_offered", "service_tier")
    assert "it offers standard" in answer["error"]["message"]
    status, _, answer = await gateway.call("POST", CHAT, tenant.key, json={**ASK, "service_tier": 3})
    assert (status, answer["error"]["code"]) == (400, "invalid_value")
    _, _, receipt = await gateway.call("GET", f"/v1/receipts/{headers['taximeter-receipt']}", tenant.key)
    assert (receipt["service_tier"], receipt["multiplier"], receipt["multipliers"]) == ("standard", "1", [])
    assert receipt["money"]["currency"] == "USD"
    assert int(receipt["money"]["amount_nano"]) > 0


async def test_a_receipt_is_explained_to_its_owner_alone(gateway: Any, tenant: Any) -> None:
    _, headers, _ = await gateway.call("POST", CHAT, tenant.key, json=ASK)
    path = f"/v1/receipts/{headers['taximeter-receipt']}/explanation"
    status, _, explanation = await gateway.call("GET", path, tenant.key)
    assert (status, explanation["object"], explanation["agrees"], explanation["notes"]) == (200, "receipt.explanation", True, [])
    assert {step["part"] for step in explanation["steps"]} >= {"versions", "estimate", "report", "work", "card", "charge", "money"}
    other = await gateway.tenant("Sales")
    for foreign, key in ((path, other.key), ("/v1/receipts/nothing/explanation", tenant.key)):
        status, _, answer = await gateway.call("GET", foreign, key)
        assert (status, answer["code"] in {"receipt_not_found", "not_found"}) == (404, True)


async def test_every_version_is_listed_with_its_dates(gateway: Any) -> None:
    for path in ("/models", "/rate-cards", "/tariffs"):
        entries = (await gateway.admin("GET", path))["data"]
        assert entries
        assert {entry["state"] for entry in entries} == {"in_force"}
        assert all(entry["in_force_from"] >= entry["published_at"] for entry in entries)
        assert {entry["in_force_until"] for entry in entries} == {None}
