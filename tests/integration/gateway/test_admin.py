"""The administrator's day: organisations, projects, keys, Tokens."""
# ruff: noqa: ANN401 - the fixtures' classes stand in conftest.py, which tests cannot import

import asyncio
from typing import Any

import pytest

from taximeter.engines import EngineFailed

pytestmark = pytest.mark.anyio

ADMIN_KEY = "the admin key"


async def test_from_an_organisation_to_a_working_key(gateway: Any) -> None:
    organisation = await gateway.admin("POST", "/organisations", json={"name": "Acme"})
    project = await gateway.admin("POST", "/projects", json={"name": "Research", "organisation_id": organisation["id"]})
    assert project["organisation_id"] == organisation["id"]
    issued = await gateway.admin("POST", f"/projects/{project['id']}/keys", json={"name": "ci", "expires_at": "2100-01-01T00:00:00Z"})
    assert issued["key"].startswith(issued["prefix"] + "-")
    topped = await gateway.admin("POST", f"/projects/{project['id']}/top-ups", json={"tokens": "12.5", "reference": "order 1"})
    assert (topped["tokens"], topped["wallet"]["balance"]) == ("12.5", "12.5")
    status, _, wallet = await gateway.call("GET", "/v1/wallet", issued["key"])
    assert (status, wallet["balance"], wallet["prepaid"], wallet["held"]) == (200, "12.5", "12.5", "0")
    assert (await gateway.admin("GET", f"/projects/{project['id']}/wallet"))["balance"] == "12.5"


async def test_a_reference_is_booked_once(gateway: Any) -> None:
    project = await gateway.admin("POST", "/projects", json={"name": "Research"})
    path = f"/projects/{project['id']}/top-ups"
    for _ in range(3):
        await gateway.admin("POST", path, json={"tokens": "5", "reference": "order 1"})
    assert (await gateway.admin("GET", f"/projects/{project['id']}/wallet"))["balance"] == "5"
    status, headers, answer = await gateway.call("POST", f"/v1/admin{path}", ADMIN_KEY, json={"tokens": "6", "reference": "order 1"})
    assert (status, answer["code"], headers["x-should-retry"]) == (409, "id_reused", "false")


async def test_a_grant_is_spent_before_what_was_bought(gateway: Any) -> None:
    project = await gateway.admin("POST", "/projects", json={"name": "Granted"})
    path = f"/projects/{project['id']}"
    await gateway.admin("POST", f"{path}/top-ups", json={"tokens": "5", "reference": "one"})
    # The same reference on another kind of entry is another entry.
    granted = await gateway.admin("POST", f"{path}/grants", json={"tokens": "2", "reference": "one"})
    assert {name: granted["wallet"][name] for name in ("balance", "allowance", "prepaid")} == {"balance": "7", "allowance": "2", "prepaid": "5"}
    assert (await gateway.admin("POST", f"{path}/grants", json={"tokens": "2", "reference": "one"}))["replayed"] is True


async def test_a_key_is_shown_once_and_can_be_revoked(gateway: Any) -> None:
    project = await gateway.admin("POST", "/projects", json={"name": "Research"})
    path = f"/projects/{project['id']}/keys"
    issued = await gateway.admin("POST", path, json={"name": "ci"})
    page = await gateway.admin("GET", path)
    assert [key["id"] for key in page["data"]] == [issued["id"]]
    assert issued["key"] not in str(page)
    revoked = await gateway.admin("DELETE", f"{path}/{issued['id']}")
    assert revoked["revoked_at"] is not None


async def test_lists_are_paged(gateway: Any) -> None:
    for number in range(3):
        await gateway.admin("POST", "/projects", json={"name": f"Project {number}"})
    first = await gateway.admin("GET", "/projects?limit=2")
    rest = await gateway.admin("GET", f"/projects?limit=2&cursor={first['next_cursor']}")
    assert [project["name"] for project in first["data"] + rest["data"]] == ["Project 2", "Project 1", "Project 0"]
    assert rest["next_cursor"] is None
    own = await gateway.admin("GET", f"/projects?organisation_id={first['data'][0]['organisation_id']}")
    assert [project["name"] for project in own["data"]] == ["Project 2"]
    assert len((await gateway.admin("GET", "/organisations"))["data"]) == 3


