"""A thousand calls at once, over HTTP, through one and two gateway processes: what the wallet affords, and not one more."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.identity import Identity
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import parse_tokens
from taximeter.ledger.replay import replay
from taximeter.metering import Office, VideoRunner, open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, ScriptedEngine, per_character
from tests.support.asking import ask_chat
from tests.support.gateways import gateway_processes
from tests.support.raw_upstream import GOOD, USAGE, RawUpstream, answer
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CALLS = 1000
AFFORDED = 37
MIXED = 400
WITH_KEY = 120
VIDEO = {"model": "painter", "prompt": "a ball"}


@dataclass
class Town:
    """The office of a worker on the gateways' database, and one project in it."""

    office: Office
    project_id: Any
    key: str
    settings: Settings

    async def top_up(self, tokens: Decimal) -> None:
        await self.office.tenancy.top_up(self.project_id, parse_tokens(str(tokens)), "")

    async def wallet(self) -> tuple[Decimal, Decimal]:
        wallet = await self.office.tenancy.wallet(self.project_id)
        return Decimal(wallet["balance"]), Decimal(wallet["held"])


@pytest.fixture
async def town(database_url: str, tmp_path: Path) -> AsyncIterator[Town]:
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "catalog", METERS)
    await owner.close()
    settings = Settings(home=tmp_path, database_url=database_url)
    async with open_office(settings, {"script": ScriptedEngine()}, "worker", SystemClock()) as office:
        project = await office.tenancy.create_project(None, "Crowd")
        issued = await Identity(office.identity_store, office.desk.ids, office.desk.clock, settings).issue_key(project.id, "crowd", None)
        yield Town(office, project.id, issued.text, settings)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


@pytest.fixture
async def upstream() -> AsyncIterator[RawUpstream]:
    async with RawUpstream() as raw:
        yield raw


@pytest.fixture
async def blocker(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect_owner(database_url)
    yield connection
    connection.terminate()


async def most_of_a_chat(http: aiohttp.ClientSession, url: str, key: str) -> Decimal:
    body = {"model": "teller", "request": {"messages": [{"role": "user", "content": "tell me more"}], "max_tokens": 9}}
    async with http.post(f"{url}/v1/quotes", json=body, headers={"Authorization": f"Bearer {key}"}) as quoted:
        return Decimal((await quoted.json())["tokens_max"])


async def assert_everything_ended_once(town: Town) -> None:
    """No hold is open, each was resolved once, and the log gives the balances that the tables have."""
    ends = await town.office.pool.fetch(
        "select h.id, count(t.id) as ends from ledger.transfers h left join ledger.transfers t on t.id = h.id and t.leg = 0 and t.phase > 0"
        " where h.kind = 1 and h.status = 0 and h.leg = 0 group by h.id"
    )
    assert Counter(row["ends"] for row in ends) == {1: len(ends)}
    assert (await town.wallet())[1] == 0
    async with town.office.pool.acquire() as connection:
        report = await replay(connection)
    assert (report.differences, report.open_holds) == ([], 0)


async def figure(http: aiohttp.ClientSession, url: str, name: str) -> float:
    async with http.get(f"{url}/metrics") as scraped:
        text = await scraped.text()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " "))


@pytest.mark.parametrize("gateways", [1, 2])
async def test_of_a_thousand_calls_at_once_exactly_as_many_run_as_the_wallet_affords(
    town: Town, http: aiohttp.ClientSession, upstream: RawUpstream, tmp_path: Path, gateways: int
) -> None:
    gate = asyncio.Event()
    upstream.script = (gate, *GOOD)
    async with gateway_processes(gateways, tmp_path, town.settings.database_url, upstream.url) as urls:
        most = await most_of_a_chat(http, urls[0], town.key)
        paid = most * AFFORDED + most / 2
        await town.top_up(paid)
        calls = [asyncio.create_task(ask_chat(http, urls[number % gateways], town.key, stream=True)) for number in range(CALLS)]
        await until(lambda: sum(call.done() for call in calls) >= CALLS - AFFORDED, 60)
        await until(lambda: upstream.running == AFFORDED)
        assert await town.wallet() == (most / 2, most * AFFORDED)
        gate.set()
        answers = await asyncio.gather(*calls)
        assert Counter((told.status, told.error.get("code")) for told in answers) == {
            (200, None): AFFORDED,
            (402, "insufficient_balance"): CALLS - AFFORDED,
        }
        granted = [told for told in answers if told.status == 200]
        assert {("".join(told.texts), told.extra["tokens_charged"], told.extra["settlement"]) for told in granted} == {("All well.", "9", "settled")}
        assert len({told.headers["taximeter-receipt"] for told in granted}) == len(upstream.requests) == AFFORDED
        assert await town.wallet() == (paid - 9 * AFFORDED, Decimal(0))
        await assert_everything_ended_once(town)


