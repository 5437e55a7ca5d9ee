"""Plans, grants, credit, budgets, limits, the fair queue, surge prices, quotes and idempotency keys, all at once, and a killed gateway."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from taximeter.admission.budgets import NewBudget
from taximeter.admission.limits import LimitOrder, LimitsOffice, LimitStore
from taximeter.admission.plans import By, GrantOrder
from taximeter.db.pool import connect_owner
from taximeter.identity import Identity, KeyLimits, Project
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import parse_tokens
from taximeter.ledger.replay import replay
from taximeter.metering import Office, Sweeper, open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, per_character
from tests.support.asking import MESSAGES, Told, ask_chat
from tests.support.gateways import gateway_family
from tests.support.plans import ahead
from tests.support.raw_upstream import GOOD, HANG_UP, USAGE, RawUpstream, Step, answer, whole
from tests.support.surges import set_price
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CALLS, GATEWAYS, SLOTS = 1000, 4, 12
PLAN = """
---
kind: plan
name: crew
version: 1
effective_from: 2026-01-01
allowance_period: month
allowance_tokens: 3000
tokens_per_minute: 20000
concurrent_max: 60
postpaid: true
credit_line_tokens: 2000
queue_weight: 3
"""
PER_MINUTE = 60
AT_ONCE = 150
TOKENS_PER_MINUTE = parse_tokens("1500")
OPERATOR = By(operator="test")
GOOD_ANSWER = (answer("All well.", usage=USAGE),)
BROKEN = (whole(b'{"error": {"message": "broken"}}', status="500 Internal Server Error"),)
# One statement, so that what it compares is of one moment.
TOO_MUCH = """
select coalesce((select jsonb_agg(to_jsonb(a)) from ledger.accounts a
                 where a.code in (1, 2, 3, 4, 5) and a.flags & 1 = 1 and a.debits_posted + a.debits_pending > a.credits_posted), '[]')::text as broke,
       coalesce((select max(n) from (select count(*) as n from admission.running r join admission.limits l on l.id = r.bucket
                                     where l.scope = 'model' group by r.bucket) q), 0) as at_once,
       coalesce((select max(n) from (select count(*) as n from admission.running r
                                     where not exists (select from admission.limits l where l.id = r.bucket) group by r.bucket) q), 0) as of_plan,
       coalesce((select max(running) from admission.pools), 0) as running
"""
LEFTOVERS = """
select (select count(*) from ledger.holds) as holds, (select count(*) from admission.running) as running,
       (select count(*) from admission.taken) as taken, (select count(*) from admission.places) as places,
       (select coalesce(sum(running + waiting + running_long), 0) from admission.pools) as pools,
       (select coalesce(sum(waiting), 0) from admission.pool_tenants) as tenants,
       (select count(*) from ledger.accounts where debits_pending <> 0 or credits_pending <> 0) as pending
