"""Limits over HTTP: set by operators, kept for callers, told in headers."""
# ruff: noqa: ANN401 - JSON

import asyncio
import json
import re
from decimal import Decimal
from typing import Any

import pytest

from taximeter.engines import EngineFailed
from taximeter.kernel.ids import decode_id
from tests.integration.gateway.conftest import ADMIN_KEY, Gateway, Tenant
from tests.support.asking import ask_chat
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CHAT = {"model": "teller", "messages": [{"role": "user", "content": "tell me more"}], "max_tokens": 9}
SPEECH = {"model": "speaker", "input": "Hello", "voice": "alloy"}
VIDEO = {"model": "painter", "prompt": "a ball"}
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", CHAT),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/embeddings", {"model": "mapper", "input": "Hi"}),
    ("/v1/audio/speech", SPEECH),
    ("/v1/audio/speech", {**SPEECH, "stream_format": "sse"}),
    ("/v1/videos", VIDEO),
]


IMPOSSIBLE: list[tuple[dict[str, Any], str]] = [
    ({"scope": "project", "kind": "requests", "most": 1}, "project_id"),
    ({"scope": "model", "kind": "requests", "most": 1}, "model"),
    ({"scope": "model", "model": "teller", "key_id": "key_00000000000000000000000001", "kind": "requests", "most": 1}, "key_id"),
    ({"scope": "model", "model": "teller", "kind": "requests", "most": "1.5"}, "most"),
    ({"scope": "model", "model": "teller", "kind": "requests", "most": 0}, "most"),
    ({"scope": "model", "model": "teller", "kind": "tokens", "most": "0"}, "most"),
    ({"scope": "model", "model": "teller", "kind": "requests", "most": 1, "window": 86_401}, "window"),
    ({"scope": "model", "model": "teller", "kind": "concurrency", "most": 1, "window": 60}, "window"),
    ({"scope": "model", "model": "teller", "kind": "requests", "most": 1, "burst": 2}, "burst"),
]


async def set_limit(gateway: Gateway, **body: Any) -> Any:
    return await gateway.admin("POST", "/limits", json=body)


async def until_begun(gateway: Gateway, number: int) -> None:
    """Wait until the engine has been given so many jobs."""
    await until(lambda: len(gateway.engine.jobs) == number)


async def slots(gateway: Gateway) -> int:
    count: int = await gateway.office.pool.fetchval("select count(*) from admission.running")
    return count


async def test_without_limits_no_answer_speaks_of_them(gateway: Gateway, tenant: Tenant) -> None:
    told = await ask_chat(gateway.http, gateway.url, tenant.key)
    assert told.status == 200
    assert [name for name in told.headers if "ratelimit" in name.lower()] == []


async def test_envoy_1754_what_remains_falls_with_each_request(gateway: Gateway, tenant: Tenant) -> None:
    """envoy ai-gateway #1754: x-ratelimit-remaining did not fall."""
    await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=600, window=86_400)
    await set_limit(gateway, scope="key", key_id=tenant.key_id, kind="tokens", most="90000", window=86_400)
    left = []
    for path, body in ROUTES:
        status, headers, _ = await gateway.call("POST", path, tenant.key, json=body)
        assert status == 200
        assert headers["ratelimit-policy"] == '"requests";q=600;w=86400, "tokens";q=90000;w=86400;qu="tokens"'
        match = re.search(r'"requests";r=(\d+);t=(\d+), "tokens";r=(\d+);t=(\d+)', headers["ratelimit"])
        assert match is not None
        assert (match[1], match[3]) == (headers["x-ratelimit-remaining-requests"], headers["x-ratelimit-remaining-tokens"])
        assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-limit-tokens"]) == ("600", "90000")
        assert re.fullmatch(r"\d+m\d+(\.\d+)?s", headers["x-ratelimit-reset-requests"])
        left.append((int(match[1]), int(match[3])))
    assert [requests for requests, _ in left] == [599, 598, 597, 596, 595, 594]
    # A chat holds more Tokens than it uses, and gets back what it did not use: the next one of its kind has less by what was used.
    assert left[1][1] < left[0][1] < 90_000
    await gateway.until_no_hold_is_open()


async def test_a_refusal_tells_the_limit_how_long_to_wait_and_what_is_left(gateway: Gateway, tenant: Tenant) -> None:
    await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=2, window=3600)
    for _ in range(2):
        assert (await ask_chat(gateway.http, gateway.url, tenant.key)).status == 200
    told = await ask_chat(gateway.http, gateway.url, tenant.key)
    assert (told.status, told.error["code"], told.error["type"]) == (429, "rate_limit_exceeded", "rate_limit_error")
    assert told.error["message"].startswith("the project is limited to 2 requests an hour; nothing was run or charged")
    assert 1790 <= int(told.headers["retry-after"]) <= 1800
    assert (told.headers["x-ratelimit-limit-requests"], told.headers["x-ratelimit-remaining-requests"]) == ("2", "0")
    assert told.headers["ratelimit"].startswith('"requests";r=0;t=3')
    assert await gateway.holds_open() == 0


