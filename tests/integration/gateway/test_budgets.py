"""Budgets over HTTP: made by operators, seen by callers, in force on every route that holds."""
# ruff: noqa: ANN401 - the gateway's fixtures, and JSON

import asyncio
from collections import Counter
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest

from taximeter.db.pool import connect_owner
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CHAT = {"model": "teller", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
PAID: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/embeddings", {"model": "mapper", "input": "Hi"}),
    ("/v1/audio/speech", {"model": "speaker", "input": "Hi", "voice": "alloy"}),
    ("/v1/audio/speech", {"model": "speaker", "input": "Hi", "voice": "alloy", "stream_format": "sse"}),
    ("/v1/videos", {"model": "painter", "prompt": "a ball"}),
]


async def make(gateway: Any, **budget: Any) -> Any:
    """A budget, once every gateway has seen it."""
    made = await gateway.admin("POST", "/budgets", json={"tokens": "1000", "window": "day", **budget})
    await asyncio.sleep(gateway.office.settings.key_cache_s)
    return made


async def seen(gateway: Any, tenant: Any, **query: str) -> dict[str, Any]:
    """What bounds a caller, by scope."""
    status, _, body = await gateway.call("GET", "/v1/budgets", tenant.key, params=query)
    assert status == 200
    return {budget["scope"]: budget for budget in body["data"]}


async def until_run(gateway: Any, jobs: int) -> None:
    await until(lambda: len(gateway.engine.jobs) >= jobs)


async def test_a_hard_budget_refuses_on_every_route_and_says_whose_it_is_and_when_it_comes_back(gateway: Any, tenant: Any) -> None:
    project = await gateway.admin("GET", f"/projects/{tenant.id}")
    owners: dict[str, dict[str, str]] = {
        "organisation": {"organisation_id": project["organisation_id"]},
        "project": {"project_id": tenant.id},
        "key": {"key_id": tenant.key_id},
        "end_user": {"project_id": tenant.id, "end_user": "ada"},
    }
    for scope, owner in owners.items():
        budget = await make(gateway, scope=scope, tokens="0.1", **owner)
        for path, body in PAID:
            status, _, told = await gateway.call("POST", path, tenant.key, json={**body, "user": "ada"})
            assert (status, told["error"]["code"], told["error"]["type"]) == (402, "budget_exceeded", "insufficient_quota"), path
            assert "has 0.1 left of 0.1 a day" in told["error"]["message"]
            assert f"some of it comes back at {datetime.fromisoformat(budget['resets_at']).isoformat()}" in told["error"]["message"]
            assert ("end user 'ada'" if scope == "end_user" else f"this {scope}") in told["error"]["message"]
        assert gateway.engine.jobs == []
        # Once it is removed, it refuses nothing.
        await gateway.admin("DELETE", f"/budgets/{budget['id']}")
        await asyncio.sleep(gateway.office.settings.key_cache_s)
    assert (await gateway.call("POST", "/v1/embeddings", tenant.key, json={"model": "mapper", "input": "Hi", "user": "ada"}))[0] == 200


async def test_what_is_used_held_and_left_adds_up_and_every_route_counts(gateway: Any, tenant: Any) -> None:
    await make(gateway, scope="key", key_id=tenant.key_id)
    for path, body in PAID:
        assert (await gateway.call("POST", path, tenant.key, json=body))[0] == 200
    await gateway.until_no_hold_is_open()
    charged = sum(Decimal(receipt["tokens_charged"]) for receipt in await gateway.receipts(tenant))
    budget = (await seen(gateway, tenant))["key"]
    assert (Decimal(budget["used"]), budget["held"], Decimal(budget["left"])) == (charged, "0", 1000 - charged)
    gateway.engine.gate = asyncio.Event()
    call = asyncio.create_task(gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))
    await until(lambda: len(gateway.engine.jobs) == len(PAID) + 1)
    running = (await seen(gateway, tenant))["key"]
    assert Decimal(running["held"]) > 0
    assert Decimal(running["left"]) == 1000 - charged - Decimal(running["held"])
    gateway.engine.gate.set()
    await call


async def test_an_empty_wallet_is_no_exceeded_budget_and_a_soft_budget_never_refuses(gateway: Any) -> None:
    poor = await gateway.tenant("Poor", tokens="0.001")
    await make(gateway, scope="project", project_id=poor.id)
    status, _, told = await gateway.call("POST", "/v1/chat/completions", poor.key, json=CHAT)
    assert (status, told["error"]["code"]) == (402, "insufficient_balance")
    rich = await gateway.tenant("Rich")
    await make(gateway, scope="project", project_id=rich.id, tokens="0.1", hard=False)
    assert (await gateway.call("POST", "/v1/chat/completions", rich.key, json=CHAT))[0] == 200
    budget = (await seen(gateway, rich))["project"]
    assert (Decimal(budget["used"]) > Decimal("0.1"), budget["left"]) == (True, "0")


