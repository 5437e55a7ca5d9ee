"""What users of other gateways complain about when budgets are kept, each tried on ours.  docs/operating/bugs-of-others.md lists all."""
# ruff: noqa: ANN401 - the gateway's fixtures, and JSON

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.engines import EngineFailed
from tests.integration.gateway.test_budgets import CHAT, PAID, make, seen
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def most_of_a_chat(gateway: Any, key: str) -> Decimal:
    """What a chat may cost at most, in Tokens."""
    request = {name: value for name, value in CHAT.items() if name != "model"}
    _, _, quote = await gateway.call("POST", "/v1/quotes", key, json={"model": "teller", "request": request})
    return Decimal(quote["tokens_max"])


async def ask_at_once(gateway: Any, keys: list[str], user: str, running: int) -> Counter[int]:
    """Calls that are all on their way before the first of them can end; how they were answered."""
    gateway.engine.gate = asyncio.Event()
    before = len(gateway.engine.jobs)
    calls = [asyncio.create_task(gateway.call("POST", "/v1/chat/completions", key, json={**CHAT, "user": user})) for key in keys]
    await until(lambda: len(gateway.engine.jobs) - before >= running and sum(not call.done() for call in calls) <= running)
    gateway.engine.gate.set()
    answers = await asyncio.gather(*calls)
    gateway.engine.gate = None
    return Counter(status for status, _, _ in answers)


@pytest.mark.parametrize("scope", ["key", "end_user"])
async def test_complaint_01_litellm_34732_parallel_requests_do_not_pass_a_budget(gateway: Any, tenant: Any, scope: str) -> None:
    """litellm #34732: the budget of a session was compared before the call and added to after it, and nothing was reserved in between.

    Here the maximum of each is held on the budget before anything runs.
    """
    most = await most_of_a_chat(gateway, tenant.key)
    owner = {"key_id": tenant.key_id} if scope == "key" else {"project_id": tenant.id, "end_user": "session 1"}
    await make(gateway, scope=scope, tokens=str(most * 5 + most / 2), **owner)
    assert await ask_at_once(gateway, [tenant.key] * 60, "session 1", 5) == {200: 5, 402: 55}
    budget = (await seen(gateway, tenant, user="session 1"))[scope]
    assert Decimal(budget["used"]) == sum(Decimal(receipt["tokens_charged"]) for receipt in await gateway.receipts(tenant))


async def test_complaint_02_litellm_26672_a_budget_that_is_used_up_refuses_every_key(gateway: Any, tenant: Any) -> None:
    """litellm #26672: keys and users went on although their recorded spend was above their maximum.

    Here what is recorded and what refuses is one account: the project's other key meets the same one.
    """
    most = await most_of_a_chat(gateway, tenant.key)
    second = await gateway.admin("POST", f"/projects/{tenant.id}/keys", json={"name": "second"})
    await make(gateway, scope="project", project_id=tenant.id, tokens=str(most))
    assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))[0] == 200
    for key in (tenant.key, second["key"]):
        status, _, told = await gateway.call("POST", "/v1/chat/completions", key, json=CHAT)
        assert (status, told["error"]["code"]) == (402, "budget_exceeded")
    budget = (await seen(gateway, tenant))["project"]
    assert Decimal(budget["used"]) + Decimal(budget["left"]) == most


async def test_complaint_03_litellm_40095_the_first_requests_of_an_unknown_end_user_share_his_budget(gateway: Any, tenant: Any) -> None:
    """litellm #40095: the first requests of an end user that was not known yet ran together past the default budget, since the row that
    counts them was only being made.

    Here it is opened before the first hold, once, and that hold is a leg on it.
    """
    most = await most_of_a_chat(gateway, tenant.key)
    await make(gateway, scope="end_user", project_id=tenant.id, tokens=str(most * 3 + most / 2))
    assert await ask_at_once(gateway, [tenant.key] * 40, "nobody knows him", 3) == {200: 3, 402: 37}
    # Another one has his own.
    assert await ask_at_once(gateway, [tenant.key] * 4, "nor her", 3) == {200: 3, 402: 1}


