"""Whoever tries keys is slowed down; whoever has one is not."""

import asyncio
from typing import Any

import pytest

from taximeter.identity.model import Credential, KeyText
from tests.integration.gateway.conftest import ADMIN_KEY, Gateway, Tenant

pytestmark = pytest.mark.anyio

WRONG = "tx-00000000-" + "0" * 40


def another(number: int) -> str:
    return f"tx-{number:08d}-" + "0" * 40


async def ask(gateway: Gateway, key: str, path: str = "/v1/models") -> tuple[int, Any, str | None]:
    status, headers, body = await gateway.call("GET", path, key)
    return status, body, headers.get("retry-after")


async def test_a_right_key_works_from_where_many_were_wrong(gateway: Gateway, tenant: Tenant) -> None:
    assert [(await ask(gateway, another(number)))[0] for number in range(20)] == [401] * 20
    waits = []
    for number in range(20, 24):
        status, body, wait = await ask(gateway, another(number))
        assert (status, body["error"]["code"]) == (429, "too_many_failed_keys")
        waits.append(int(wait or 0))
    assert waits == [2, 4, 8, 16]
    assert (await ask(gateway, tenant.key))[0] == 200
    assert (await ask(gateway, "not even a key"))[0] == 429
    assert (await gateway.call("GET", "/v1/models", ""))[0] == 401, "no key is no guess"
    fresh = await gateway.tenant("Fresh")
    assert (await ask(gateway, fresh.key))[0] == 200, "nor does a key that was never seen here suffer"
    _, _, scraped = await gateway.call("GET", "/metrics", "")
    assert b'taximeter_refusals_total{code="too_many_failed_keys"} 5.0' in scraped


async def test_wrong_secrets_for_one_prefix_do_not_lock_its_owner_out(gateway: Gateway, tenant: Tenant) -> None:
    prefix = tenant.key[:12]
    statuses = [(await ask(gateway, prefix + "0" * 39 + str(number % 10)))[0] for number in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    await asyncio.sleep(0.11)  # The verdict on the right key is forgotten after so long.
    assert (await ask(gateway, tenant.key))[0] == 200


async def test_the_admin_key_is_counted_in_the_same_way(gateway: Gateway) -> None:
    statuses = [(await ask(gateway, f"wrong {number}", "/v1/admin/projects"))[0] for number in range(22)]
    assert statuses == [401] * 20 + [429] * 2
    assert (await ask(gateway, ADMIN_KEY, "/v1/admin/projects"))[0] == 200


async def test_a_header_that_names_another_address_changes_nothing(gateway: Gateway) -> None:
    statuses = []
    for number in range(22):
        status, _, _ = await gateway.call("GET", "/v1/models", another(number), headers={"X-Forwarded-For": f"203.0.113.{number}"})
        statuses.append(status)
    assert statuses == [401] * 20 + [429] * 2


async def test_guesses_take_two_look_ups_at_a_time_and_a_crowd_of_them_is_sent_away(gateway: Gateway, tenant: Tenant) -> None:
    assert (await ask(gateway, tenant.key))[0] == 200
    for number in range(20):
        await ask(gateway, another(number))
    at_once, most, gate = 0, 0, asyncio.Event()
    store = gateway.office.identity_store
    find = store.find_credential

    async def slowly(text: KeyText) -> Credential | None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await gate.wait()
        at_once -= 1
        return await find(text)

    service = next(cell.cell_contents for cell in _cells(gateway) if hasattr(cell.cell_contents, "identity")).identity
    service._cache._lookup = slowly
    guesses = [asyncio.create_task(ask(gateway, another(number))) for number in range(100, 180)]
    done, _ = await asyncio.wait(guesses, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    assert {task.result()[0] for task in done} == {429}
    known = asyncio.create_task(ask(gateway, tenant.key))
    gate.set()
    assert {status for status, _, _ in await asyncio.gather(*guesses)} == {429}
    assert ((await known)[0], most <= 3) == (200, True)


def _cells(gateway: Gateway) -> list[Any]:
    """What the handlers hold on to: the services among it."""
    endpoint = next(route.endpoint for route in gateway.app.router.routes if getattr(route, "path", "") == "/v1/models")  # type: ignore[attr-defined]
    return list(endpoint.__closure__ or ())
