"""A thousand holds at once on one budget: as many as it affords, on one lane and on two, in one process and in four."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest

from taximeter.admission.budgets import NewBudget
from taximeter.db.pool import connect_app, connect_owner
from taximeter.identity import Identity, Project
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import parse_tokens
from taximeter.ledger import Books, Status
from taximeter.ledger.replay import replay
from taximeter.metering import Office, open_office, store
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, per_character
from tests.support.asking import ask_chat
from tests.support.budget_world import BudgetWorld
from tests.support.gateways import gateway_processes
from tests.support.raw_upstream import GOOD, RawUpstream
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CALLS = 1000
AFFORDED = 41
GATEWAYS = 4


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect_owner(database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("lanes", [1, 2])
async def test_of_a_thousand_parallel_holds_as_many_are_granted_as_the_budget_affords(
    owner: asyncpg.Connection, database_url: str, lanes: int
) -> None:
    """Two processes; and with two lanes, budgets of one organisation whose projects are on different ones.  The first hold rolls them."""
    world = await BudgetWorld.begin(owner, [("month", 7 * AFFORDED + 3, True), ("rolling", 10**6, True), ("rolling", 1, False)])
    await world.end_month()
    processes = [Books(lambda: connect_app(database_url), store.post, SystemClock()) for _ in range(2)]
    # The budgets in another order in every other one: nobody may wait for anybody in a circle.
    holds = [world.hold(number % lanes, 7, [0, 1, 2] if number % 4 < 2 else [2, 1, 0]) for number in range(CALLS)]
    outcomes = await asyncio.gather(*(processes[number // 2 % 2].submit(hold) for number, hold in enumerate(holds)))
    retries = sum(lane.counters.retries for books in processes for lane in books.lanes)
    await asyncio.gather(*(books.close() for books in processes))
    assert Counter(outcome.status for outcome in outcomes) == {Status.APPLIED: AFFORDED, Status.REFUSED: CALLS - AFFORDED}
    assert retries == 0
    held = await owner.fetch("select debits_pending, credits_posted - debits_posted as granted from ledger.accounts where code = 4 order by id")
    assert [tuple(row) for row in held] == [(7 * AFFORDED, 7 * AFFORDED + 3), (7 * AFFORDED, 10**6), (7 * AFFORDED, 1)]
    report = await replay(owner)
    assert [kind for kind, each in report.first.items() if each.invariant not in ("I8", "I9")] == []


async def test_a_hold_that_begins_a_period_locks_its_limits_before_its_budgets(owner: asyncpg.Connection, database_url: str) -> None:
    """As one that begins none does: on two lanes, the two would wait for each other otherwise."""
    world = await BudgetWorld.begin(owner, [("month", 100, True)])
    hold, bucket = world.hold(0, 7, [0]), uuid4()
    hold = replace(hold, take=((str(bucket), "requests", 5, 60, False),))
    await owner.execute("insert into admission.buckets (id) values ($1)", bucket)
    books = Books(lambda: connect_app(database_url), store.post, SystemClock())

    async def waits() -> bool:
        return bool(await owner.fetchval("select exists (select from pg_locks where not granted)"))

    async with owner.transaction():
        await owner.execute("select from admission.buckets where id = $1 for update", bucket)
        posted = asyncio.create_task(books.submit(hold))
        await until(waits)
        await owner.execute("select from ledger.accounts where code = 4 for update nowait")
    assert (await posted).status is Status.APPLIED
    await books.close()


@dataclass
class Town:
    """Four gateways' database, seen by an office beside them."""

    office: Office
    settings: Settings

    async def project(self, organisation: UUID | None = None) -> Project:
        project = await self.office.tenancy.create_project(organisation, "Crowd")
        await self.office.tenancy.top_up(project.id, parse_tokens("1000000"), "")
        return project

    async def key(self, project: Project) -> str:
        identity = Identity(self.office.identity_store, self.office.desk.ids, self.office.desk.clock, self.settings)
        return (await identity.issue_key(project.id, "crowd")).text


@pytest.fixture
async def town(database_url: str, tmp_path: Path, owner: asyncpg.Connection) -> AsyncIterator[Town]:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    await apply_dir(owner, tmp_path / "catalog", METERS)
    settings = Settings(home=tmp_path, database_url=database_url)
    async with open_office(settings, {}, "worker", SystemClock()) as office:
        yield Town(office, settings)


async def test_four_gateways_grant_exactly_what_an_organisations_budget_affords(town: Town, tmp_path: Path, owner: asyncpg.Connection) -> None:
    """Two projects of one organisation, put on two lanes by hand as older ones may be; a thousand calls over HTTP."""
    first = await town.project()
    second = await town.project(first.organisation_id)
    assert first.lane == second.lane
    await owner.execute("update ledger.accounts set lane = 1 - lane where owner = $1", second.id)
    await owner.execute("update identity.projects set lane = 1 - lane where id = $1", second.id)
    keys = [await town.key(project) for project in (first, second)]
    gate = asyncio.Event()
    async with RawUpstream() as upstream, aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        upstream.script = (gate, *GOOD)
        async with gateway_processes(GATEWAYS, tmp_path, town.settings.database_url, upstream.url) as urls:
            most = await most_of_a_chat(http, urls[0], keys[0])
            wanted = NewBudget(
                scope="organisation", organisation_id=first.organisation_id, limit_utok=most * AFFORDED + most // 2, window="day", operator="test"
            )
            budget = await town.office.budgets.create(wanted)
            await asyncio.sleep(town.settings.key_cache_s)
            calls = [
                asyncio.create_task(ask_chat(http, urls[number % GATEWAYS], keys[number // GATEWAYS % 2], stream=True)) for number in range(CALLS)
            ]
            await until(lambda: sum(call.done() for call in calls) >= CALLS - AFFORDED, 60)
            await until(lambda: upstream.running == AFFORDED)
            state = await town.office.budgets.budget(budget.id)
            assert (state.held_utok, state.left_utok, state.used_utok) == (most * AFFORDED, most // 2, 0)
            gate.set()
            answers = await asyncio.gather(*calls)
            codes = Counter((told.status, told.error.get("code")) for told in answers)
            assert codes == {(200, None): AFFORDED, (402, "budget_exceeded"): CALLS - AFFORDED}
            charged = sum(Decimal(told.extra["tokens_charged"]) for told in answers if told.status == 200)
            state = await town.office.budgets.budget(budget.id)
            assert (state.held_utok, state.used_utok) == (0, charged * 1_000_000)
    report = await replay(owner)
    assert (report.differences, report.open_holds) == ([], 0)


async def most_of_a_chat(http: aiohttp.ClientSession, url: str, key: str) -> int:
    body = {"model": "teller", "request": {"messages": [{"role": "user", "content": "tell me more"}], "max_tokens": 9}}
    async with http.post(f"{url}/v1/quotes", json=body, headers={"Authorization": f"Bearer {key}"}) as quoted:
        return parse_tokens((await quoted.json())["tokens_max"])
