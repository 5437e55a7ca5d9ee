"""The witnesses of what was charged agree on a busy system, and each one that is changed is named."""

# ruff: noqa: S608 - the values in the statements are ids that the test made itself

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from taximeter.db.pool import connect_app, connect_owner
from taximeter.identity import Caller
from taximeter.kernel.clock import ManualClock
from taximeter.kernel.ids import decode_id
from taximeter.ledger import Kind, Operation
from taximeter.metering.reconciliation import Check, Span, Watch, reconcile
from taximeter.metering.reconciliation.books import compare_everything
from taximeter.metering.reconciliation.counters import compare_counters, difference
from taximeter.metering.reconciliation.files import compare_files
from taximeter.metering.rollups import Rollups
from tests.support.tenants import Town, open_town
from tests.support.whole_rides import CHAT, make_video, ride_chat

pytestmark = pytest.mark.anyio

NAMES = ["ledger_receipts", "holds_requests", "receipts_rollups", "revenue_rollups", "counters_receipts", "objects_jobs"]
# Heartbeats come quickly, and a process is not taken for dead when this machine is busy.
BEAT_OF_S, DEAD_S = 1.0, 30.0


@dataclass
class Shop:
    """A town that has done some business, and the owner's connection to its database."""

    town: Town
    owner: asyncpg.Connection
    caller: Caller
    settled: UUID
    late: UUID
    video: UUID

    async def reconcile(self) -> dict[str, Check]:
        """Every check, by name."""
        checks = await reconcile(self.owner, self.town.office.objects, self.town.office.desk.clock, Span(), DEAD_S)
        assert [check.name for check in checks] == NAMES
        return {check.name: check for check in checks}

    async def after(self, *statements: str, counters: bool = False) -> dict[str, Check]:
        """The checks of books that differ when these statements have been run, or that of counters; they are undone then."""
        transaction = self.owner.transaction()
        await transaction.start()
        try:
            await self.owner.execute("set local session_replication_role = replica")
            for statement in statements:
                await self.owner.execute(statement)
            checks = [await compare_counters(self.owner, DEAD_S)] if counters else await compare_everything(self.owner, Span())
            return {check.name: check for check in checks if not check.agrees}
        finally:
            await transaction.rollback()


async def chat_late(town: Town, caller: Caller) -> UUID:
    """Its hold expires while the engine runs."""
    town.engines["chat"].script = CHAT
    ride = await town.metering.open(town.order(caller))
    fact = json.dumps(
        {"receipt": {"outcome": "expired", "work": {}, "measured": True, "consumed_utok": 0, "lines": [], "detail": {}, "engine_ms": 0}}
    )
    await town.office.desk.books.submit(Operation(id=ride.id, kind=Kind.EXPIRE, lane=caller.lane, fact=fact))
    async for _ in ride.events():
        pass
    return ride.id