async def test_complaint_06_bifrost_5673_a_budget_of_a_new_key_is_kept_or_the_key_is_refused(gateway: Any, tenant: Any) -> None:
    """bifrost #3547, #2873, #5673: budgets were kept by each replica for itself, some routes escaped them, and a budget that was named
    when a key was made was neither saved nor enforced.

    Here it is written in the transaction of its key, holds on each route that runs an engine, and unknown fields are refused.
    """
    keys = f"/projects/{tenant.id}/keys"
    issued = await gateway.admin("POST", keys, json={"name": "bounded", "budget": {"tokens": "0.1", "window": "month"}})
    for path, body in PAID:
        status, _, told = await gateway.call("POST", path, issued["key"], json=body)
        assert (status, told["error"]["code"]) == (402, "budget_exceeded"), path
    assert gateway.engine.jobs == []
    (budget,) = (await gateway.admin("GET", "/budgets", params={"key_id": issued["id"]}))["data"]
    assert (budget["tokens"], budget["window"], budget["scope"]) == ("0.1", "month", "key")
    there = len((await gateway.admin("GET", keys))["data"])
    for wrong in ({"tokens": "0.1"}, {"tokens": "0", "window": "day"}, {"tokens": "1", "window": "day", "max_budget": 5}, {"max_budget": 5}):
        status, _, _ = await gateway.call("POST", f"/v1/admin{keys}", "the admin key", json={"name": "unbounded", "budget": wrong})
        assert status == 400
    assert len((await gateway.admin("GET", keys))["data"]) == there


async def test_complaint_08_litellm_36926_what_did_not_run_to_its_end_leaves_nothing_on_a_budget(gateway: Any, tenant: Any) -> None:
    """litellm #27639, #29493, #30460, #36926, #40050, #27735: reservations leaked into counters, so that requests were refused with almost
    nothing spent, on one worker too.

    Here a hold is a row that ends: refused, failed, cancelled, left and expired requests give all of it back.
    """
    most = await most_of_a_chat(gateway, tenant.key)
    await make(gateway, scope="project", project_id=tenant.id, tokens=str(most * 20))
    await make(gateway, scope="key", key_id=tenant.key_id, tokens=str(most))
    untouched = await seen(gateway, tenant)
    # Refused: the key's budget has room for one of them.
    gateway.engine.failure = EngineFailed("it broke")
    assert set(await ask_at_once(gateway, [tenant.key] * 10, "u", 1)) <= {402, 502, 503}
    # Failed, one after the other.
    for stream in (False, True):
        await gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "stream": stream})
    gateway.engine.failure = None
    # Left.
    gateway.engine.gate = asyncio.Event()
    ran = len(gateway.engine.jobs)
    leaving = asyncio.create_task(gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))
    await until(lambda: len(gateway.engine.jobs) > ran)
    leaving.cancel()
    await gateway.until_no_hold_is_open()
    # Cancelled.
    await gateway.admin("PATCH", f"/budgets/{untouched['key']['id']}", json={"tokens": "1000"})
    status, _, video = await gateway.call("POST", "/v1/videos", tenant.key, json={"model": "painter", "prompt": "a ball"})
    assert status == 200
    assert Decimal((await seen(gateway, tenant))["key"]["held"]) > 0
    assert (await gateway.call("DELETE", f"/v1/videos/{video['id']}", tenant.key))[0] == 200
    await gateway.until_no_hold_is_open()
    await gateway.admin("PATCH", f"/budgets/{untouched['key']['id']}", json={"tokens": str(most)})
    after = await seen(gateway, tenant)
    assert {scope: (one["used"], one["held"], one["left"]) for scope, one in after.items()} == {
        "project": ("0", "0", untouched["project"]["left"]),
        "key": ("0", "0", untouched["key"]["left"]),
    }
    gateway.engine.gate = None
    assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))[0] == 200


async def test_complaint_09_litellm_29576_a_budget_comes_back_when_its_period_is_over_without_any_worker(
    gateway: Any, tenant: Any, database_url: str
) -> None:
    """litellm #33923, #29576: a counter that was not cleared when its budget was reset blocked for days; and "fail closed" let requests
    pass whose reservation could not be written.

    Here the first hold of the new period begins it itself; and a budget that cannot be written to holds nothing, so that nothing runs.
    """
    most = await most_of_a_chat(gateway, tenant.key)
    budget = await make(gateway, scope="project", project_id=tenant.id, tokens=str(most))
    owner: asyncpg.Connection = await connect_owner(database_url)
    for _ in range(3):
        assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))[0] == 200
        assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))[0] == 402
        await owner.execute("update admission.budgets set rolls_at = clock_timestamp()")
        shown = await gateway.admin("GET", f"/budgets/{budget['id']}")
        assert (shown["used"], Decimal(shown["left"])) == ("0", most)
    # Nothing can be reserved, nor an end user's budget be opened: nothing runs.
    ran = len(gateway.engine.jobs)
    await make(gateway, scope="end_user", project_id=tenant.id)
    await owner.execute("revoke execute on function admission.open_end_user_budgets from taximeter_app")
    assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "user": "ada"}))[0] >= 500
    await owner.execute("revoke execute on function metering.post from taximeter_app")
    assert (await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))[0] >= 500
    assert len(gateway.engine.jobs) == ran
    await owner.close()