async def test_operators_list_change_and_remove_budgets(gateway: Any, tenant: Any) -> None:
    hard = await make(gateway, scope="project", project_id=tenant.id, tokens="0.1", thresholds=[])
    soft = await make(gateway, scope="project", project_id=tenant.id, window="rolling", window_s=3600, hard=False)
    listed = await gateway.admin("GET", "/budgets", params={"project_id": tenant.id, "limit": 1})
    assert [budget["id"] for budget in listed["data"]] == [soft["id"]]
    listed = await gateway.admin("GET", "/budgets", params={"project_id": tenant.id, "limit": 1, "cursor": listed["next_cursor"]})
    assert ([budget["id"] for budget in listed["data"]], listed["next_cursor"]) == ([hard["id"]], None)
    assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))[0] == 402
    changed = await gateway.admin("PATCH", f"/budgets/{hard['id']}", json={"tokens": "500", "thresholds": [90]})
    assert (changed["tokens"], changed["left"], changed["thresholds"], changed["used"]) == ("500", "500", [90], "0")
    assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))[0] == 200
    removed = await gateway.admin("DELETE", f"/budgets/{hard['id']}")
    assert removed["removed_at"] is not None
    assert (await gateway.admin("GET", f"/budgets/{hard['id']}"))["removed_at"] == removed["removed_at"]
    assert [one["id"] for one in (await gateway.admin("GET", "/budgets", params={"project_id": tenant.id}))["data"]] == [soft["id"]]
    for method in ("PATCH", "DELETE"):
        status, _, told = await gateway.call(method, f"/v1/admin/budgets/{hard['id']}", "the admin key", json={})
        assert (status, told["code"]) == (404, "not_found")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"tokens": "0"}, "tokens"),
    ({"tokens": "1.0000001"}, "tokens"),
    ({"window": "week"}, "window"),
    ({"window": "rolling"}, "window_s"),
    ({"window": "rolling", "window_s": 59}, "window_s"),
    ({"window_s": 3600}, "window_s"),
    ({"thresholds": [80, 50]}, "thresholds"),
    ({"thresholds": [0]}, "thresholds"),
    ({"scope": "organisation"}, "organisation_id"),
    ({"key_id": "key_1"}, "key_id"),
    ({"end_user": "ada"}, "end_user"),
    ({"scope": "end_user", "end_user": ""}, "end_user"),
    ({"max_budget": 5}, "max_budget"),
]


async def test_a_budget_that_cannot_be_is_refused_with_the_field(gateway: Any, tenant: Any) -> None:
    for wrong, param in WRONG:
        body = {"scope": "project", "project_id": tenant.id, "tokens": "5", "window": "day", **wrong}
        status, _, told = await gateway.call("POST", "/v1/admin/budgets", "the admin key", json=body)
        assert (status, told["param"]) == (400, param), told
    assert (await gateway.admin("GET", "/budgets"))["data"] == []


async def test_a_second_one_of_a_kind_and_more_than_six_for_a_request_are_refused(gateway: Any, tenant: Any) -> None:
    project = await gateway.admin("GET", f"/projects/{tenant.id}")
    first = await make(gateway, scope="project", project_id=tenant.id)

    async def refused(**budget: Any) -> tuple[int, str, str]:
        body = {"tokens": "5", "window": "day", **budget}
        status, _, told = await gateway.call("POST", "/v1/admin/budgets", "the admin key", json=body)
        return status, told["code"], told["detail"]

    status, code, detail = await refused(scope="project", project_id=tenant.id)
    assert (status, code, first["id"] in detail) == (409, "budget_exists", True)
    await make(gateway, scope="organisation", organisation_id=project["organisation_id"])
    await make(gateway, scope="key", key_id=tenant.key_id)
    await make(gateway, scope="end_user", project_id=tenant.id)
    await make(gateway, scope="end_user", project_id=tenant.id, window="month")
    await make(gateway, scope="end_user", project_id=tenant.id, end_user="ada", hard=False)
    for scope in ({"scope": "organisation", "organisation_id": project["organisation_id"]}, {"scope": "key", "key_id": tenant.key_id}):
        assert (await refused(**scope, window="month"))[:2] == (400, "too_many_budgets")
    key = {"name": "another", "budget": {"tokens": "5", "window": "day"}}
    await gateway.admin("POST", f"/projects/{tenant.id}/keys", json=key)
    # A sixth leg is one too many for nobody: six bind, and the seventh is not made.
    assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "user": "ada"}))[0] == 200
    legs = await gateway.office.pool.fetchval("select count(*) from ledger.transfers where phase = 0 and kind = 1 and not cascade")
    assert legs == 5


