"""Circuit breakers as callers and operators meet them, over HTTP."""
# ruff: noqa: ANN401 - JSON

import asyncio
import re
from collections import Counter
from typing import Any

import pytest

from taximeter.admission import breakers, shedding
from taximeter.engines import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.kernel.clock import ManualClock
from tests.integration.gateway.conftest import ADMIN_KEY, Gateway, Tenant
from tests.support.asking import ask_chat
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

MODEL = "teller@1"


async def chat(gateway: Gateway, tenant: Tenant, **body: Any) -> Any:
    return await ask_chat(gateway.http, gateway.url, tenant.key, **body)


def the_breaker(gateway: Gateway, model: str = MODEL) -> breakers.Breaker:
    return gateway.office.desk.guard.breakers._of("script", model)


async def open_it(gateway: Gateway, tenant: Tenant, failure: EngineError | None = None) -> None:
    gateway.engine.failure = failure or EngineFailed("it broke")
    for _ in range(5):
        assert (await chat(gateway, tenant)).status in (502, 503, 504)
    gateway.engine.failure = None


def end_the_pause(gateway: Gateway, model: str = MODEL) -> None:
    the_breaker(gateway, model)._until_ms = 0


@pytest.mark.parametrize("failure", [EngineFailed("it broke"), EngineUnavailable("it is away"), EngineTimeout("it hangs")])
async def test_an_open_circuit_is_503_before_anything_is_held(gateway: Gateway, tenant: Tenant, failure: EngineError) -> None:
    await open_it(gateway, tenant, failure)
    ran, receipts = len(gateway.engine.jobs), len(await gateway.receipts(tenant))
    for stream in (False, True):
        told = await chat(gateway, tenant, stream=stream)
        assert (told.status, told.error["code"]) == (503, "engine_circuit_open")
        assert 1 <= int(told.headers["retry-after"]) <= 6
        assert "taximeter-receipt" not in told.headers
    assert (len(gateway.engine.jobs), len(await gateway.receipts(tenant))) == (ran, receipts)
    assert await gateway.wallet(tenant) == ("1000", "0")
    # Another model of the same engine has a breaker of its own.
    status, _, _ = await gateway.call("POST", "/v1/embeddings", tenant.key, json={"model": "mapper", "input": "one"})
    assert status == 200
    end_the_pause(gateway)
    assert (await chat(gateway, tenant)).status == 200
    assert the_breaker(gateway).state == "closed"


async def test_a_stream_that_breaks_after_its_first_chunk_counts(gateway: Gateway, tenant: Tenant) -> None:
    gateway.engine.failure = EngineFailed("it broke")
    for _ in range(5):
        told = await chat(gateway, tenant, stream=True)
        assert (told.status, told.texts, told.error["code"]) == (200, ["w0 "], "engine_failed")
    assert (await chat(gateway, tenant, stream=True)).error["code"] == "engine_circuit_open"


@pytest.mark.parametrize(
    ("path", "body", "model"),
    [
        ("/v1/embeddings", {"model": "mapper", "input": "one"}, "mapper@1"),
        ("/v1/audio/speech", {"model": "speaker", "input": "Hi", "voice": "alloy"}, "speaker@1"),
    ],
)
async def test_other_modalities_have_breakers_too(gateway: Gateway, tenant: Tenant, path: str, body: dict[str, Any], model: str) -> None:
    gateway.engine.failure = EngineFailed("it broke")
    codes = [(await gateway.call("POST", path, tenant.key, json=body))[2]["error"]["code"] for _ in range(6)]
    assert codes == ["engine_failed"] * 5 + ["engine_circuit_open"]
    gateway.engine.failure = None
    end_the_pause(gateway, model)
    assert (await gateway.call("POST", path, tenant.key, json=body))[0] == 200