async def test_a_slot_is_free_again_however_its_request_ended(gateway: Gateway, tenant: Tenant) -> None:
    await set_limit(gateway, scope="project", project_id=tenant.id, kind="concurrency", most=1)
    for number, ending in enumerate(("completed", "failed", "left")):
        gate = gateway.engine.gate = asyncio.Event()
        gateway.engine.failure = EngineFailed("it broke") if ending == "failed" else None
        first = asyncio.create_task(ask_chat(gateway.http, gateway.url, tenant.key, stream=True))
        await until_begun(gateway, number + 1)
        assert await slots(gateway) == 1
        told = await ask_chat(gateway.http, gateway.url, tenant.key)
        assert (told.status, told.error["code"], told.headers["retry-after"]) == (429, "concurrency_limit_exceeded", "1")
        assert told.headers["ratelimit"] == '"concurrency";r=0'
        if ending == "left":
            first.cancel()
        else:
            gate.set()
        await asyncio.gather(first, return_exceptions=True)
        await gateway.until_no_hold_is_open()
        assert await slots(gateway) == 0


async def test_a_hold_that_the_wallet_refuses_takes_nothing(gateway: Gateway) -> None:
    poor = await gateway.tenant("Poor", tokens=None)
    for kind, most in (("concurrency", 1), ("requests", 1), ("tokens", 1000)):
        await set_limit(gateway, scope="project", project_id=poor.id, kind=kind, most=most)
    for _ in range(3):
        told = await ask_chat(gateway.http, gateway.url, poor.key)
        assert (told.status, told.headers["x-ratelimit-remaining-requests"], told.headers["x-ratelimit-remaining-tokens"]) == (402, "1", "1000")
    await gateway.admin("POST", f"/projects/{poor.id}/top-ups", json={"tokens": "1000"})
    assert (await ask_chat(gateway.http, gateway.url, poor.key)).status == 200


async def test_a_video_keeps_its_slot_and_its_tokens_until_it_is_deleted(gateway: Gateway, tenant: Tenant) -> None:
    gateway.engine.gate = asyncio.Event()
    await set_limit(gateway, scope="model", model="painter", kind="concurrency", most=1)
    await set_limit(gateway, scope="project", project_id=tenant.id, kind="tokens", most=10, window=86_400)
    status, headers, video = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    assert (status, headers["x-ratelimit-remaining-tokens"]) == (200, "0")
    status, _, refused = await gateway.call("POST", "/v1/videos", tenant.key, json={**VIDEO, "seconds": "1"})
    assert (status, refused["error"]["code"]) == (429, "rate_limit_exceeded")
    await gateway.call("DELETE", f"/v1/videos/{video['id']}", tenant.key)
    assert await slots(gateway) == 0
    status, headers, _ = await gateway.call("POST", "/v1/videos", tenant.key, json=VIDEO)
    assert (status, headers["x-ratelimit-remaining-tokens"]) == (200, "0")
    gateway.engine.gate.set()
    await gateway.until_no_hold_is_open()


async def test_a_model_limit_is_everybodys_and_a_limit_for_one_model_lets_the_others_be(gateway: Gateway, tenant: Tenant) -> None:
    other = await gateway.tenant("Other")
    await set_limit(gateway, scope="model", model="mapper", kind="requests", most=2, window=3600)
    await set_limit(gateway, scope="key", key_id=tenant.key_id, model="teller", kind="requests", most=1, window=3600)
    embed = {"model": "mapper", "input": "Hi"}
    statuses = [(await gateway.call("POST", "/v1/embeddings", key, json=embed))[0] for key in (tenant.key, other.key, tenant.key, other.key)]
    assert statuses == [200, 200, 429, 429]
    assert [(await ask_chat(gateway.http, gateway.url, tenant.key)).status for _ in range(2)] == [200, 429]
    assert (await gateway.call("POST", "/v1/audio/speech", tenant.key, json=SPEECH))[0] == 200


async def test_a_request_that_never_fits_is_refused_for_good(gateway: Gateway, tenant: Tenant) -> None:
    await set_limit(gateway, scope="project", project_id=tenant.id, kind="tokens", most=10)
    told = await ask_chat(gateway.http, gateway.url, tenant.key)
    assert (told.status, told.error["code"]) == (400, "above_rate_limit")
    assert "retry-after" not in told.headers
    assert told.headers["x-ratelimit-remaining-tokens"] == "10"