IMPOSSIBLE: list[tuple[str, str, Any, int, str]] = [
    ("POST", "/projects", {"name": ""}, 400, "invalid_value"),
    ("POST", "/projects", {"name": "a\nb"}, 400, "invalid_value"),
    ("POST", "/projects", {"name": "x" * 201}, 400, "invalid_value"),
    ("POST", "/projects", {}, 400, "invalid_value"),
    ("POST", "/projects", {"name": "x", "organisation_id": "org_00000000000000000000000001"}, 404, "not_found"),
    ("POST", "/projects", {"name": "x", "organisation_id": "nonsense"}, 404, "not_found"),
    ("GET", "/projects/prj_00000000000000000000000001", None, 404, "not_found"),
    ("POST", "/projects/prj_00000000000000000000000001/keys", {"name": "x"}, 404, "not_found"),
    ("POST", "/projects/prj_00000000000000000000000001/top-ups", {"tokens": "1"}, 404, "not_found"),
    ("GET", "/projects/prj_00000000000000000000000001/wallet", None, 404, "not_found"),
    ("DELETE", "/projects/prj_00000000000000000000000001/keys/key_00000000000000000000000001", None, 404, "not_found"),
    ("GET", "/projects?cursor=prj_x", None, 400, "invalid_value"),
    ("GET", "/projects?limit=0", None, 400, "invalid_value"),
]


async def test_what_cannot_be_done_is_a_problem(gateway: Any, subtests: pytest.Subtests) -> None:
    for method, path, body, status, code in IMPOSSIBLE:
        with subtests.test(method=method, path=path, body=str(body)[:50]):
            got, headers, answer = await gateway.call(method, f"/v1/admin{path}", ADMIN_KEY, json=body)
            assert (got, answer["code"]) == (status, code)
            assert headers["Content-Type"] == "application/problem+json"


BAD_BODIES: list[tuple[bytes, str, int, str]] = [
    (b"\xff", "application/json", 400, "invalid_utf8"),
    (b'{"name": "\xff"}', "application/json", 400, "invalid_utf8"),
    (b"[" * 90_000, "application/json", 400, "invalid_json"),
    (b"{", "application/json", 400, "invalid_json"),
    (b"[]", "application/json", 400, "invalid_json"),
    (b'{"name": "x"}', "text/plain", 415, "unsupported_media_type"),
]


async def test_bad_bodies_are_told_apart(gateway: Any, subtests: pytest.Subtests) -> None:
    for data, kind, status, code in BAD_BODIES:
        with subtests.test(data=data[:50]):
            got, _, answer = await gateway.call("POST", "/v1/admin/projects", ADMIN_KEY, data=data, headers={"Content-Type": kind})
            assert (got, answer["code"]) == (status, code)


async def test_what_needs_no_body_takes_none(gateway: Any, subtests: pytest.Subtests) -> None:
    webhook = (await gateway.admin("POST", "/webhooks", json={"url": "https://example.com/hook"}))["id"]
    for path, data, status, code in (
        (f"/webhooks/{webhook}/test", None, 202, None),
        (f"/webhooks/{webhook}/test", b"{}", 202, None),
        (f"/webhooks/{webhook}/test", b'{"x": 1}', 400, "invalid_value"),
        (f"/webhooks/{webhook}/test", b"{", 400, "invalid_json"),
        (f"/webhooks/{webhook}/resend-failed", None, 202, None),
        ("/breakers/no-engine/no-model@1/reset", None, 404, "not_found"),
        ("/projects", None, 400, "invalid_json"),
    ):
        with subtests.test(path=path, data=data):
            headers = {"Content-Type": "application/json"} if data or path == "/projects" else {}
            got, _, answer = await gateway.call("POST", f"/v1/admin{path}", ADMIN_KEY, data=data, headers=headers)
            assert (got, answer.get("code")) == (status, code)


async def test_a_body_nested_about_as_deep_as_can_be_is_read_or_refused_as_json(gateway: Any) -> None:
    # Two parsers read it, one a little deeper in the stack than the other.
    answers = set()
    for depth in range(880, 1000, 8):
        data = b'{"name": "x", "more": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        status, _, answer = await gateway.call("POST", "/v1/admin/projects", ADMIN_KEY, data=data, headers={"Content-Type": "application/json"})
        answers.add((status, answer.get("code")))
    assert answers == {(400, "invalid_value"), (400, "invalid_json")}