async def test_what_callers_do_wrong_opens_nothing(gateway: Gateway, tenant: Tenant) -> None:
    gateway.engine.failure = EngineRefused("no such voice")
    for _ in range(8):
        assert (await chat(gateway, tenant)).status == 400
    for _ in range(8):
        assert (await chat(gateway, tenant, max_tokens=-1)).status == 400
    gateway.engine.failure, gateway.engine.gate = None, asyncio.Event()
    for number in range(8):
        leaving = asyncio.create_task(chat(gateway, tenant))
        await until(lambda number=number: len(gateway.engine.jobs) == 9 + number)  # type: ignore[misc]
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
    await gateway.until_no_hold_is_open()
    gateway.engine.gate = None
    empty = await gateway.tenant("Empty", tokens=None)
    for _ in range(8):
        assert (await chat(gateway, empty)).status == 402
    breaker = the_breaker(gateway)
    assert (breaker.state, breaker.failures) == ("closed", 0)
    assert (await chat(gateway, tenant)).status == 200


async def test_of_fifty_calls_at_a_half_open_breaker_one_reaches_the_engine(gateway: Gateway, tenant: Tenant) -> None:
    await open_it(gateway, tenant)
    ran = len(gateway.engine.jobs)
    gateway.engine.gate = asyncio.Event()
    end_the_pause(gateway)
    calls = [asyncio.create_task(chat(gateway, tenant)) for _ in range(50)]
    await until(lambda: sum(call.done() for call in calls) == 49)
    assert the_breaker(gateway).state == "half_open"
    gateway.engine.gate.set()
    told = await asyncio.gather(*calls)
    assert Counter(one.status for one in told) == {200: 1, 503: 49}
    assert len(gateway.engine.jobs) == ran + 1
    assert (await gateway.wallet(tenant))[1] == "0"


async def test_a_project_alone_opens_nothing_that_works_for_others(gateway: Gateway, tenant: Tenant) -> None:
    other = await gateway.tenant("Other")
    assert (await chat(gateway, other)).status == 200
    gateway.engine.failure = EngineFailed("it broke")
    assert {(await chat(gateway, tenant)).status for _ in range(25)} == {502}
    gateway.engine.failure = None
    assert (await chat(gateway, other)).status == 200
    # What fails for both opens it.
    gateway.engine.failure = EngineFailed("it broke")
    for caller in (tenant, other, tenant, other, tenant):
        assert (await chat(gateway, caller)).status == 502
    assert [(await chat(gateway, caller)).status for caller in (tenant, other)] == [503, 503]


async def test_a_breaker_whose_pause_is_over_does_not_degrade_the_whole(gateway: Gateway, tenant: Tenant) -> None:
    await open_it(gateway, tenant)
    end_the_pause(gateway)

    async def states() -> list[str]:
        return [row["state"] for row in (await gateway.admin("GET", "/breakers"))["data"]]

    async def is_half_open() -> bool:
        return await states() == ["half_open"]

    await until(is_half_open)
    _, _, health = await gateway.call("GET", "/v1/health", "")
    [model] = health["engines"][0]["models"]
    assert (health["status"], model["state"], model["retry_after_s"], model["reason"]) == ("ok", "half_open", None, "engine_failed")
    assert b"half open: the next call decides" in (await gateway.call("GET", "/health", ""))[2]


async def test_a_probe_whose_caller_leaves_or_cannot_pay_makes_room_for_the_next_one(gateway: Gateway, tenant: Tenant) -> None:
    empty = await gateway.tenant("Empty", tokens=None)
    await open_it(gateway, tenant)
    end_the_pause(gateway)
    assert (await chat(gateway, empty)).status == 402
    gateway.engine.gate = asyncio.Event()
    ran = len(gateway.engine.jobs)
    leaving = asyncio.create_task(chat(gateway, tenant))
    await until(lambda: len(gateway.engine.jobs) == ran + 1)
    assert (await chat(gateway, tenant)).status == 503
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await gateway.until_no_hold_is_open()
    gateway.engine.gate = None
    assert (await chat(gateway, tenant)).status == 200
    assert the_breaker(gateway).state == "closed"