def mixture(http: aiohttp.ClientSession, urls: list[str], key: str) -> Callable[[int], asyncio.Task[tuple[str, int]]]:
    """Makes calls by their number: a video, a stream or a plain chat, by turns; gives back kind and status."""

    async def video(url: str, repeat_key: str | None) -> tuple[str, int]:
        more = {} if repeat_key is None else {"idempotency-key": repeat_key}
        async with http.post(f"{url}/v1/videos", json=VIDEO, headers={"Authorization": f"Bearer {key}", **more}) as answered:
            return "video", answered.status

    async def chat(url: str, repeat_key: str | None, *, stream: bool) -> tuple[str, int]:
        return "chat", (await ask_chat(http, url, key, repeat_key=repeat_key, stream=stream)).status

    def call(number: int) -> asyncio.Task[tuple[str, int]]:
        url, kind = urls[number % 2], number % 3
        # Ten under each of twelve keys, of one kind, through both gateways; the others have none.
        repeat_key = f"order {number // 30}-{kind}" if number < WITH_KEY else None
        return asyncio.create_task(video(url, repeat_key) if kind == 0 else chat(url, repeat_key, stream=kind == 1))

    return call


async def test_streams_plain_chats_videos_and_repeats_share_one_wallet(
    town: Town, http: aiohttp.ClientSession, upstream: RawUpstream, tmp_path: Path
) -> None:
    """Of ten calls under one key one runs at most; whoever is refused could really not have been paid for."""
    gate = asyncio.Event()
    upstream.script = (gate, answer("All well.", usage=USAGE))
    async with gateway_processes(2, tmp_path, town.settings.database_url, upstream.url) as urls:
        most = await most_of_a_chat(http, urls[0], town.key)
        paid = most * 30
        await town.top_up(paid)

        call = mixture(http, urls, town.key)
        # Those with a key ask the database once more: without a start they would all come too late.
        calls = [call(number) for number in range(WITH_KEY)]

        async def some_hold() -> bool:
            return bool(await town.office.pool.fetchval("select exists (select from metering.idempotency)"))

        await until(some_hold, 60)
        calls += [call(number) for number in range(WITH_KEY, MIXED)]

        async def decided() -> bool:
            left = sum(not one.done() for one in calls)
            return left == upstream.running and left == await open_chats(town)

        await until(decided, 60)
        balance, held = await town.wallet()
        assert balance + held == paid
        refused = {kind for one in calls if one.done() for kind, status in [one.result()] if status == 402}
        # Balances only fall until the gate opens: who was refused could not be paid for even with what is left.
        assert balance < min(most if kind == "chat" else Decimal(10) for kind in refused)
        gate.set()
        worker = asyncio.create_task(VideoRunner(town.office.desk, town.office.jobs, town.office.objects).run())
        statuses = [status for _, status in await asyncio.gather(*calls)]
        assert set(statuses) <= {200, 402, 409}

        await until(lambda: is_nothing_held(town), 60)
        worker.cancel()
        await asyncio.gather(worker, return_exceptions=True)
        charged = await town.office.pool.fetchval("select sum(charged_utok)::bigint from metering.receipts")
        assert (await town.wallet())[0] == paid - Decimal(charged) / 1_000_000
        keys = await town.office.pool.fetchval("select count(*) from metering.idempotency")
        ran = await town.office.pool.fetchval("select count(*) from metering.receipts where charged_utok > 0")
        assert 0 < keys <= 12
        assert ran == keys + statuses[WITH_KEY:].count(200)
        await assert_everything_ended_once(town)


async def is_nothing_held(town: Town) -> bool:
    return (await town.wallet())[1] == 0


async def open_chats(town: Town) -> int:
    count: int = await town.office.pool.fetchval(
        "select count(distinct h.id) from ledger.holds h join metering.requests q on q.id = h.id where q.modality = 'chat'"
    )
    return count


async def test_a_full_queue_asks_to_come_back_charges_nothing_and_does_not_grow(
    town: Town, http: aiohttp.ClientSession, upstream: RawUpstream, tmp_path: Path, blocker: asyncpg.Connection
) -> None:
    upstream.script = (answer("All well.", usage=USAGE),)
    async with gateway_processes(1, tmp_path, town.settings.database_url, upstream.url, TAXIMETER_POST_QUEUE_MAX="5") as (url,):
        await town.top_up(Decimal(100_000))
        # Somebody holds up the lane: nothing is posted until he lets go.
        transaction = blocker.transaction()
        await transaction.start()
        for lane in range(town.settings.lanes):
            await blocker.execute("select pg_advisory_xact_lock(7466, $1)", lane)
        calls = [asyncio.create_task(ask_chat(http, url, town.key)) for _ in range(280)]
        await until(lambda: sum(call.done() for call in calls) >= 270, 30)
        # At most five are on their way to the database; of those that come now five wait.
        calls += [asyncio.create_task(ask_chat(http, url, town.key)) for _ in range(20)]
        await until(lambda: sum(call.done() for call in calls) == 290, 30)
        assert await figure(http, url, "taximeter_ledger_waiting") == 5
        refused = [call.result() for call in calls if call.done()]
        assert {(told.status, told.error["code"], told.headers["retry-after"]) for told in refused} == {(503, "ledger_busy", "1")}
        assert upstream.requests == []
        await transaction.rollback()
        answers = await asyncio.gather(*calls)
        served = [told for told in answers if told.status == 200]
        assert Counter(told.status for told in answers) == {200: len(served), 503: 300 - len(served)}
        assert len(upstream.requests) == len(served) > 0
        assert await town.wallet() == (Decimal(100_000) - 9 * len(served), Decimal(0))
        assert await town.office.pool.fetchval("select count(*) from metering.requests") == len(served)
        # It is as good as new.
        assert (await ask_chat(http, url, town.key)).status == 200
    await assert_everything_ended_once(town)
