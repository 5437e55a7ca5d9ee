"""A thousand calls at once through four gateway processes: as many run as the limits allow, and a killed gateway leaks no slot."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from taximeter.admission.limits import LimitOrder, LimitsOffice, LimitStore
from taximeter.db.pool import connect_owner
from taximeter.identity import Identity, KeyLimits
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import parse_tokens
from taximeter.metering import Office, Sweeper, open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, per_character
from tests.support.asking import Told, ask_chat
from tests.support.gateways import gateway_family
from tests.support.raw_upstream import USAGE, RawUpstream, answer
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CALLS = 1000
GATEWAYS = 4
AT_ONCE = 23
PER_MINUTE = 60
DEAD_S = "1.0"


@pytest.fixture
async def office(database_url: str, tmp_path: Path) -> AsyncIterator[Office]:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "catalog", METERS)
    await owner.close()
    settings = Settings(home=tmp_path, database_url=database_url, process_dead_s=float(DEAD_S))
    async with open_office(settings, {}, "worker", SystemClock()) as opened:
        yield opened


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def open_key(office: Office, limits: KeyLimits | None = None) -> str:
    """A key of a new project with a full wallet: two of them lie in different lanes of the ledger."""
    project = await office.tenancy.create_project(None, "Crowd")
    await office.tenancy.top_up(project.id, parse_tokens("1000000"), "")
    identity = Identity(office.identity_store, office.desk.ids, office.desk.clock, office.settings)
    return (await identity.issue_key(project.id, "k", limits=limits or KeyLimits())).text


async def running(office: Office) -> int:
    count: int = await office.pool.fetchval("select count(*) from admission.running")
    return count


def tally(answers: list[Told]) -> Counter[tuple[int, str | None]]:
    return Counter((told.status, told.error.get("code")) for told in answers)


async def test_litellm_16011_40291_bifrost_3547_four_gateways_keep_one_limit_and_a_killed_one_leaks_no_slot(
    office: Office, http: aiohttp.ClientSession, tmp_path: Path, database_url: str
) -> None:
    """litellm #16011: max_parallel_requests is overshot; #40291 and maximhq/bifrost #3547: limits are kept by each replica for itself."""
    one, two = await open_key(office), await open_key(office)
    limited = await open_key(office, KeyLimits(requests_per_minute=PER_MINUTE))
    async with (
        RawUpstream() as upstream,
        gateway_family(GATEWAYS, tmp_path, database_url, upstream.url, TAXIMETER_PROCESS_DEAD_S=DEAD_S) as family,
    ):
        urls = [url for url, _ in family]
        gate = asyncio.Event()
        upstream.script = (answer("All well.", usage=USAGE),)
        began = office.desk.clock.monotonic_s()
        answers = await asyncio.gather(*(ask_chat(http, urls[n % GATEWAYS], limited) for n in range(CALLS)))
        came_back = int((office.desk.clock.monotonic_s() - began) * PER_MINUTE / 60)
        ran = tally(answers)[200, None]
        assert PER_MINUTE <= ran <= PER_MINUTE + came_back + 1
        assert tally(answers) == {(200, None): ran, (429, "rate_limit_exceeded"): CALLS - ran}
        await until(lambda: upstream.running == 0)

        # The model's slots are one number for two projects, whose ledgers' lanes do not wait for each other.
        limits = LimitsOffice(LimitStore(office.pool), office.desk.ids)
        slots = LimitOrder(scope="model", owner=None, model="teller", kind="concurrency", most=AT_ONCE, window_s=None, shadow=False, operator="t")
        await limits.set(slots)
        upstream.script = (gate, answer("All well.", usage=USAGE))
        calls = [asyncio.create_task(ask_chat(http, urls[n % GATEWAYS], (one, two)[n // GATEWAYS % 2])) for n in range(CALLS)]
        await until(lambda: sum(call.done() for call in calls) >= CALLS - AT_ONCE, 60)
        await until(lambda: upstream.running == AT_ONCE)
        assert await running(office) == AT_ONCE
        gate.set()
        assert tally(await asyncio.gather(*calls)) == {(200, None): AT_ONCE, (429, "concurrency_limit_exceeded"): CALLS - AT_ONCE}
        assert await running(office) == 0

        # A gateway is killed with running calls.
        gate.clear()
        await until(lambda: upstream.running == 0)
        calls = [asyncio.create_task(ask_chat(http, urls[0], one)) for _ in range(AT_ONCE)]
        await until(lambda: upstream.running == AT_ONCE)
        assert (await ask_chat(http, urls[1], two)).status == 429
        family[0][1].send_signal(signal.SIGKILL)
        await family[0][1].wait()
        await asyncio.gather(*calls, return_exceptions=True)
        gate.set()
        sweeper = Sweeper(office.desk, office.store, office.jobs, office.objects, office.pool)

        async def is_swept() -> bool:
            await sweeper.sweep()
            return await running(office) == 0

        await until(is_swept)
        assert (await ask_chat(http, urls[1], two)).status == 200