async def test_a_failed_probe_keeps_it_open_for_longer(gateway: Gateway, tenant: Tenant) -> None:
    await open_it(gateway, tenant)
    end_the_pause(gateway)
    gateway.engine.failure = EngineFailed("it is still broken")
    assert (await chat(gateway, tenant)).status == 502
    told = await chat(gateway, tenant)
    assert (told.status, int(told.headers["retry-after"]) >= 9) == (503, True)


async def test_a_request_that_was_held_when_the_circuit_opened_is_voided(gateway: Gateway, tenant: Tenant) -> None:
    held, go_on = asyncio.Event(), asyncio.Event()
    books = gateway.office.desk.books
    submit = books.submit

    async def slowly(operation: Any) -> Any:
        outcome = await submit(operation)
        if not held.is_set():
            held.set()
            await go_on.wait()
        return outcome

    books.submit = slowly  # type: ignore[method-assign]
    late = asyncio.create_task(chat(gateway, tenant))
    await held.wait()
    await open_it(gateway, tenant)
    ran = len(gateway.engine.jobs)
    go_on.set()
    told = await late
    assert (told.status, told.error["code"], len(gateway.engine.jobs)) == (503, "engine_circuit_open", ran)
    await gateway.until_no_hold_is_open()
    _, _, receipt = await gateway.call("GET", f"/v1/receipts/{told.headers['taximeter-receipt']}", tenant.key)
    assert (receipt["outcome"], receipt["tokens_charged"]) == ("failed", "0")
    assert receipt["reason"].startswith("engine_circuit_open")


async def test_an_idempotency_key_is_free_again_after_an_open_circuit(gateway: Gateway, tenant: Tenant) -> None:
    await open_it(gateway, tenant)
    assert (await chat(gateway, tenant, repeat_key="k")).status == 503
    end_the_pause(gateway)
    assert (await chat(gateway, tenant, repeat_key="k")).status == 200
    assert (await chat(gateway, tenant, repeat_key="k")).headers["idempotency-replayed"] == "true"


async def test_the_health_page_and_the_admin_see_it_and_the_admin_closes_it(gateway: Gateway, tenant: Tenant) -> None:
    await open_it(gateway, tenant)

    async def is_told() -> bool:
        return [row["state"] for row in (await gateway.admin("GET", "/breakers"))["data"]] == ["open"]

    await until(is_told)
    [listed] = (await gateway.admin("GET", "/breakers"))["data"]
    assert (listed["engine"], listed["model"], listed["state"], listed["failures"]) == ("script", MODEL, "open", 5)
    assert (listed["reason"], listed["process_kind"], 0 < listed["retry_after_s"] <= 6) == ("engine_failed", "gateway", True)

    _, headers, health = await gateway.call("GET", "/v1/health", "")
    assert (health["status"], headers["cache-control"]) == ("degraded", "no-store")
    [engine] = health["engines"]
    assert (engine["name"], engine["state"], engine["models"][0]["state"]) == ("script", "up", "open")
    assert engine["models"][0]["processes"] == {"open": 1}
    assert [(each["from"], each["to"], each["reason"]) for each in health["incidents"]] == [("closed", "open", "engine_failed")]
    assert "it broke" not in str(health)
    status, headers, page = await gateway.call("GET", "/health", "")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert MODEL in page.decode()
    assert re.findall(r'(?:src|href)="(?!#|/|data:)[^"]*"', page.decode()) == []
    _, _, scraped = await gateway.call("GET", "/metrics", "")
    assert b'taximeter_breakers{state="open"} 1.0' in scraped
    assert b'taximeter_refusals_total{code="engine_failed"} 5.0' in scraped

    assert (await gateway.call("POST", f"/v1/admin/breakers/script/{MODEL}/reset", tenant.key))[0] == 401
    assert (await gateway.call("POST", "/v1/admin/breakers/script/other@1/reset", ADMIN_KEY, json={}))[0] == 404
    done = await gateway.admin("POST", f"/breakers/script/{MODEL}/reset", json={})
    assert (done["object"], done["operator"]) == ("breaker.reset", "admin")
    assert (await chat(gateway, tenant)).status == 200