@pytest.fixture
async def shop(database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_town(database_url, tmp_path, process_dead_s=BEAT_OF_S) as town:
        caller = await town.caller("1000")
        owner = await connect_owner(database_url)
        settled = await ride_chat(town, caller)
        await ride_chat(town, caller, fails=True)
        await Rollups(town.office.store, 1.0).catch_up()
        late = await chat_late(town, caller)
        video = await make_video(town, caller)
        yield Shop(town, owner, caller, settled, late, video)
        await owner.close()


async def test_everything_agrees_and_is_counted(shop: Shop) -> None:
    checks = await shop.reconcile()
    assert {name: (check.differences, check.unexplained_utok) for name, check in checks.items()} == dict.fromkeys(NAMES, (0, 0))
    charged = await shop.owner.fetchval("select sum(charged_utok) from metering.receipts")
    for name in ("ledger_receipts", "receipts_rollups", "revenue_rollups", "counters_receipts"):
        assert (checks[name].left, checks[name].right) == (charged, charged)
    assert (checks["ledger_receipts"].compared, checks["holds_requests"].compared, checks["objects_jobs"].compared) == (5, 4, 1)
    assert checks["counters_receipts"].notes == ()


async def test_days_are_compared_that_were_asked_for(shop: Shop) -> None:
    day = await shop.owner.fetchval("select (clock_timestamp() at time zone 'UTC')::date")
    objects, clock = shop.town.office.objects, shop.town.office.desk.clock
    past = {check.name: check for check in await reconcile(shop.owner, objects, clock, Span(end=day), DEAD_S)}
    assert (past["ledger_receipts"].compared, past["holds_requests"].compared, past["receipts_rollups"].compared) == (0, 0, 0)
    since = {check.name: check for check in await reconcile(shop.owner, objects, clock, Span(start=day), DEAD_S)}
    assert since["ledger_receipts"].compared == 5


async def test_a_receipt_that_was_changed_deleted_or_invented_is_named(shop: Shop) -> None:
    differing = await shop.after(f"update metering.receipts set charged_utok = charged_utok + 5 where id = '{shop.settled}'")
    assert set(differing) == {"ledger_receipts", "receipts_rollups"}
    books = differing["ledger_receipts"]
    assert (books.differences, books.unexplained_utok, books.first) == (1, 5, (f"{shop.settled}/1",))
    differing = await shop.after(f"delete from metering.receipts where id = '{shop.late}' and phase = 2")
    assert differing["ledger_receipts"].first == (f"{shop.late}/2",)
    assert differing["ledger_receipts"].unexplained_utok > 0
    columns = "project_id, key_id, model, modality, outcome, work, measured, consumed_utok, charged_utok, lines, detail, engine_ms"
    forged = f"insert into metering.receipts (id, phase, {columns}) select id, 2, {columns} from metering.receipts where id = '{shop.settled}'"
    differing = await shop.after(forged)
    assert set(differing) == {"ledger_receipts", "receipts_rollups"}
    assert differing["ledger_receipts"].first == (f"{shop.settled}/2",)
    stranger = await shop.town.caller()
    differing = await shop.after(f"update metering.receipts set project_id = '{stranger.project_id}' where id = '{shop.settled}'")
    assert differing["ledger_receipts"].first == (f"{shop.settled}/1",)


async def test_a_request_that_is_not_its_hold_is_named(shop: Shop) -> None:
    differing = await shop.after(f"update metering.requests set held_utok = held_utok - 2 where id = '{shop.late}'")
    assert set(differing) == {"holds_requests"}
    assert (differing["holds_requests"].unexplained_utok, differing["holds_requests"].first) == (2, (f"{shop.late}/0",))
    differing = await shop.after(f"delete from ledger.transfers where id = '{shop.late}' and phase = 0")
    assert differing["holds_requests"].first == (f"{shop.late}/0",)


async def test_a_daily_sum_and_a_balance_that_were_changed_are_named(shop: Shop) -> None:
    differing = await shop.after("update metering.usage_daily set charged_utok = charged_utok + 3")
    assert set(differing) == {"receipts_rollups", "revenue_rollups"}
    assert f"project {shop.caller.project_id}" in differing["receipts_rollups"].first[0]
    assert (differing["receipts_rollups"].unexplained_utok, differing["revenue_rollups"].unexplained_utok) == (3, 3)
    differing = await shop.after("update metering.usage_daily set requests = requests + 1")
    assert set(differing) == {"receipts_rollups"}
    differing = await shop.after("delete from metering.usage_daily")
    assert set(differing) == {"receipts_rollups", "revenue_rollups"}
    differing = await shop.after(f"update ledger.accounts set credits_posted = credits_posted + 4 where id = {1100 + shop.caller.lane}")
    assert {name: check.first for name, check in differing.items()} == {"revenue_rollups": ("revenue",)}
    differing = await shop.after(f"update ledger.accounts set debits_posted = debits_posted + 4 where id = {1300 + shop.caller.lane}")
    assert {name: check.first for name, check in differing.items()} == {"revenue_rollups": ("shortfall",)}
    differing = await shop.after(f"update ledger.accounts set debits_posted = debits_posted + 4 where id = {1100 + shop.caller.lane}")
    assert {name: check.first for name, check in differing.items()} == {"revenue_rollups": ("refunds",)}


async def test_a_process_that_counted_otherwise_than_it_wrote_is_named(shop: Shop) -> None:
    other = shop.town.office.desk.ids.new()
    report = (
        "insert into metering.process_counters (process_id, kind, receipts, charged_utok, uncertain, ended) values ('{}', 'gateway', {}, {}, 0, {})"
    )
    written = "insert into metering.process_usage values ('{}', {}, {})"
    differing = await shop.after(report.format(other, 2, 90, "true"), written.format(other, 2, 100), counters=True)
    assert set(differing) == {"counters_receipts"}
    assert (differing["counters_receipts"].unexplained_utok, differing["counters_receipts"].first) == (10, (f"process {other}",))
    differing = await shop.after(report.format(other, 3, 101, "false"), written.format(other, 2, 100), counters=True)
    assert differing["counters_receipts"].unexplained_utok == 1
    # One that was killed has counted what nobody was told of any more.
    assert await shop.after(report.format(other, 1, 60, "false"), written.format(other, 2, 100), counters=True) == {}


def row(counted: tuple[int, int], written: tuple[int, int], *, ended: bool = False, is_news: bool = False) -> dict[str, Any]:
    sums = {"counted": counted[0], "counted_utok": counted[1], "written": written[0], "written_utok": written[1]}
    return {**sums, "ended": ended, "is_news": is_news}


@pytest.mark.parametrize(
    ("one", "before", "off"),
    [
        (row((5, 50), (5, 50), ended=True), (0, 0), (0, 0)),
        (row((4, 50), (5, 50), ended=True), (0, 0), (1, 0)),
        (row((4, 40), (6, 60), is_news=True), (4, 40), (0, 0)),
        (row((3, 30), (6, 60), is_news=True), (4, 40), (1, 10)),
        (row((7, 60), (6, 60), is_news=True), (4, 40), (1, 0)),
        (row((0, 0), (6, 60)), (6, 60), (0, 0)),
        (row((1, 61), (6, 60)), (6, 60), (0, 1)),
    ],
)
def test_counters_lie_between_what_was_written_before_and_after(one: dict[str, Any], before: tuple[int, int], off: tuple[int, int]) -> None:
    assert difference(one, before) == off


async def test_files_and_jobs_are_compared_both_ways(shop: Shop) -> None:
    objects, owner = shop.town.office.objects, shop.owner
    key: str = await owner.fetchval("select object_key from jobs.jobs where id = $1", shop.video)
    now_ms = shop.town.office.desk.clock.now_ms()
    soon, later = ManualClock(now_ms + 1_000), ManualClock(now_ms + 2 * 3_600_000)
    lost = f"videos/{shop.video}/9.mp4"
    await objects.put(lost, b"an attempt that died")
    await objects.put("videos/nobody.mp4", b"?")
    check = await compare_files(owner, objects, soon)
    assert (check.differences, check.left, check.right) == (0, 1, 1)
    check = await compare_files(owner, objects, later)
    assert (check.differences, check.left, check.right, check.first) == (2, 1, 3, tuple(sorted([lost, "videos/nobody.mp4"])))
    assert (await compare_files(owner, objects, later, most=2)).notes == ("more than 2 files; `taximeter reconcile` compares them",)
    await objects.remove(lost)
    await objects.remove("videos/nobody.mp4")
    await objects.put(key, b"another length")
    assert (await compare_files(owner, objects, later)).first == (key,)
    await objects.remove(key)
    check = await compare_files(owner, objects, later)
    assert (check.differences, check.left, check.right, check.first) == (1, 1, 0, (key,))
    # Deleted by its owner, with its file: nothing is missing.
    await owner.execute("update jobs.jobs set deleted_at = clock_timestamp()")
    assert (await compare_files(owner, objects, later)).agrees


async def test_the_file_of_a_video_that_is_still_made_is_no_orphan(shop: Shop) -> None:
    view = await shop.town.videos.submit(shop.town.order(shop.caller, "video"))
    job_id = decode_id("video", view.id)
    await shop.town.office.objects.put(f"videos/{job_id}/1.mp4", b"its settlement waits for the database")
    later = ManualClock(shop.town.office.desk.clock.now_ms() + 2 * 3_600_000)
    assert (await compare_files(shop.owner, shop.town.office.objects, later)).agrees


async def test_everything_agrees_while_the_shop_is_open(shop: Shop) -> None:
    """The comparison is right at any moment, also while charges are on their way."""
    closing = asyncio.Event()

    async def customer() -> int:
        count = 0
        while not closing.is_set():
            ride = await shop.town.metering.open(shop.town.order(shop.caller))
            async for _ in ride.events():
                pass
            count += 1
        return count

    async def clerk() -> None:
        while not closing.is_set():
            await Rollups(shop.town.office.store, 1.0).catch_up()
            await asyncio.sleep(0.05)

    await shop.town.office.tenancy.top_up(shop.caller.project_id, 10**12, "")
    shop.town.engines["chat"].script = CHAT
    work = [asyncio.create_task(customer()) for _ in range(4)]
    folding = asyncio.create_task(clerk())
    for _ in range(2):
        checks = await shop.reconcile()
        assert {name: check.first for name, check in checks.items()} == dict.fromkeys(NAMES, ())
        await shop.town.assert_books_agree()
    closing.set()
    assert sum(await asyncio.gather(*work)) > 10
    await folding
    checks = await shop.reconcile()
    assert checks["counters_receipts"].left == checks["ledger_receipts"].left == checks["receipts_rollups"].left


def watch(shop: Shop) -> Watch:
    office = shop.town.office
    return Watch(lambda: connect_app(office.settings.database_url), office.objects, office.desk.clock, office.settings)


async def test_the_server_tells_the_metrics_page_and_logs_a_difference_once(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert await watch(shop).turn() is not None
    figures = await shop.town.office.figures()
    assert {figures[f'taximeter_reconcile_difference{{check="{name}"}}'][1] for name in NAMES} == {0}
    agreed_s = figures["taximeter_reconcile_last_success_timestamp_seconds"][1]
    assert agreed_s > 0
    assert figures["taximeter_reconcile_duration_seconds"][1] > 0
    assert figures['taximeter_charged_utok_total{kind="test"}'][1] == await shop.owner.fetchval("select sum(charged_utok) from metering.receipts")
    later = await ride_chat(shop.town, shop.caller)
    await shop.owner.execute("set session_replication_role = replica")
    await shop.owner.execute("update metering.receipts set charged_utok = charged_utok + 5 where id = $1", later)
    for _ in range(2):
        # The place in the log stays before what differs.
        assert await watch(shop).turn() is not None
        figures = await shop.town.office.figures()
        assert figures['taximeter_reconcile_difference{check="ledger_receipts"}'][1] == 1
        assert figures['taximeter_reconcile_unexplained_utok{check="ledger_receipts"}'][1] == 5
        assert figures["taximeter_reconcile_last_success_timestamp_seconds"][1] == agreed_s
    told = [record for record in caplog.records if record.levelno == logging.ERROR and "ledger_receipts" in record.getMessage()]
    assert [str(later) in record.getMessage() for record in told] == [True]
    await shop.owner.execute("update metering.receipts set charged_utok = charged_utok - 5 where id = $1", later)
    assert await watch(shop).turn() is not None
    figures = await shop.town.office.figures()
    assert figures["taximeter_reconcile_last_success_timestamp_seconds"][1] > agreed_s


async def test_one_worker_at_a_time_reconciles_and_none_right_after_another(shop: Shop) -> None:
    results = await asyncio.gather(watch(shop).turn(), watch(shop).turn())
    assert sum(result is None for result in results) == 1
    assert await watch(shop).turn(rest_s=60.0) is None


async def test_a_run_reads_only_what_is_new_in_the_log(shop: Shop) -> None:
    first, second = await watch(shop).turn(), await watch(shop).turn()
    assert first is not None
    assert second is not None
    assert [(check.name, check.compared) for check in first[:2]] == [("ledger_receipts", 5), ("holds_requests", 4)]
    assert [(check.name, check.compared) for check in second[:2]] == [("ledger_receipts", 0), ("holds_requests", 0)]
