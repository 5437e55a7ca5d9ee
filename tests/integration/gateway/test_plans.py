"""Plans, grants, corrections and credit lines over HTTP."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taximeter.db.pool import connect_owner
from taximeter.ledger.replay import replay
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

ADMIN_KEY = "the admin key"
CHAT = "/v1/chat/completions"
ASK = {"model": "teller", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
PLANS = """
kind: plan
name: monthly
version: 1
effective_from: 2026-01-01
allowance_period: month
allowance_tokens: 1000
---
kind: plan
name: later
version: 1
effective_from: 2026-01-01
allowance_period: none
postpaid: true
credit_line_tokens: 500
"""


@pytest.fixture
async def plans(gateway: Any, database_url: str, tmp_path: Path) -> None:
    """Two plans, published while the gateway runs."""
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "plans.yaml").write_text(PLANS)
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "plans", METERS)
    await owner.close()
    await until(lambda: "later" in gateway.office.desk.catalog.plans)


async def agrees(gateway: Any) -> None:
    async with gateway.office.pool.acquire() as connection:
        assert (await replay(connection)).differences == []


@pytest.mark.usefixtures("plans")
async def test_a_plan_that_is_asked_for_is_subscribed_to_and_shown_in_the_wallet(gateway: Any) -> None:
    organisation = await gateway.admin("POST", "/organisations", json={"name": "Acme", "time_zone": "Asia/Shanghai"})
    assert organisation["time_zone"] == "Asia/Shanghai"
    body = {"name": "Research", "organisation_id": organisation["id"], "plan": "monthly"}
    project = await gateway.admin("POST", "/projects", json=body)
    key = (await gateway.admin("POST", f"/projects/{project['id']}/keys", json={"name": "k"}))["key"]
    status, headers, _ = await gateway.call("POST", CHAT, key, json=ASK)
    assert status == 200
    _, _, wallet = await gateway.call("GET", "/v1/wallet", key)
    assert wallet["balance"] == wallet["granted"] == wallet["grants"][0]["remaining"] != "1000"
    assert (wallet["allowance"], wallet["prepaid"], wallet["postpaid"]) == ("0", "0", None)
    subscription = wallet["subscription"]
    assert (subscription["plan"], subscription["renews_at"]) == ("monthly", wallet["grants"][0]["expires_at"])
    # Midnight in Shanghai.
    assert datetime.fromisoformat(subscription["period_end"]).astimezone(UTC).hour == 16
    _, _, bounds = await gateway.call("GET", "/v1/limits", key)
    assert (bounds["plan"], bounds["caps"]["request_tokens_max"], bounds["caps"]["above_cap"]) == ("monthly", None, "refuse")
    path = f"/projects/{project['id']}/subscription"
    changed = await gateway.admin("POST", path, json={"plan": "later"})
    assert (changed["subscription"]["plan"], changed["postpaid"]["line"]) == ("later", "500")
    assert [change["event"] for change in (await gateway.admin("GET", path))["changes"]] == ["changed", "started"]
    shown = await gateway.admin("GET", f"/projects/{project['id']}")
    assert (shown["plan"], shown["subscription"]["plan"]) == ("later", "later")
    assert [each["subscription"]["plan"] for each in (await gateway.admin("GET", "/projects?limit=1"))["data"]] == ["later"]
    ended = await gateway.admin("DELETE", path)
    assert (ended["subscription"], ended["postpaid"]["active"], ended["granted"]) == (None, False, wallet["granted"])
    status, _, answer = await gateway.call("DELETE", f"/v1/admin{path}", ADMIN_KEY)
    assert (status, answer["code"]) == (404, "not_subscribed")
    # What was granted may be used to its end.
    assert (await gateway.call("POST", CHAT, key, json=ASK))[0] == 200
    changed = await gateway.admin("PATCH", f"/organisations/{organisation['id']}", json={"time_zone": "UTC"})
    assert changed["time_zone"] == "UTC"
    status, _, answer = await gateway.call("PATCH", f"/v1/admin/organisations/{organisation['id']}", ADMIN_KEY, json={"time_zone": "Moon"})
    assert (status, answer["param"]) == (400, "time_zone")
    assert float(headers["taximeter-balance"]) > 900
    shown = {plan["name"]: plan for plan in (await gateway.admin("GET", "/plans"))["data"]}
    assert (shown["later"]["credit_line_tokens"], shown["later"]["request_caps"], shown["monthly"]["allowance"]) == ("500", {}, "1000")
    await agrees(gateway)


async def test_a_project_without_a_plan_has_what_it_always_had(gateway: Any) -> None:
    tenant = await gateway.tenant("Plain", tokens=None)
    await gateway.admin("POST", f"/projects/{tenant.id}/grants", json={"tokens": "5", "reference": "a"})
    _, _, wallet = await gateway.call("GET", "/v1/wallet", tenant.key)
    assert (wallet["balance"], wallet["allowance"], wallet["granted"], wallet["grants"]) == ("5", "5", "0", [])
    assert (wallet["postpaid"], wallet["subscription"]) == (None, None)


async def test_grants_on_terms_corrections_payments_and_lines(gateway: Any) -> None:
    tenant = await gateway.tenant("Terms", tokens=None)
    path = f"/projects/{tenant.id}"
    end = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    terms = {"tokens": "100", "expires_at": end, "modality": "speech", "kind": "promotional", "reason": "a fair", "reference": "fair"}
    misspelt = {"tokens": "100", "expire_at": terms["expires_at"]}
    assert (await gateway.call("POST", f"/v1/admin{path}/grants", ADMIN_KEY, json=misspelt))[0] == 400
    made = await gateway.admin("POST", f"{path}/grants", json=terms)
    assert (made["kind"], made["remaining"], made["modality"], made["reason"], made["replayed"]) == ("promotional", "100", "speech", "a fair", False)
    assert (await gateway.admin("POST", f"{path}/grants", json=terms))["replayed"] is True
    assert [grant["id"] for grant in (await gateway.admin("GET", f"{path}/grants"))["data"]] == [made["id"]]
    # It is for speech alone: a chat is refused as from an empty wallet.
    status, headers, answer = await gateway.call("POST", CHAT, tenant.key, json=ASK)
    assert (status, answer["error"]["code"], headers["taximeter-balance"]) == (402, "insufficient_balance", "0")
    corrected = await gateway.admin("POST", f"{path}/corrections", json={"tokens": "50", "reason": "we owe you", "operator": "Kim"})
    assert (corrected["tokens"], corrected["wallet"]["prepaid"]) == ("50", "50")
    await gateway.admin("POST", f"{path}/corrections", json={"tokens": "-20", "reason": "not that much"})
    status, _, answer = await gateway.call("POST", f"/v1/admin{path}/corrections", ADMIN_KEY, json={"tokens": "-31", "reason": "too much"})
    assert (status, answer["code"]) == (409, "correction_above_balance")
    status, _, answer = await gateway.call("POST", f"/v1/admin{path}/payments", ADMIN_KEY, json={"tokens": "5"})
    assert (status, answer["code"]) == (409, "not_postpaid")
    lent = await gateway.admin("POST", f"{path}/credit-line", json={"tokens": "200"})
    assert (lent["balance"], lent["postpaid"]) == ("230", {"active": True, "line": "200", "owed": "0", "available": "200"})
    assert (await gateway.call("POST", CHAT, tenant.key, json=ASK))[0] == 200
    await gateway.admin("POST", f"{path}/corrections", json={"tokens": "-1", "reason": "a cent"})
    paid = await gateway.admin("POST", f"{path}/payments", json={"tokens": "5", "reason": "invoice 7", "reference": "i7"})
    await gateway.admin("POST", f"{path}/corrections", json={"tokens": "-1", "reason": "another cent"})
    assert paid["wallet"]["postpaid"]["owed"] == "0"
    page = await gateway.admin("GET", f"{path}/adjustments?limit=2")
    rest = await gateway.admin("GET", f"{path}/adjustments?limit=100&cursor={page['next_cursor']}")
    times = [entry["created_at"] for entry in page["data"] + rest["data"]]
    assert times == sorted(times, reverse=True)
    assert len(set(times)) == len(times)
    entries = {(entry["kind"], entry["tokens"], entry["operator"]) for entry in page["data"] + rest["data"]}
    assert {("correction", "50", "Kim"), ("correction", "-20", "admin"), ("credit_line", "200", "admin"), ("payment", "5", "admin")} <= entries
    for body in ({"tokens": "0", "reason": "x"}, {"tokens": "1"}, {"tokens": "1", "reason": ""}, {"tokens": "--1", "reason": "x"}):
        assert (await gateway.call("POST", f"/v1/admin{path}/corrections", ADMIN_KEY, json=body))[0] == 400
    await gateway.admin("POST", f"{path}/top-ups", json={"tokens": "1", "reason": "cash", "operator": "Kim", "reference": "t"})
    await gateway.admin("POST", f"{path}/top-ups", json={"tokens": "1", "reason": "cash", "operator": "Kim", "reference": "t"})
    assert [entry["kind"] for entry in (await gateway.admin("GET", f"{path}/adjustments"))["data"]].count("top_up") == 1
    await agrees(gateway)
