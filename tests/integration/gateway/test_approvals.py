"""Caps on single requests: refused with what to do, or parked until an operator has decided about the quote."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from taximeter.admission.events import EventStore
from taximeter.db.pool import connect_owner
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, per_character

pytestmark = pytest.mark.anyio

PLANS = """
kind: plan
name: capped
version: 1
effective_from: 2026-01-01
allowance_period: none
request_caps: {video: 5, teller: 30, mapper: 5, speech: 0.1}
above_cap: approve
---
kind: plan
name: strict
version: 1
effective_from: 2026-01-01
allowance_period: none
request_caps: {video: 5}
request_tokens_max: 30
"""
# What a project has subscribed to, here by its name.
SUBSCRIBED = """
create or replace function admission.subscription_of(p_project uuid) returns text language sql stable as $$
    select p.name from identity.projects p where p.id = p_project and p.name in ('capped', 'strict')
$$
"""
FILM = {"model": "painter", "prompt": "a red ball"}  # 20 steps, half a Token each.
CHAT = {"model": "teller", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50}


@pytest.fixture
async def plans(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "models.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    (tmp_path / "plans" / "plans.yaml").write_text(PLANS, encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "plans", METERS)
    await owner.execute(SUBSCRIBED)
    await owner.close()


@pytest.fixture
async def capped(plans: None, gateway: Any) -> Any:  # noqa: ARG001 - published before the gateway reads the catalog
    return await gateway.tenant("capped")


async def film(gateway: Any, tenant: Any, headers: dict[str, str] | None = None, **changes: Any) -> Any:
    status, _, body = await gateway.call("POST", "/v1/videos", tenant.key, json={**FILM, **changes}, headers=headers or {})
    assert status == 200, body
    return body


async def decide(gateway: Any, approval: str, verb: str, **body: Any) -> tuple[int, Any]:
    status, _, answer = await gateway.call("POST", f"/v1/admin/approvals/{approval}/{verb}", "the admin key", json=body)
    return status, answer


async def approvals(gateway: Any, state: str | None = None) -> list[Any]:
    page = await gateway.admin("GET", "/approvals" + (f"?state={state}" if state else ""))
    data: list[Any] = page["data"]
    return data


async def until_completed(gateway: Any, tenant: Any, video: str) -> Any:
    async with asyncio.timeout(20):
        while True:
            _, _, body = await gateway.call("GET", f"/v1/videos/{video}", tenant.key)
            if body["status"] in ("completed", "failed"):
                return body
            await asyncio.sleep(0.02)


async def test_a_request_at_its_cap_runs_and_one_above_it_is_refused_with_what_to_do(plans: None, gateway: Any) -> None:  # noqa: ARG001
    strict = await gateway.tenant("strict")
    assert (await film(gateway, strict, steps=10))["status"] == "queued"
    status, headers, body = await gateway.call("POST", "/v1/videos", strict.key, json={**FILM, "steps": 11})
    assert (status, body["error"]["code"], headers["taximeter-cap"]) == (403, "above_plan_cap", "5")
    for part in ("5.5 Tokens", "at most 5", "fewer seconds", "another plan"):
        assert part in body["error"]["message"]
    status, _, body = await gateway.call("POST", "/v1/chat/completions", strict.key, json=CHAT)
    assert (status, body["error"]["code"]) == (403, "above_plan_cap")
    assert await approvals(gateway) == []


async def test_who_has_subscribed_to_nothing_has_no_cap(plans: None, gateway: Any) -> None:  # noqa: ARG001
    anybody = await gateway.tenant("Research")
    assert (await film(gateway, anybody))["taximeter"]["state"] == "queued"
    status, _, quote = await gateway.call("POST", "/v1/quotes", anybody.key, json={"model": "painter", "request": {"prompt": "a"}})
    assert (status, "needs_approval" in quote, "plan_cap" in quote) == (200, False, False)


async def test_a_quote_says_that_its_job_is_above_the_cap(capped: Any, gateway: Any) -> None:
    async def quote(steps: int) -> Any:
        request = {"prompt": "a", "steps": steps}
        status, _, body = await gateway.call("POST", "/v1/quotes", capped.key, json={"model": "painter", "request": request})
        assert status == 200
        return body

    assert "needs_approval" not in await quote(10)
    above = await quote(11)
    assert (above["needs_approval"], above["plan_cap"]) == (True, "5")
    status, _, body = await gateway.call(
        "POST", "/v1/videos", capped.key, json={**FILM, "prompt": "a", "steps": 11}, headers={"taximeter-quote": above["id"]}
    )
    assert (status, body["taximeter"]["state"]) == (200, "needs_approval"), "a quote is no approval"


async def test_a_video_waits_with_nothing_held_and_runs_at_its_quoted_price_when_it_is_approved(capped: Any, gateway: Any) -> None:
    status, headers, video = await gateway.call("POST", "/v1/videos", capped.key, json=FILM)
    told = video["taximeter"]
    assert (status, video["status"], told["state"], told["tokens_max"], told["cap"]) == (200, "queued", "needs_approval", "10", "5")
    assert (headers["taximeter-approval"], headers["taximeter-quote"]) == (told["approval"], told["quote"])
    assert (await gateway.wallet(capped), await gateway.receipts(capped)) == (("1000", "0"), [])
    _, _, found = await gateway.call("GET", f"/v1/videos/{video['id']}", capped.key)
    _, _, page = await gateway.call("GET", "/v1/videos", capped.key)
    assert found == video
    assert page["data"] == [video]
    status, _, body = await gateway.call("GET", f"/v1/videos/{video['id']}/content", capped.key)
    assert (status, body["error"]["code"]) == (400, "video_not_ready")

    (waiting,) = await approvals(gateway, "pending")
    assert (waiting["id"], waiting["video"], waiting["request"]["prompt"]) == (told["approval"], video["id"], "a red ball")
    status, approved = await decide(gateway, waiting["id"], "approve", operator="ada", reason="for the fair")
    assert (status, approved["state"], approved["operator"], approved["reason"]) == (200, "used", "ada", "for the fair")
    done = await until_completed(gateway, capped, video["id"])
    assert (done["id"], done["status"], done["taximeter"]["tokens_charged"]) == (video["id"], "completed", "10")
    (receipt,) = await gateway.receipts(capped)
    assert (receipt["quote"], receipt["tokens_held"]) == (told["quote"], "10")
    assert (await gateway.wallet(capped))[0] == "990"
    retrieved = await gateway.admin("GET", f"/approvals/{waiting['id']}")
    assert [each["state"] for each in retrieved["history"]] == ["pending", "approved"]
    assert retrieved["offer"]["tokens_max"] == "10"
    kinds = [event["type"] for event in (await gateway.admin("GET", "/events?type=approval"))["data"]]
    assert kinds == ["approval.decided", "approval.requested"]


async def test_a_declined_video_has_failed_and_cost_nothing(capped: Any, gateway: Any) -> None:
    video = await film(gateway, capped)
    status, declined = await decide(gateway, video["taximeter"]["approval"], "decline", operator="ada", reason="too dear")
    assert (status, declined["state"]) == (200, "declined")
    _, _, found = await gateway.call("GET", f"/v1/videos/{video['id']}", capped.key)
    assert (found["status"], found["error"]["code"], found["taximeter"]["tokens_charged"]) == ("failed", "declined", "0")
    assert "too dear" in found["error"]["message"]
    assert (await gateway.wallet(capped), await gateway.receipts(capped)) == (("1000", "0"), [])
    status, answer = await decide(gateway, video["taximeter"]["approval"], "approve")
    assert (status, answer["code"]) == (409, "approval_decided")
    status, _, body = await gateway.call("DELETE", f"/v1/videos/{video['id']}", capped.key)
    assert (status, body["deleted"]) == (200, True)
    assert (await gateway.call("GET", f"/v1/videos/{video['id']}", capped.key))[0] == 404


async def test_deleting_a_video_that_waits_withdraws_it(capped: Any, gateway: Any) -> None:
    video = await film(gateway, capped)
    assert (await gateway.call("DELETE", f"/v1/videos/{video['id']}", capped.key))[0] == 200
    assert (await gateway.call("GET", f"/v1/videos/{video['id']}", capped.key))[0] == 404
    assert (await gateway.call("GET", "/v1/videos", capped.key))[2]["data"] == []
    status, answer = await decide(gateway, video["taximeter"]["approval"], "approve")
    assert (status, answer["code"], "withdrawn" in answer["detail"]) == (409, "approval_decided", True)


async def test_a_call_is_parked_and_runs_once_with_its_quote_when_it_is_approved(capped: Any, gateway: Any) -> None:
    status, headers, body = await gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT)
    name, quote = headers["taximeter-approval"], headers["taximeter-quote"]
    assert (status, body["error"]["code"]) == (403, "needs_approval")
    assert name in body["error"]["message"]
    assert quote in body["error"]["message"]
    assert (await gateway.wallet(capped), gateway.engine.jobs) == (("1000", "0"), [])
    with_quote = {"taximeter-quote": quote}
    status, headers, _ = await gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT, headers=with_quote)
    assert (status, headers["taximeter-approval"]) == (403, name), "not approved yet"

    assert (await decide(gateway, name, "approve", operator="ada"))[1]["state"] == "approved"
    status, headers, body = await gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT)
    assert (status, headers["taximeter-approval"], "was approved" in body["error"]["message"]) == (403, name, True)
    status, _, body = await gateway.call("POST", "/v1/chat/completions", capped.key, json={**CHAT, "max_tokens": 51}, headers=with_quote)
    assert (status, body["error"]["code"]) == (422, "quote_mismatch"), "another request was not approved"
    answers = await asyncio.gather(*(gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT, headers=with_quote) for _ in range(10)))
    assert sorted(status for status, _, _ in answers) == [200] + [422] * 9
    assert len(gateway.engine.jobs) == 1
    _, _, mine = await gateway.call("GET", f"/v1/approvals/{name}", capped.key)
    (receipt,) = await gateway.receipts(capped)
    assert (mine["state"], mine["receipt"]) == ("used", receipt["id"])
    status, headers, _ = await gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT)
    assert (status, headers["taximeter-approval"] != name) == (403, True), "the next one asks anew"


async def test_every_kind_of_call_passes_the_same_gate(capped: Any, gateway: Any) -> None:
    calls = {
        "/v1/embeddings": {"model": "mapper", "input": "more than five"},
        "/v1/audio/speech": {"model": "speaker", "voice": "alloy", "input": "Hello there, you."},
        "/v1/chat/completions": {**CHAT, "stream": True},
    }
    for path, body in calls.items():
        status, headers, answer = await gateway.call("POST", path, capped.key, json=body)
        assert (status, answer["error"]["code"]) == (403, "needs_approval"), path
        assert (await decide(gateway, headers["taximeter-approval"], "approve"))[0] == 200
        status, _, _ = await gateway.call("POST", path, capped.key, json=body, headers={"taximeter-quote": headers["taximeter-quote"]})
        assert status == 200, path
    await gateway.until_no_hold_is_open()


async def test_a_declined_calls_quote_does_not_ask_again(capped: Any, gateway: Any) -> None:
    _, headers, _ = await gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT)
    await decide(gateway, headers["taximeter-approval"], "decline", reason="no")
    sent = {"taximeter-quote": headers["taximeter-quote"]}
    status, again, body = await gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT, headers=sent)
    assert (status, body["error"]["code"], again["x-should-retry"]) == (409, "approval_decided", "false")
    assert len(await approvals(gateway)) == 1


async def test_the_same_request_sent_often_waits_as_one(capped: Any, gateway: Any) -> None:
    answers = await asyncio.gather(*(gateway.call("POST", "/v1/videos", capped.key, json=FILM) for _ in range(20)))
    assert len({body["id"] for _, _, body in answers}) == 1
    assert sum("idempotency-replayed" in headers for _, headers, _ in answers) == 19
    calls = await asyncio.gather(*(gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT) for _ in range(20)))
    assert len({headers["taximeter-approval"] for _, headers, _ in calls}) == 1
    assert len(await approvals(gateway, "pending")) == 2


async def test_an_idempotency_key_names_one_request_while_it_waits_and_when_it_runs(capped: Any, gateway: Any) -> None:
    one, other = await film(gateway, capped, {"idempotency-key": "a"}), await film(gateway, capped, {"idempotency-key": "b"})
    assert one["id"] != other["id"], "two keys, two films, though they are alike"
    assert (await film(gateway, capped, {"idempotency-key": "a"}))["id"] == one["id"]
    status, headers, body = await gateway.call(
        "POST", "/v1/videos", capped.key, json={**FILM, "prompt": "a blue ball"}, headers={"idempotency-key": "a"}
    )
    assert (status, body["error"]["code"], headers["taximeter-approval"]) == (422, "idempotency_key_reused", one["taximeter"]["approval"])
    assert (await decide(gateway, one["taximeter"]["approval"], "approve"))[0] == 200
    await until_completed(gateway, capped, one["id"])
    assert (await film(gateway, capped, {"idempotency-key": "a"}))["id"] == one["id"]
    assert [each["id"] for each in await approvals(gateway, "pending")] == [other["taximeter"]["approval"]]


async def test_fifty_operators_who_approve_at_once_start_it_once(capped: Any, gateway: Any) -> None:
    video = await film(gateway, capped)
    answers = await asyncio.gather(*(decide(gateway, video["taximeter"]["approval"], "approve", operator=f"op{n}") for n in range(50)))
    assert {status for status, _ in answers} == {200}
    assert len({body["operator"] for _, body in answers}) == 1, "one of them did it, and all are told who"
    await until_completed(gateway, capped, video["id"])
    assert len(gateway.engine.jobs) == 1
    assert (await gateway.wallet(capped)) == ("990", "0")
    assert len(await gateway.receipts(capped)) == 1


async def test_of_approving_declining_and_withdrawing_at_once_one_wins(capped: Any, gateway: Any) -> None:
    for round_ in range(6):
        video = await film(gateway, capped, {"idempotency-key": f"round {round_}"})
        name = video["taximeter"]["approval"]
        await asyncio.gather(
            decide(gateway, name, "approve"),
            decide(gateway, name, "decline", reason="no"),
            gateway.call("DELETE", f"/v1/videos/{video['id']}", capped.key),
        )
        retrieved = await gateway.admin("GET", f"/approvals/{name}")
        decisions = [each["state"] for each in retrieved["history"]][1:]
        assert len(decisions) == 1
    await gateway.until_no_hold_is_open()
    receipts = await gateway.receipts(capped)
    charged = sum(float(receipt["tokens_charged"]) for receipt in receipts)
    assert float((await gateway.wallet(capped))[0]) == 1000 - charged


async def test_a_wallet_that_does_not_cover_it_leaves_it_waiting_and_tells_the_operator(plans: None, gateway: Any) -> None:  # noqa: ARG001
    poor = await gateway.tenant("capped", "9")
    video = await film(gateway, poor)
    name = video["taximeter"]["approval"]
    for _ in range(2):
        status, answer = await decide(gateway, name, "approve", operator="ada")
        assert (status, answer["code"]) == (402, "insufficient_balance")
    (waiting,) = await approvals(gateway, "pending")
    assert waiting["operator"] is None
    assert "9 available" in waiting["problem"]
    assert (await gateway.wallet(poor), await gateway.receipts(poor)) == (("9", "0"), [])
    await gateway.admin("POST", f"/projects/{poor.id}/top-ups", json={"tokens": "1"})
    status, approved = await decide(gateway, name, "approve", operator="ada")
    assert (status, approved["state"], approved["problem"]) == (200, "used", None)
    done = await until_completed(gateway, poor, video["id"])
    assert (done["status"], await gateway.wallet(poor)) == ("completed", ("0", "0"))


async def test_what_a_revoked_key_has_asked_for_does_not_run(capped: Any, gateway: Any) -> None:
    video = await film(gateway, capped)
    await gateway.admin("DELETE", f"/projects/{capped.id}/keys/{capped.key_id}")
    status, answer = await decide(gateway, video["taximeter"]["approval"], "approve")
    assert (status, answer["code"]) == (409, "approval_key_revoked")
    assert (await approvals(gateway, "pending"))[0]["problem"] == answer["detail"]


async def test_what_nobody_decides_in_time_expires(capped: Any, gateway: Any, database_url: str) -> None:
    video = await film(gateway, capped)
    _, headers, _ = await gateway.call("POST", "/v1/chat/completions", capped.key, json=CHAT)
    owner = await connect_owner(database_url)
    await owner.execute("alter table admission.approvals disable trigger approvals_asked_once")
    await owner.execute("update admission.approvals set expires_at = clock_timestamp()")
    await owner.execute("alter table admission.approvals enable trigger approvals_asked_once")
    _, _, found = await gateway.call("GET", f"/v1/videos/{video['id']}", capped.key)
    assert (found["status"], found["error"]["code"]) == ("failed", "approval_expired")
    assert len(await approvals(gateway, "expired")) == 2
    assert (await decide(gateway, headers["taximeter-approval"], "approve"))[0] == 409
    again = await film(gateway, capped)
    assert again["id"] != video["id"], "it may be asked for anew"
    assert await owner.fetchval("select count(*) from admission.events where type = 'approval.decided' and data ->> 'state' = 'expired'") == 2
    await owner.close()


async def test_a_list_of_videos_is_in_their_order_whether_they_wait_or_run(capped: Any, gateway: Any) -> None:
    ids = [(await film(gateway, capped, prompt=f"film {number}", steps=20 if number % 2 else 2))["id"] for number in range(7)]
    for order, wanted in (("asc", ids), ("desc", ids[::-1])):
        found: list[str] = []
        after = ""
        while True:
            _, _, page = await gateway.call("GET", f"/v1/videos?limit=2&order={order}{after}", capped.key)
            found += [video["id"] for video in page["data"]]
            if not page["has_more"]:
                break
            after = f"&after={page['last_id']}"
        assert found == wanted


async def test_approvals_of_others_are_nobodys_business(capped: Any, gateway: Any) -> None:
    video = await film(gateway, capped)
    other = await gateway.tenant("capped")
    name = video["taximeter"]["approval"]
    assert (await gateway.call("GET", f"/v1/approvals/{name}", other.key))[2]["code"] == "approval_not_found"
    assert (await gateway.call("GET", "/v1/approvals", other.key))[2]["data"] == []
    assert (await gateway.call("GET", f"/v1/videos/{video['id']}", other.key))[0] == 404
    assert (await gateway.call("DELETE", f"/v1/videos/{video['id']}", other.key))[0] == 404
    _, _, mine = await gateway.call("GET", "/v1/approvals?state=pending", capped.key)
    assert [each["id"] for each in mine["data"]] == [name]
    for path in ("/v1/approvals?state=lost", "/v1/approvals?limit=0", "/v1/approvals?cursor=x"):
        assert (await gateway.call("GET", path, capped.key))[0] == 400
    assert (await gateway.call("POST", f"/v1/admin/approvals/{name}/approve", capped.key, json={}))[0] == 401
    assert (await decide(gateway, name, "decline"))[0] == 400, "whoever declines says why"
    assert (await decide(gateway, "apr_nonsense", "approve"))[0] == 404


async def test_webhooks_by_the_admin_api(gateway: Any, database: Any) -> None:
    tenant = await gateway.tenant("Research")
    made = await gateway.admin("POST", "/webhooks", json={"url": "https://example.com/h", "types": ["approval.*"], "project_id": tenant.id})
    assert made["secret"].startswith("whsec_")
    path = f"/webhooks/{made['id']}"
    assert "secret" not in await gateway.admin("GET", path)
    changed = await gateway.admin("PATCH", path, json={"types": [], "disabled": True})
    assert (changed["types"], changed["disabled"], changed["disabled_reason"]) == ([], True, "disabled by an operator")
    assert (await gateway.admin("PATCH", path, json={"disabled": False}))["disabled"] is False
    rotated = await gateway.admin("POST", f"{path}/rotate-secret", json={})
    assert (rotated["secret"] != made["secret"], rotated["old_secret_until"] is not None) == (True, True)
    sent = await gateway.admin("POST", f"{path}/test", json={})
    await EventStore.emit(database, "plan.changed", None, {"n": 1})
    events = await gateway.admin("GET", "/events?limit=1")
    assert [event["type"] for event in events["data"]] == ["plan.changed"]
    older = await gateway.admin("GET", f"/events?cursor={events['next_cursor']}")
    assert [event["id"] for event in older["data"]] == [sent["event"]]
    assert (await gateway.admin("GET", f"{path}/deliveries"))["data"] == []
    assert await gateway.admin("POST", f"{path}/resend-failed", json={}) == {"resent": 0}
    assert [hook["id"] for hook in (await gateway.admin("GET", f"/webhooks?project_id={tenant.id}"))["data"]] == [made["id"]]
    for body, code in (
        ({"url": "http://127.0.0.1/"}, "webhook_address_refused"),
        ({"url": "nothing"}, "invalid_value"),
        ({"url": "https://example.com", "types": ["*"]}, "invalid_value"),
        ({"url": "https://example.com", "project_id": "prj_00000000000000000000000001"}, "not_found"),
    ):
        assert (await gateway.call("POST", "/v1/admin/webhooks", "the admin key", json=body))[2]["code"] == code
    status, _, body = await gateway.call("POST", f"/v1/admin{path}/deliveries/dlv_00000000000000000000000001/resend", "the admin key", json={})
    assert (status, body["code"]) == (404, "delivery_not_found")
    assert (await gateway.admin("DELETE", path))["deleted"] is True
    assert (await gateway.call("GET", f"/v1/admin{path}", "the admin key"))[2]["code"] == "webhook_not_found"
    figures = await gateway.office.figures()
    assert json.dumps(sorted(name for name in figures if "webhook" in name or "approval" in name)) == json.dumps(
        [
            *("taximeter_approvals_pending", "taximeter_approvals_pending_oldest_s", "taximeter_webhooks_disabled"),
            *("taximeter_webhooks_failed", "taximeter_webhooks_pending", "taximeter_webhooks_pending_oldest_s"),
        ]
    )