async def test_a_breaker_that_is_switched_off_never_opens(gateway: Gateway, tenant: Tenant) -> None:
    gateway.office.desk.guard.breakers._rules = breakers.BreakerRules(failures=0, failure_percent=0)
    gateway.engine.failure = EngineFailed("it broke")
    assert [(await chat(gateway, tenant)).status for _ in range(30)] == [502] * 30


async def test_health_is_told_while_the_database_is_away(gateway: Gateway) -> None:
    gateway.office.pool.terminate()
    _, _, health = await gateway.call("GET", "/v1/health", "")
    assert (health["status"], health["jobs"]) == ("down", None)
    assert (await gateway.call("GET", "/health", ""))[0] == 200


async def test_a_heavy_tenant_is_refused_what_could_not_begin_in_time_and_a_light_one_beside_him_is_not(gateway: Gateway) -> None:
    heavy, light = await gateway.tenant("Heavy", "100000"), await gateway.tenant("Light", "1000")
    shedder, clock = gateway.office.desk.guard.shedder, ManualClock()
    shedder._clock = clock
    shedder._chance = lambda: 0
    gateway.engine.slots = 2
    # Its pace, by a clock of our own: two at a time, twenty seconds each.
    for _ in range(3):
        gateway.engine.gate = asyncio.Event()
        ran = len(gateway.engine.jobs)
        pair = [asyncio.create_task(chat(gateway, heavy)) for _ in range(2)]
        await until(lambda ran=ran: len(gateway.engine.jobs) == ran + 2)  # type: ignore[misc]
        clock.advance(20)
        gateway.engine.gate.set()
        assert [(await each).status for each in pair] == [200, 200]
    gateway.engine.gate = asyncio.Event()
    ran = len(gateway.engine.jobs)
    crowd = [asyncio.create_task(chat(gateway, heavy)) for _ in range(60)]
    line = shedder._lines["script"]
    await until(lambda: line.running + sum(call.done() for call in crowd) == 60)
    refused = [call.result() for call in crowd if call.done()]
    assert refused
    assert {(told.status, told.error["code"]) for told in refused} == {(503, "overloaded")}
    assert all(int(told.headers["retry-after"]) >= 1 for told in refused)
    assert "taximeter-receipt" not in refused[0].headers
    await until(lambda: len(gateway.engine.jobs) == ran + 2)
    beside = asyncio.create_task(chat(gateway, light))
    await until(lambda: line.running == 60 - len(refused) + 1)
    again = await chat(gateway, heavy)
    assert (again.status, again.error["code"]) == (503, "overloaded")
    gateway.engine.gate.set()
    assert (await beside).status == 200
    assert {(await call).status for call in crowd} == {200, 503}
    await gateway.until_no_hold_is_open()
    assert line == shedding.Line(2, _at_us=line._at_us, _busy_us=line._busy_us, _marks=line._marks)
    gateway.engine.slots = None
    assert (await chat(gateway, heavy)).status == 200, "nobody knows its capacity"


async def test_a_hundred_parallel_chats_leave_no_place_taken(gateway: Gateway) -> None:
    tenant = await gateway.tenant("Rich", "100000")
    gateway.engine.slots = 2
    gateway.engine.gate = asyncio.Event()
    calls = [asyncio.create_task(chat(gateway, tenant, stream=number % 2 == 0)) for number in range(100)]
    lines = gateway.office.desk.guard.shedder._lines
    await until(lambda: "script" in lines and lines["script"].running == 100)
    line = lines["script"]
    for call in calls[:20]:
        call.cancel()
    await until(lambda: line.running <= 80)
    gateway.engine.gate.set()
    told = await asyncio.gather(*calls[20:])
    assert Counter(one.status for one in told) == {200: 80}
    await gateway.until_no_hold_is_open()
    assert line.running == 0
