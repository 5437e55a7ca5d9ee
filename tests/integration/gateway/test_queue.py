"""The fair queue over HTTP, through several gateway processes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from statistics import mean

import aiohttp
import pytest

from taximeter.db.pool import connect_owner
from taximeter.identity import Identity
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.ledger.replay import replay
from taximeter.metering import Office, open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, Gateway, ScriptedEngine, Tenant, per_character
from tests.support.asking import Told, ask_chat
from tests.support.gateways import gateway_processes
from tests.support.raw_upstream import GOOD, RawUpstream
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

GATEWAYS, SLOTS = 4, 16
HEAVY, LIGHT = 960, 40
CHAT = {"model": "teller", "messages": [{"role": "user", "content": "tell me more"}], "max_tokens": 9}


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "catalog", METERS)
    await owner.close()
    async with open_office(Settings(home=tmp_path, database_url=database_url), {}, "worker", SystemClock()) as opened:
        yield opened


async def key_of(office: Office, name: str) -> str:
    project = await office.tenancy.create_project(None, name)
    await office.tenancy.top_up(project.id, 10**12, "")
    return (await Identity(office.identity_store, office.desk.ids, office.desk.clock, office.settings).issue_key(project.id, name, None)).text


async def test_a_thousand_calls_through_four_gateways_never_take_a_slot_twice_and_lose_nobody(office: Office, tmp_path: Path) -> None:
    heavy, light = await key_of(office, "heavy"), await key_of(office, "light")
    connector = aiohttp.TCPConnector(limit=0)
    async with (
        RawUpstream() as upstream,
        gateway_processes(GATEWAYS, tmp_path, office.settings.database_url, upstream.url, slots=SLOTS) as urls,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        gate = asyncio.Event()
        upstream.script = (gate, *GOOD)

        def ask(number: int, key: str) -> asyncio.Task[Told]:
            return asyncio.create_task(ask_chat(http, urls[number % GATEWAYS], key, stream=True))

        flood = [ask(number, heavy) for number in range(HEAVY)]

        async def waits(number: int) -> bool:
            return bool(await office.pool.fetchval("select count(*) filter (where granted_at is null) >= $1 from admission.places", number))

        await until(lambda: waits(HEAVY - SLOTS), 60)
        late = [ask(number, light) for number in range(LIGHT)]
        await until(lambda: waits(HEAVY + LIGHT - SLOTS), 60)
        await until(lambda: upstream.running == SLOTS)
        gate.set()
        many, few = await asyncio.gather(*flood), await asyncio.gather(*late)
    assert {told.status for told in [*many, *few]} == {200}
    assert upstream.most == SLOTS
    assert len(upstream.requests) == len({told.headers["taximeter-receipt"] for told in [*many, *few]}) == HEAVY + LIGHT
    # They came last, and by their turns they are through when the others have had as many.
    assert mean(float(told.headers["taximeter-queue-wait-ms"]) for told in few) < mean(
        float(told.headers["taximeter-queue-wait-ms"]) for told in many[SLOTS:]
    )
    assert max(int(told.headers["taximeter-queue-position"]) for told in few) <= 2 * LIGHT + SLOTS + 2
    pool = await office.pool.fetchrow("select running, waiting, (select count(*) from admission.places) as places from admission.pools")
    assert tuple(pool) == (0, 0, 0)
    async with office.pool.acquire() as connection:
        report = await replay(connection)
    assert (report.differences, report.open_holds) == ([], 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_tells_its_place_and_its_wait(gateway: Gateway, engine: ScriptedEngine, tenant: Tenant, stream: bool) -> None:  # noqa: FBT001
    engine.slots, engine.gate = 1, asyncio.Event()
    first, second = (asyncio.create_task(gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "stream": stream})) for _ in range(2))
    pool = gateway.office.pool
    await until(lambda: pool.fetchval("select exists (select from admission.pools where running = 1 and waiting = 1)"))
    assert len(engine.jobs) == 1
    engine.gate.set()
    told = [await first, await second]
    assert [status for status, _, _ in told] == [200, 200]
    assert sorted(headers["taximeter-queue-position"] for _, headers, _ in told) == ["0", "1"]
    assert sum(int(headers["taximeter-queue-wait-ms"]) > 0 for _, headers, _ in told) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_who_waited_too_long_is_told_by_a_plain_error_and_pays_nothing(
    gateway: Gateway,
    engine: ScriptedEngine,
    tenant: Tenant,
    stream: bool,  # noqa: FBT001
) -> None:
    engine.slots, engine.gate = 1, asyncio.Event()
    assert gateway.office.desk.room is not None
    gateway.office.desk.room.wait_max_s = 0.05
    first = asyncio.create_task(gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))
    await until(lambda: len(engine.jobs) == 1)
    status, headers, body = await gateway.call("POST", "/v1/chat/completions", tenant.key, json={**CHAT, "stream": stream})
    assert (status, body["error"]["code"]) == (503, "queue_timeout")
    assert int(headers["retry-after"]) >= 5
    assert headers["taximeter-queue-position"] == "1"
    engine.gate.set()
    assert (await first)[0] == 200
    assert (await gateway.receipts(tenant))[0]["tokens_charged"] == "0"


async def test_a_client_that_hangs_up_while_it_waits_frees_its_place(gateway: Gateway, engine: ScriptedEngine, tenant: Tenant) -> None:
    engine.slots, engine.gate = 1, asyncio.Event()
    first = asyncio.create_task(gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))
    await until(lambda: len(engine.jobs) == 1)
    second = asyncio.create_task(gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT))
    pool = gateway.office.pool
    await until(lambda: pool.fetchval("select exists (select from admission.pools where waiting = 1)"))
    second.cancel()
    await until(lambda: pool.fetchval("select exists (select from admission.pools where running = 1 and waiting = 0)"))
    engine.gate.set()
    assert (await first)[0] == 200


async def test_a_video_that_waits_says_where_it_stands(gateway: Gateway, engine: ScriptedEngine, tenant: Tenant) -> None:
    engine.gate = asyncio.Event()
    made = [(await gateway.call("POST", "/v1/videos", tenant.key, json={"model": "painter", "prompt": "a ball"}))[2] for _ in range(3)]
    await until(lambda: len(engine.jobs) == 1)
    looks = [(await gateway.call("GET", f"/v1/videos/{video['id']}", tenant.key))[2]["taximeter"] for video in made]
    assert [look.get("queue") for look in looks] == [
        None,
        {"position": 1, "expected_start_at": None},
        {"position": 2, "expected_start_at": None},
    ]
    engine.gate.set()


@pytest.mark.parametrize("text", ["tomorrow", "2027-01-31T18:00:00", "2027-13-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_a_deadline_is_a_time_with_its_zone(gateway: Gateway, tenant: Tenant, text: str) -> None:
    status, _, body = await gateway.call("POST", "/v1/chat/completions", tenant.key, json=CHAT, headers={"taximeter-deadline": text})
    assert (status, body["error"]["param"]) == (400, "taximeter-deadline")