async def test_a_shadow_refuses_nothing_and_counts_what_it_would_have_refused(gateway: Gateway, tenant: Tenant) -> None:
    limit = await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=2, window=3600, shadow=True)
    for _ in range(5):
        told = await ask_chat(gateway.http, gateway.url, tenant.key)
        assert told.status == 200
        assert "ratelimit" not in told.headers
    (listed,) = (await gateway.admin("GET", f"/limits?project_id={tenant.id}"))["data"]
    assert (listed["id"], listed["shadow"], listed["would_have_refused"]) == (limit["id"], True, 3)
    (day,) = (await gateway.admin("GET", f"/limits/{limit['id']}/refusals"))["data"]
    assert day["refused"] == 3
    async with gateway.http.get(f"{gateway.url}/metrics") as scraped:
        assert "taximeter_limits_shadow_refusals_total 3.0" in await scraped.text()


async def test_limits_are_changed_listed_and_removed_and_each_change_is_an_event(gateway: Gateway, tenant: Tenant) -> None:
    first = await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=1, window=3600)
    assert [(await ask_chat(gateway.http, gateway.url, tenant.key)).status for _ in range(2)] == [200, 429]
    again = await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most="1000", window=3600)
    assert (again["id"], again["most"], again["window"], again["operator"]) == (first["id"], "1000", 3600, "admin")

    async def runs() -> bool:
        return (await ask_chat(gateway.http, gateway.url, tenant.key)).status == 200

    await until(runs)
    key_limit = await set_limit(gateway, scope="key", key_id=tenant.key_id, kind="concurrency", most=3)
    listed = (await gateway.admin("GET", f"/limits?project_id={tenant.id}"))["data"]
    assert [each["id"] for each in listed] == [key_limit["id"], first["id"]]
    page = await gateway.admin("GET", "/limits?limit=1")
    assert (await gateway.admin("GET", f"/limits?limit=1&cursor={page['next_cursor']}"))["data"][0]["id"] == first["id"]
    await gateway.admin("DELETE", f"/limits/{first['id']}")
    assert (await gateway.call("DELETE", f"/v1/admin/limits/{first['id']}", ADMIN_KEY))[0] == 404
    events = await gateway.office.pool.fetch("select data from admission.events where type = 'limit.changed' order by id")
    told = [json.loads(event["data"]) for event in events]
    assert [(each["limit"], each["before"], each["after"], each["key"]) for each in told] == [
        (first["id"], None, "1", None),
        (first["id"], "1", "1000", None),
        (key_limit["id"], None, "3", tenant.key_id),
        (first["id"], "1000", None, None),
    ]
    await gateway.admin("PATCH", f"/projects/{tenant.id}/keys/{tenant.key_id}", json={"tokens_per_minute": "0.5", "operator": "Kim"})
    last = json.loads(await gateway.office.pool.fetchval("select data from admission.events where type = 'limit.changed' order by id desc limit 1"))
    assert (last["key"], last["operator"], last["after"]["tokens_per_minute"]) == (tenant.key_id, "Kim", "0.5")


async def test_a_limit_that_cannot_be_is_refused_by_name(gateway: Gateway) -> None:
    for body, param in IMPOSSIBLE:
        status, _, problem = await gateway.call("POST", "/v1/admin/limits", ADMIN_KEY, json=body)
        assert (status, problem["param"]) == (400, param)


async def test_limits_are_for_keys_projects_and_models_that_are_there(gateway: Gateway, tenant: Tenant) -> None:
    absent: list[dict[str, Any]] = [
        {"scope": "project", "project_id": "prj_00000000000000000000000001"},
        {"scope": "key", "key_id": "key_00000000000000000000000001"},
        {"scope": "model", "model": "nobody"},
    ]
    for body in absent:
        assert (await gateway.call("POST", "/v1/admin/limits", ADMIN_KEY, json={**body, "kind": "requests", "most": 1}))[0] == 404
    for window in range(1, 6):
        await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=1, window=window)
    one_more = {"scope": "project", "project_id": tenant.id, "kind": "requests", "most": 1, "window": 6}
    status, _, problem = await gateway.call("POST", "/v1/admin/limits", ADMIN_KEY, json=one_more)
    assert (status, problem["code"]) == (400, "too_many_limits")
    # Another height of one that is there is no more than there was.
    await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=2, window=5)