"""
CHARGED = """
select coalesce(sum(r.charged_utok), 0)::bigint as charged, coalesce(sum(r.shortfall_utok), 0)::bigint as shortfall, count(distinct q.id) as requests
from metering.requests q left join metering.receipts r on r.id = q.id
where ($1::uuid is null or q.project_id = $1) and ($2::uuid is null or q.key_id = $2) and ($3::text is null or q.end_user = $3)
"""


@dataclass
class Crowd:
    """Three projects of two organisations on two lanes, and what bounds them."""

    office: Office
    owner: asyncpg.Connection
    limits: LimitsOffice
    projects: list[Project] = field(default_factory=list)
    keys: list[tuple[UUID, str]] = field(default_factory=list)
    budgets: dict[str, UUID] = field(default_factory=dict)

    async def project(self, organisation: UUID | None, tokens: str) -> Project:
        project = await self.office.tenancy.create_project(organisation, "Crowd")
        await self.office.tenancy.top_up(project.id, parse_tokens(tokens), "")
        self.projects.append(project)
        return project

    async def key(self, project: Project, **limits: int) -> None:
        identity = Identity(self.office.identity_store, self.office.desk.ids, self.office.desk.clock, self.office.settings)
        issued = await identity.issue_key(project.id, "crowd", limits=KeyLimits(**limits))
        self.keys.append((issued.key.id, issued.text))

    async def bound(self, name: str, tokens: str, **budget: Any) -> None:  # noqa: ANN401
        wanted = NewBudget(limit_utok=parse_tokens(tokens), operator="test", **budget)
        self.budgets[name] = (await self.office.budgets.create(wanted)).id

    async def limit(self, **limit: Any) -> None:  # noqa: ANN401
        await self.limits.set(LimitOrder(**{"owner": None, "model": None, "window_s": None, "shadow": False, "operator": "test", **limit}))

    async def move_in(self) -> None:
        """The first two are of one organisation, on two lanes as older ones may be; the third has little."""
        first = await self.project(None, "400")
        second = await self.project(first.organisation_id, "4000")
        third = await self.project(None, "300")
        lane = 1 - second.lane
        await self.owner.execute("update ledger.accounts set lane = $2 where owner = $1", second.id, lane)
        await self.owner.execute("update identity.projects set lane = $2 where id = $1", second.id, lane)
        self.projects[1] = replace(second, lane=lane)
        for number in range(6):
            order = GrantOrder(amount_utok=parse_tokens("60"), priority=number, expires_at=ahead(hours=1 + number % 3))
            await self.office.plans.give(first.id, order, OPERATOR)
        for project in (first, third):
            await self.office.plans.subscribe(project.id, "crew", OPERATOR)
        await self.key(first)
        await self.key(first, requests_per_minute=PER_MINUTE)
        await self.key(second)
        await self.key(third, tokens_per_minute_utok=parse_tokens("3000"))
        organisation = {"scope": "organisation", "organisation_id": first.organisation_id}
        await self.bound("month", "4000", window="month", **organisation)
        await self.bound("rolling", "3800", window="rolling", window_s=60, **organisation)
        await self.bound("day", "3000", window="day", scope="project", project_id=first.id)
        await self.bound("soft", "10", window="day", hard=False, scope="project", project_id=first.id)
        await self.bound("key", "1200", window="month", scope="key", key_id=self.keys[0][0])
        await self.bound("users", "400", window="day", scope="end_user", project_id=first.id)
        await self.limit(scope="model", model="teller", kind="concurrency", most=AT_ONCE)
        await self.limit(scope="project", owner=second.id, kind="tokens", most=TOKENS_PER_MINUTE, window_s=60)
        await self.limit(scope="project", owner=third.id, kind="requests", most=1, window_s=60, shadow=True)

    async def charged(self, project: UUID | None = None, key: UUID | None = None, user: str | None = None) -> asyncpg.Record:
        return await self.owner.fetchrow(CHARGED, project, key, user)


@pytest.fixture
async def crowd(database_url: str, tmp_path: Path) -> AsyncIterator[Crowd]:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()) + PLAN, encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "catalog", METERS)
    settings = Settings(home=tmp_path, database_url=database_url, process_dead_s=1.0, surge=True)
    async with open_office(settings, {}, "worker", SystemClock()) as office:
        moved = Crowd(office, owner, LimitsOffice(LimitStore(office.pool), office.desk.ids))
        await moved.move_in()
        yield moved
    await owner.close()


def script(asked: dict[str, Any]) -> Sequence[Step]:
    """What the upstream does is what it is told."""
    told = asked["messages"][-1]["content"]
    if told == "fail":
        return BROKEN
    if told == "hang up":
        return (HANG_UP,)
    return GOOD if asked.get("stream") else GOOD_ANSWER


@dataclass
class Rush:
    """A thousand calls, and what each was told; None: its caller left, or its gateway died."""

    crowd: Crowd
    http: aiohttp.ClientSession
    urls: list[str]
    quotes: list[str] = field(default_factory=list)
    told: list[tuple[str | None, Told | None]] = field(default_factory=list)

    async def take_quotes(self, number: int) -> None:
        """Of the first key, before prices rise."""
        wish = {"model": "teller", "request": {"messages": MESSAGES, "max_tokens": 9}}
        headers = {"Authorization": f"Bearer {self.crowd.keys[0][1]}"}
        for _ in range(number):
            async with self.http.post(f"{self.urls[0]}/v1/quotes", json=wish, headers=headers) as quoted:
                self.quotes.append((await quoted.json())["id"])

    async def call(self, number: int) -> None:
        """One of them: each gateway gets some of every kind, and what comes twice comes through two gateways."""
        name: str | None = None
        how: dict[str, Any] = {}
        key = self.crowd.keys[number // GATEWAYS % len(self.crowd.keys)][1]
        if number < 2 * len(self.quotes):
            key, how = self.crowd.keys[0][1], {"quote": self.quotes[number // 2]}
        elif number % 10 in (2, 3):
            name, key = f"twice {number // 10}", self.crowd.keys[number // 10 % len(self.crowd.keys)][1]
            how = {"repeat_key": name}
        elif number % 10 == 5:
            how = {"messages": [{"role": "user", "content": "hang up" if number % 20 == 5 else "fail"}]}
        else:
            how = {"stream": number % 2 == 1, "user": f"user {number % 3}"}
        try:
            async with asyncio.timeout(0.02 * (number % 50) if number % 10 == 7 else None):
                self.told.append((name, await ask_chat(self.http, self.urls[number % GATEWAYS], key, **how)))
        except (TimeoutError, aiohttp.ClientError):
            self.told.append((name, None))


async def watch(pool: asyncpg.Pool, seen: dict[str, int]) -> None:
    while True:
        row = await pool.fetchrow(TOO_MUCH)
        assert row["broke"] == "[]"
        for name in ("at_once", "of_plan", "running"):
            seen[name] = max(seen.get(name, 0), row[name])
        await asyncio.sleep(0.02)


async def sweep_on(sweeper: Sweeper) -> None:
    """As a worker does."""
    while True:
        await sweeper.sweep()
        await asyncio.sleep(0.5)


async def test_with_everything_on_nothing_is_overspent_and_nothing_is_left_behind(crowd: Crowd, tmp_path: Path) -> None:
    office, clock = crowd.office, crowd.office.desk.clock
    connector = aiohttp.TCPConnector(limit=0)
    settings = {f"TAXIMETER_{name}": "0" for name in ("BREAKER_FAILURES", "BREAKER_FAILURE_PERCENT")}
    settings |= {"TAXIMETER_PROCESS_DEAD_S": "1.0", "TAXIMETER_SURGE": "1"}
    seen: dict[str, int] = {}
    sweeper = Sweeper(office.desk, office.store, office.jobs, office.objects, office.pool)
    async with (
        RawUpstream() as upstream,
        gateway_family(GATEWAYS, tmp_path, office.settings.database_url, upstream.url, slots=SLOTS, **settings) as family,
        aiohttp.ClientSession(connector=connector) as http,
    ):
        upstream.script = script
        rush = Rush(crowd, http, [url for url, _ in family])
        await rush.take_quotes(20)
        await set_price(office, "script", 150, good_s=120)
        await asyncio.sleep(office.settings.catalog_refresh_s + 0.2)
        watcher = asyncio.create_task(watch(office.pool, seen))
        began_s = clock.monotonic_s()
        calls = [asyncio.create_task(rush.call(number)) for number in range(CALLS)]
        await until(lambda: len(upstream.requests) >= 60 or all(call.done() for call in calls), 60)
        family[-1][1].send_signal(signal.SIGKILL)
        # The killed one may have had every slot: whoever waits is helped by the worker alone.
        sweeping = asyncio.create_task(sweep_on(sweeper))
        await asyncio.gather(*calls)
        sweeping.cancel()
        minutes = (clock.monotonic_s() - began_s) / 60
        watcher.cancel()
        assert isinstance((await asyncio.gather(watcher, return_exceptions=True))[0], asyncio.CancelledError)

    async def is_swept() -> bool:
        await sweeper.sweep()
        return not any((await crowd.owner.fetchrow(LEFTOVERS)).values())

    await until(is_swept, 20)
    report = await replay(crowd.owner)
    assert (report.differences, report.open_holds) == ([], 0)

    # Everything happened that was to happen.
    codes = Counter("gone" if told is None else told.error.get("code") for _, told in rush.told)
    assert len(rush.told) == CALLS
    # Who of a thousand is served or refused, and for which of the reasons, is luck; that somebody is, and that one gateway dies, is not.
    assert {None, "gone"} < set(codes), codes
    assert "internal_error" not in codes, codes

    # No limit was passed: what a minute gives back evenly is all that came on top.
    assert seen["at_once"] <= AT_ONCE
    assert seen["of_plan"] <= 60
    assert seen["running"] <= SLOTS
    assert (await crowd.charged(key=crowd.keys[1][0]))["requests"] <= PER_MINUTE * (1 + minutes) + 1
    assert (await crowd.charged(project=crowd.projects[1].id))["charged"] <= TOKENS_PER_MINUTE * (1 + minutes)
    await check_budgets(crowd)
    await check_once(crowd, rush)


async def check_budgets(crowd: Crowd) -> None:
    """What budgets counted is what was charged, and none counted more than it may."""
    first, second, _ = crowd.projects
    spent = {
        "month": [await crowd.charged(project=first.id), await crowd.charged(project=second.id)],
        "day": [await crowd.charged(project=first.id)],
        "soft": [await crowd.charged(project=first.id)],
        "key": [await crowd.charged(key=crowd.keys[0][0])],
    }
    for name, rows in spent.items():
        state = await crowd.office.budgets.budget(crowd.budgets[name])
        assert (state.held_utok, state.used_utok) == (0, sum(row["charged"] for row in rows)), name
        assert name == "soft" or state.used_utok <= state.limit_utok
    # Who of them is served is luck: limits and the other budgets refuse whole crowds.
    by_user = [(await crowd.charged(project=first.id, user=f"user {user}"))["charged"] for user in range(3)]
    assert max(by_user) <= parse_tokens("400")
    # Sums: what wallets paid is what the operator earned is what receipts say.
    everything = await crowd.charged()
    sums = await crowd.owner.fetchrow(
        "select sum(credits_posted - debits_posted) filter (where code = 11) as earned,"
        " sum(debits_posted) filter (where code in (1, 2, 3, 5)) as paid from ledger.accounts"
    )
    assert (sums["earned"], everything["shortfall"]) == (everything["charged"], 0)
    assert sums["paid"] >= everything["charged"]


async def check_once(crowd: Crowd, rush: Rush) -> None:
    """A quote is charged once at most, at its own price; a key too, and its answers are one."""
    uses = await crowd.owner.fetch(
        "select q.fare ->> 'quote' as quote, count(*) filter (where r.charged_utok > 0) as n, min(q.multiplier) as multiplier"
        " from metering.requests q join metering.receipts r on r.id = q.id where q.fare ? 'quote' group by 1"
    )
    assert {(row["n"] <= 1, row["multiplier"]) for row in uses} <= {(True, "1")}
    answered: dict[str, set[str]] = {}
    for name, told in rush.told:
        if told is not None and told.status == 200 and name is not None:
            answered.setdefault(name, set()).add(told.headers["taximeter-receipt"])
    assert {len(receipts) for receipts in answered.values()} <= {1}