async def test_a_default_bounds_each_end_user_apart_and_his_own_budget_takes_its_place(gateway: Any, tenant: Any) -> None:
    default = await make(gateway, scope="end_user", project_id=tenant.id, tokens="100")
    own = await make(gateway, scope="end_user", project_id=tenant.id, end_user="ada", tokens="0.1")

    async def ask(user: str | None) -> int:
        body = CHAT if user is None else {**CHAT, "user": user}
        status: int = (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=body))[0]
        return status

    assert [await ask(user) for user in ("ada", "bob", "eve", "bob", None, "")] == [402, 200, 200, 200, 200, 200]
    used = {user: (await seen(gateway, tenant, user=user))["end_user"] for user in ("ada", "bob", "eve", "zoe")}
    once = Decimal(used["eve"]["used"])
    assert {user: Decimal(budget["used"]) for user, budget in used.items()} == {"ada": 0, "bob": 2 * once, "eve": once, "zoe": 0}
    assert [used[user]["tokens"] for user in ("ada", "bob", "zoe")] == ["0.1", "100", "100"]
    # Opened ones are listed with their end user alone, and follow their default.
    listed = (await gateway.admin("GET", "/budgets", params={"project_id": tenant.id}))["data"]
    assert {budget["id"] for budget in listed} == {default["id"], own["id"]}
    (bobs,) = (await gateway.admin("GET", "/budgets", params={"project_id": tenant.id, "end_user": "bob"}))["data"]
    assert bobs["default_id"] == default["id"]
    await gateway.admin("PATCH", f"/budgets/{default['id']}", json={"tokens": str(2 * once)})
    assert [await ask(user) for user in ("bob", "zed")] == [402, 402]
    await gateway.admin("DELETE", f"/budgets/{default['id']}")
    await asyncio.sleep(gateway.office.settings.key_cache_s)
    assert [await ask(user) for user in ("ada", "bob", "zed")] == [402, 200, 200]
    status, _, told = await gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "user": "x" * 257})
    assert (status, told["error"]["param"]) == (400, "user")


async def test_a_user_that_is_no_text_does_not_pass_by_the_budgets_of_end_users(gateway: Any, tenant: Any) -> None:
    await make(gateway, scope="end_user", project_id=tenant.id, tokens="0.000001", window="day")
    for user in (5, {"id": 5}, ["a"], True):
        status, _, answer = await gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "user": user})
        assert (status, answer["error"]["param"]) == (400, "user")


async def test_first_requests_of_one_unknown_end_user_share_one_budget(gateway: Any, tenant: Any) -> None:
    await make(gateway, scope="end_user", project_id=tenant.id, tokens="100")
    answers = await asyncio.gather(
        *(gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "user": f"new {number % 3}"}) for number in range(30))
    )
    statuses = Counter(status for status, _, _ in answers)
    assert statuses[200] > 0
    assert statuses.keys() <= {200, 402}
    assert await gateway.office.pool.fetchval("select count(*) from admission.budgets where default_id is not null") == 3
    for number in range(3):
        budget = (await seen(gateway, tenant, user=f"new {number}"))["end_user"]
        assert Decimal(budget["used"]) + Decimal(budget["held"]) <= 100


async def test_what_ends_after_the_end_of_a_period_counts_in_the_new_one(gateway: Any, tenant: Any, database_url: str) -> None:
    """A chat, and a video that a worker settles, which knows no caller: the settlement itself begins the new period."""
    owner = await connect_owner(database_url)
    for scope, name, path, body in (("project", "project_id", *PAID[0]), ("key", "key_id", *PAID[-1])):
        budget = await make(gateway, scope=scope, **{name: tenant.id if scope == "project" else tenant.key_id})
        gateway.engine.gate = asyncio.Event()
        ran = len(gateway.engine.jobs)
        call = asyncio.create_task(gateway.call("POST", path, tenant.key, json=body))
        await until_run(gateway, ran + 1)
        await owner.execute("update admission.budgets set rolls_at = clock_timestamp()")
        gateway.engine.gate.set()
        assert (await call)[0] == 200
        await gateway.until_no_hold_is_open()
        shown = await gateway.admin("GET", f"/budgets/{budget['id']}")
        assert shown["used"] == (await gateway.receipts(tenant))[0]["tokens_charged"] != "0"
        await gateway.admin("DELETE", f"/budgets/{budget['id']}")
    await owner.close()


async def test_an_end_user_is_looked_up_once_and_again_when_the_projects_budgets_change(gateway: Any, tenant: Any, database_url: str) -> None:
    await make(gateway, scope="end_user", project_id=tenant.id, tokens="100")
    owner = await connect_owner(database_url)

    async def ask(user: str) -> int:
        status: int = (await gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "user": user}))[0]
        return status

    assert [await ask("ada"), await ask("bob")] == [200, 200]
    await owner.execute("revoke execute on function admission.open_end_user_budgets from taximeter_app")
    assert [await ask("ada"), await ask("bob"), await ask("eve")] == [200, 200, 500]
    await owner.execute("grant execute on function admission.open_end_user_budgets to taximeter_app")
    await make(gateway, scope="end_user", project_id=tenant.id, end_user="ada", tokens="0.1")
    assert [await ask("ada"), await ask("bob"), await ask("eve")] == [402, 200, 200]
    await owner.close()