async def test_bifrost_5673_a_limit_on_key_creation_is_saved_and_enforced(gateway: Gateway, tenant: Tenant) -> None:
    """maximhq/bifrost #5673: a budget that was given when a key was made was neither saved nor kept."""
    body = {"name": "limited", "requests_per_minute": 1, "tokens_per_minute": "500"}
    made = await gateway.admin("POST", f"/projects/{tenant.id}/keys", json=body)
    (listed,) = [key for key in (await gateway.admin("GET", f"/projects/{tenant.id}/keys"))["data"] if key["id"] == made["id"]]
    assert (listed["requests_per_minute"], listed["tokens_per_minute"]) == (1, "500")
    told = await ask_chat(gateway.http, gateway.url, made["key"])
    assert (told.status, told.headers["x-ratelimit-limit-requests"], told.headers["x-ratelimit-limit-tokens"]) == (200, "1", "500")
    told = await ask_chat(gateway.http, gateway.url, made["key"])
    assert (told.status, told.error["code"]) == (429, "rate_limit_exceeded")
    changed = await gateway.admin("PATCH", f"/projects/{tenant.id}/keys/{made['id']}", json={"requests_per_minute": None})
    assert (changed["requests_per_minute"], changed["tokens_per_minute"]) == (None, "500")

    async def runs() -> bool:
        return (await ask_chat(gateway.http, gateway.url, made["key"])).status == 200

    await until(runs)
    status, _, _ = await gateway.call("PATCH", f"/v1/admin/projects/{tenant.id}/keys/{made['id']}", ADMIN_KEY, json={"requests_per_minute": 0})
    assert status == 400
    status, _, _ = await gateway.call("PATCH", f"/v1/admin/projects/{tenant.id}/keys/key_00000000000000000000000001", ADMIN_KEY, json={})
    assert status == 404


async def test_a_caller_sees_all_that_binds_him_and_what_is_left_of_it(gateway: Gateway, tenant: Tenant) -> None:
    status, _, answer = await gateway.call("GET", "/v1/limits", tenant.key)
    assert (status, answer["caps"], answer["limits"], answer["budgets"]) == (200, None, [], [])
    limit = await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=10, window=86_400)
    await set_limit(gateway, scope="key", key_id=tenant.key_id, model="teller", kind="tokens", most="100", window=86_400)
    await set_limit(gateway, scope="model", model="speaker", kind="concurrency", most=2)
    await set_limit(gateway, scope="project", project_id=tenant.id, kind="requests", most=1, shadow=True)
    await gateway.admin("PATCH", f"/projects/{tenant.id}/keys/{tenant.key_id}", json={"requests_per_minute": 7})
    budget = await gateway.admin("POST", "/budgets", json={"scope": "project", "project_id": tenant.id, "tokens": "500", "window": "month"})

    async def shown(query: str = "") -> Any:
        status, _, answer = await gateway.call("GET", f"/v1/limits{query}", tenant.key)
        assert (status, answer["key_id"], answer["project_id"]) == (200, tenant.key_id, tenant.id)
        return answer

    async def of_all_five() -> bool:
        return len((await shown())["limits"]) == 4 and len((await shown())["budgets"]) == 1

    await until(of_all_five)
    gateway.engine.gate = asyncio.Event()
    running = asyncio.create_task(gateway.call("POST", "/v1/audio/speech", tenant.key, json=SPEECH))
    await until_begun(gateway, 1)
    answer = await shown()
    left = {(each["scope"], each["kind"], each["model"]): (each["most"], each["left"], each["window"]) for each in answer["limits"]}
    assert left["project", "requests", None] == ("10", "9", 86_400)
    assert left["key", "tokens", "teller"] == ("100", "100", 86_400)
    assert left["model", "concurrency", "speaker"] == ("2", "1", None)
    assert left["key", "requests", None][0] == "7"
    assert {each["id"] for each in answer["limits"] if each["scope"] == "project"} == {limit["id"]}
    assert [each["id"] for each in answer["limits"] if (each["scope"], each["model"]) == ("key", None)] == [None]
    (seen,) = answer["budgets"]
    assert (seen["id"], seen["tokens"], seen["hard"], Decimal(seen["left"]) < 500) == (budget["id"], "500", True, True)
    gateway.engine.gate.set()
    assert (await running)[0] == 200
    assert {each["model"] for each in (await shown("?model=mapper"))["limits"]} == {None}
    status, _, answer = await gateway.call("GET", "/v1/limits?model=nobody", tenant.key)
    assert (status, answer["code"]) == (404, "model_not_found")
    # What operators see of the same key: the shadow, too.
    key_id = decode_id("key", tenant.key_id)
    assert key_id is not None
    key = await gateway.office.identity_store.find_key(key_id)
    assert key is not None
    bounds = await gateway.office.tenancy.limits(await gateway.office.tenancy.caller(key.project_id, key), shadows=True)
    assert sorted(each["shadow"] for each in bounds["limits"]) == [False] * 4 + [True]
    assert bounds["budgets"][0]["id"] == budget["id"]