async def test_a_body_is_json_under_other_names_too(gateway: Any) -> None:
    for kind in ("application/vnd.api+json", "application/json; charset=utf-8"):
        got, _, _ = await gateway.call("POST", "/v1/admin/projects", ADMIN_KEY, data=b'{"name": "x"}', headers={"Content-Type": kind})
        assert got == 201


async def test_a_wrong_type_names_the_field_alone(gateway: Any) -> None:
    project = await gateway.admin("POST", "/projects", json={"name": "Research"})
    path = f"/v1/admin/projects/{project['id']}/top-ups"
    inexact: list[Any] = [1.5, None, True, []]
    for amount in inexact:
        status, _, answer = await gateway.call("POST", path, ADMIN_KEY, json={"tokens": amount})
        assert (status, answer["param"]) == (400, "tokens")
        assert answer["errors"] == [{"param": "tokens", "message": "Tokens are a whole number, or a decimal string such as '0.5'"}]
    for tokens in (1.5, None, "1_000", "٣", "1e3"):
        status, _, answer = await gateway.call("POST", path, ADMIN_KEY, json={"tokens": tokens})
        assert (status, answer["param"]) == (400, "tokens")


async def test_an_impossible_expiry_is_refused(gateway: Any) -> None:
    project = await gateway.admin("POST", "/projects", json={"name": "Research"})
    path = f"/v1/admin/projects/{project['id']}/keys"
    for expires_at in ("2020-01-01T00:00:00Z", "2100-01-01T00:00:00", "tomorrow", "9999-12-31T23:59:59-14:00"):
        status, _, answer = await gateway.call("POST", path, ADMIN_KEY, json={"name": "x", "expires_at": expires_at})
        assert (status, answer["param"]) == (400, "expires_at")


async def test_a_projects_key_is_no_admin_key(gateway: Any, tenant: Any) -> None:
    status, _, answer = await gateway.call("GET", "/v1/admin/projects", tenant.key)
    assert (status, answer["code"]) == (401, "invalid_admin_key")


async def test_the_catalog_is_shown_as_it_is_published(gateway: Any) -> None:
    models = {model["name"]: model for model in (await gateway.admin("GET", "/models"))["data"]}
    assert (models["painter"]["engine"], models["painter"]["cards"]) == ("script", {"own": {"rate_card": "film", "tariff": "standard"}})
    cards = {card["id"]: card for card in (await gateway.admin("GET", "/rate-cards"))["data"]}
    assert (cards["film@1"]["in_force"], cards["film@1"]["lines"][0]["label"]) == (True, "Steps")
    (tariff,) = (await gateway.admin("GET", "/tariffs"))["data"]
    assert (tariff["id"], tariff["price_nano_per_token"], tariff["multipliers"]) == ("standard@1", "1000000", {"base": "1"})
    assert (await gateway.admin("GET", "/plans"))["data"] == []


async def spend(gateway: Any, tenant: Any) -> dict[str, Any]:
    """The receipt of a chat that was charged."""
    body = {"model": "teller", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    status, headers, _ = await gateway.call("POST", "/v1/chat/completions", tenant.key, json=body)
    assert status == 200
    _, _, receipt = await gateway.call("GET", f"/v1/receipts/{headers['taximeter-receipt']}", tenant.key)
    assert (receipt["refunds"], receipt["tokens_refunded"]) == ([], "0")
    return dict(receipt)


async def test_a_receipt_is_refunded_in_parts_and_the_tenant_sees_it(gateway: Any, tenant: Any) -> None:
    receipt = await spend(gateway, tenant)
    path = f"/receipts/{receipt['id']}/refunds"
    body = {"tokens": "0.5", "reason": "slow", "operator": "Kim"}
    first = await gateway.admin("POST", path, json=body, headers={"Idempotency-Key": "click 1"})
    again = await gateway.admin("POST", path, json={"tokens": "0.5", "reason": "slow"}, headers={"Idempotency-Key": "click 1"})
    assert (first["replayed"], again["replayed"], first["id"] == again["id"]) == (False, True, True)
    assert (first["tokens"], first["to_prepaid"], first["operator"], first["reference"]) == ("0.5", "0.5", "Kim", "click 1")
    rest = await gateway.admin("POST", path, json={"reason": "all of it", "reference": "case 7"})
    assert (await gateway.wallet(tenant))[0] == "1000"
    _, _, shown = await gateway.call("GET", f"/v1/receipts/{receipt['id']}", tenant.key)
    assert shown["tokens_refunded"] == shown["tokens_charged"] == receipt["tokens_charged"]
    assert [refund["id"] for refund in shown["refunds"]] == [first["id"], rest["id"]]
    assert (await gateway.admin("GET", path))["data"] == shown["refunds"]
    _, _, usage = await gateway.call("GET", "/v1/usage", tenant.key)
    assert usage["data"][0]["tokens_refunded"] == receipt["tokens_charged"]
    _, _, metrics = await gateway.call("GET", "/metrics", "")
    assert b"taximeter_refunds 2.0" in metrics


async def test_a_refund_that_cannot_be_is_a_problem_with_its_own_code(gateway: Any, tenant: Any, subtests: pytest.Subtests) -> None:
    receipt = await spend(gateway, tenant)
    path = f"/v1/admin/receipts/{receipt['id']}/refunds"
    await gateway.admin("POST", path.removeprefix("/v1/admin"), json={"tokens": "1", "reason": "one"})
    nobody = "/v1/admin/receipts/rcp_00000000000000000000000001/refunds"
    wrong: list[tuple[str, str, dict[str, Any] | None, int, str]] = [
        ("POST", path, {"tokens": "999999", "reason": "x", "reference": "other"}, 409, "refund_above_charge"),
        ("POST", path, {"tokens": "2", "reason": "one"}, 409, "id_reused"),
        ("POST", path, {"tokens": "0", "reason": "x"}, 400, "invalid_value"),
        ("POST", path, {"tokens": "1"}, 400, "invalid_value"),
        ("POST", path, {"tokens": "1", "reason": " "}, 400, "invalid_value"),
        ("POST", nobody, {"reason": "x"}, 404, "receipt_not_found"),
        ("GET", nobody, None, 404, "receipt_not_found"),
        ("GET", "/v1/admin/receipts/nonsense/refunds", None, 404, "not_found"),
    ]
    for method, where, body, status, code in wrong:
        with subtests.test(method=method, code=code, body=str(body)):
            got, headers, answer = await gateway.call(method, where, ADMIN_KEY, json=body)
            assert (got, answer["code"], headers["Content-Type"]) == (status, code, "application/problem+json")
    with subtests.test("a misspelt operator"):
        for where, body in (
            (path, {"reason": "x"}),
            (f"/v1/admin/projects/{tenant.id}/top-ups", {"tokens": "1"}),
            ("/v1/admin/projects", {"name": "x"}),
        ):
            got, _, answer = await gateway.call("POST", where, ADMIN_KEY, json={**body, "oprator": "Kim"})
            assert (got, answer["param"]) == (400, "oprator")
    for key in (tenant.key, "nobody's"):
        got, _, answer = await gateway.call("POST", path, key, json={"reason": "x"})
        assert (got, answer["code"]) == (401, "invalid_admin_key")


async def test_a_request_that_runs_or_failed_is_not_refunded(gateway: Any, tenant: Any, engine: Any) -> None:
    engine.gate = asyncio.Event()
    body = {"model": "teller", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
    running = asyncio.create_task(gateway.call("POST", "/v1/chat/completions", tenant.key, json=body))
    async with asyncio.timeout(10):
        while not (found := await gateway.receipts(tenant)):
            await asyncio.sleep(0.01)
    path = f"/v1/admin/receipts/{found[0]['id']}/refunds"
    got, headers, answer = await gateway.call("POST", path, ADMIN_KEY, json={"reason": "x"})
    assert (got, answer["code"], headers["x-should-retry"]) == (409, "receipt_not_settled", "false")
    engine.failure = EngineFailed("broken")
    engine.gate.set()
    assert (await running)[0] == 502
    got, _, answer = await gateway.call("POST", path, ADMIN_KEY, json={"reason": "x"})
    assert (got, answer["code"]) == (409, "nothing_charged")
