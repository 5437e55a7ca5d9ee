"""The database goes away after the hold: the answer does not wait, and the settlement is not lost."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from taximeter.engines import Chunk, Done
from taximeter.identity import Caller
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import decode_id
from taximeter.kernel.units import parse_tokens
from taximeter.ledger import Kind, Operation
from taximeter.ledger.errors import LedgerUnavailable
from taximeter.metering import Receipt, Ride
from taximeter.metering.adoption import Adoption
from taximeter.metering.disk import Disk
from taximeter.metering.errors import DiskFull
from taximeter.metering.rules import NOTHING, encode_fact, receipt_fact
from taximeter.metering.spool import Spool, spool_files, spool_folder, survey
from tests.support.outage import Outage
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
RECEIPT = encode_fact({"receipt": receipt_fact(NOTHING, "completed", None, {}, 0)})
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})


@pytest.fixture
async def outage(postgres_url: str, database_url: str) -> AsyncIterator[Outage]:
    made = Outage(postgres_url, database_url)
    yield made
    await made.end()


async def ride_to_its_end(ride: Ride) -> Receipt:
    items = [item async for item in ride.events()]
    assert isinstance(items[-1], Receipt)
    return items[-1]


async def hold_ride(town: Town, caller: Caller) -> tuple[Ride, asyncio.Task[Receipt], asyncio.Event]:
    """A ride whose engine runs until the event is set."""
    go = asyncio.Event()
    town.engines["chat"].script = (go, TEXT, REPORT)
    ride = await town.metering.open(town.order(caller))
    running = asyncio.create_task(ride_to_its_end(ride))
    await town.engines["chat"].running.wait()
    return ride, running, go


async def spooled(town: Town) -> float:
    return (await town.office.figures())["taximeter_spool_entries"][1]


async def receipts_of(town: Town, request_id: UUID) -> list[Any]:
    rows: list[Any] = await town.office.pool.fetch("select * from metering.receipts where id = $1", request_id)
    return rows


async def test_the_answer_says_pending_and_the_charge_follows_once(database_url: str, tmp_path: Path, outage: Outage) -> None:
    async with open_town(database_url, tmp_path, settle_patience_s=0.3) as town:
        caller = await town.caller("1000")
        ride, running, go = await hold_ride(town, caller)
        await outage.begin()
        started = asyncio.get_running_loop().time()
        go.set()
        receipt = await running
        assert asyncio.get_running_loop().time() - started < 2
        assert (receipt.settlement, receipt.outcome) == ("pending", "completed")
        assert receipt.charged_utok > 0
        figures = await town.office.figures()
        assert figures["taximeter_spool_entries"][1] == 1
        assert figures["taximeter_spool_oldest_s"][1] >= 0
        assert "taximeter_holds_open" not in figures
        await outage.end()
        await until(lambda: _is_settled(town, caller, ride.id))
        stored = await town.records.receipt(caller, ride.id)
        assert (stored.settlement, stored.charged_utok) == ("settled", receipt.charged_utok)
        assert len(await receipts_of(town, ride.id)) == 1
        assert await _balance_utok(town, caller) == parse_tokens("1000") - receipt.charged_utok
        await until(lambda: _is_empty(tmp_path))
        await town.assert_books_agree()


async def _is_settled(town: Town, caller: Caller, request_id: UUID) -> bool:
    return (await town.records.receipt(caller, request_id)).settlement == "settled"


async def _balance_utok(town: Town, caller: Caller) -> int:
    return parse_tokens((await town.wallet(caller))["balance"])


def _is_empty(home: Path) -> bool:
    return survey(spool_folder(home)) == (0, None)


async def test_a_failure_during_an_outage_releases_the_hold_afterwards(database_url: str, tmp_path: Path, outage: Outage) -> None:
    async with open_town(database_url, tmp_path, settle_patience_s=0.1) as town:
        caller = await town.caller("1000")
        ride, running, _ = await hold_ride(town, caller)
        await outage.begin()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await until(lambda: survey(spool_folder(tmp_path))[0] == 1)
        await outage.end()
        await until(lambda: _is_settled(town, caller, ride.id))
        assert (await town.records.receipt(caller, ride.id)).outcome == "disconnected"
        assert (await town.wallet(caller))["balance"] == "1000"


async def test_new_holds_are_refused_at_once_while_the_database_is_away(database_url: str, tmp_path: Path, outage: Outage) -> None:
    async with open_town(database_url, tmp_path, settle_patience_s=0.1) as town:
        caller = await town.caller("1000")
        _, running, go = await hold_ride(town, caller)
        await outage.begin()
        go.set()
        await running
        books = town.office.desk.books
        await until(lambda: books.down_for_s(caller.lane) > 1)
        started = asyncio.get_running_loop().time()
        for _ in range(20):
            with pytest.raises(LedgerUnavailable) as refusal:
                await town.metering.open(town.order(caller))
            assert (refusal.value.status, refusal.value.headers["retry-after"]) == (503, "5")
        assert asyncio.get_running_loop().time() - started < 1
        await outage.end()
        await until(lambda: books.down_for_s(caller.lane) == 0)
        town.engines["chat"].script = (TEXT, REPORT)
        assert (await ride_to_its_end(await town.metering.open(town.order(caller)))).settlement == "settled"
        await town.assert_books_agree()


async def test_a_process_that_stops_during_an_outage_leaves_its_settlements_to_the_next(database_url: str, tmp_path: Path, outage: Outage) -> None:
    async with open_town(database_url, tmp_path, settle_patience_s=0.1, stop_grace_s=1.0) as town:
        caller = await town.caller("1000")
        ride, running, go = await hold_ride(town, caller)
        await outage.begin()
        go.set()
        charged_utok = (await running).charged_utok
    assert survey(spool_folder(tmp_path))[0] == 1
    await outage.end()
    async with open_town(database_url, tmp_path) as town:
        await until(lambda: _is_settled(town, caller, ride.id))
        assert (await town.records.receipt(caller, ride.id)).charged_utok == charged_utok
        await until(lambda: not spool_files(spool_folder(tmp_path)))
        await town.assert_books_agree()


async def _kill_in_an_outage(kind: str, database_url: str, home: Path, outage: Outage) -> tuple[UUID, str, int]:
    """Run a process until its settlement is pending, and kill it: the project, the receipt or video, and the charge it told."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.doomed_process", kind, database_url, str(home)),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            word, project_id, public_id = (await process.stdout.readline()).decode().split()
            assert word == "held"
            await outage.begin()
            process.stdin.write(b"go\n")
            await process.stdin.drain()
            word, charged = (await process.stdout.readline()).decode().split()
            assert word == "pending"
    finally:
        process.kill()
        await process.wait()
        process.stdin.close()
    assert survey(spool_folder(home))[0] == 1
    return UUID(project_id), public_id, int(charged)


async def _caller_of(town: Town, project_id: UUID) -> Caller:
    project = await town.office.tenancy._project(project_id)
    stranger = await town.caller("0")
    return replace(stranger, project_id=project_id, lane=project.lane)


async def test_a_killed_process_loses_no_settlement(database_url: str, tmp_path: Path, outage: Outage) -> None:
    project_id, public_id, charged_utok = await _kill_in_an_outage("ride", database_url, tmp_path, outage)
    await outage.end()
    request_id = decode_id("rcp", public_id)
    assert request_id is not None
    async with open_town(database_url, tmp_path) as town, open_town(database_url, tmp_path) as neighbour:
        caller = await _caller_of(town, project_id)
        await until(lambda: _is_settled(neighbour, caller, request_id))
        receipt = await town.records.receipt(caller, request_id)
        assert (receipt.outcome, receipt.charged_utok) == ("completed", charged_utok)
        assert len(await receipts_of(town, request_id)) == 1
        assert await _balance_utok(town, caller) == parse_tokens("1000") - charged_utok
        await until(lambda: not spool_files(spool_folder(tmp_path)))
        await town.assert_books_agree()


async def test_a_killed_worker_loses_no_finished_video(database_url: str, tmp_path: Path, outage: Outage) -> None:
    project_id, public_id, _ = await _kill_in_an_outage("video", database_url, tmp_path, outage)
    await outage.end()
    async with open_town(database_url, tmp_path) as town:
        caller = await _caller_of(town, project_id)

        async def is_completed() -> bool:
            return (await town.videos.find(caller, public_id)).job.state == "completed"

        await until(is_completed)
        view = await town.videos.find(caller, public_id)
        assert 0 < view.receipt.charged_utok <= view.receipt.held_utok
        file = await town.videos.content(caller, public_id)
        assert b"".join([piece async for piece in file.read(0, file.size)]) == b"ftyp"
        await town.assert_books_agree()


async def _orphaned(town: Town, home: Path, operation: Operation) -> Path:
    """A spool with one entry whose process is gone."""
    folder = spool_folder(home)
    spool = Spool(folder, town.office.desk.ids.new(), SystemClock())
    await spool.keep(operation)
    await spool.close()
    return folder / spool._path.name


def _adoption(town: Town, home: Path) -> Adoption:
    return Adoption(spool_folder(home), town.office.desk.books, town.office.jobs, town.office.objects)


async def test_adopting_twice_settles_once(town: Town, tmp_path: Path) -> None:
    caller = await town.caller("1000")
    ride = await town.metering.open(town.order(caller))
    settlement = Operation(id=ride.id, kind=Kind.SETTLE, lane=caller.lane, amount_utok=1000, fact=RECEIPT)
    await _orphaned(town, tmp_path, settlement)
    counts = await asyncio.gather(*(_adoption(town, tmp_path).run() for _ in range(4)))
    assert sum(counts) == 1
    # The adopter died before it could remove the file: the entry comes again, and takes no effect.
    await _orphaned(town, tmp_path, settlement)
    assert await _adoption(town, tmp_path).run() == 1
    assert await _balance_utok(town, caller) == parse_tokens("1000") - 1000
    assert spool_files(spool_folder(tmp_path)) == []
    await town.assert_books_agree()


async def test_an_adopted_settlement_whose_hold_has_expired_is_charged_late(town: Town, tmp_path: Path) -> None:
    caller = await town.caller("1000")
    ride = await town.metering.open(town.order(caller))
    await town.office.desk.books.submit(Operation(id=ride.id, kind=Kind.EXPIRE, lane=caller.lane))
    await _orphaned(town, tmp_path, Operation(id=ride.id, kind=Kind.SETTLE, lane=caller.lane, amount_utok=1000, fact=RECEIPT))
    await _adoption(town, tmp_path).run()
    assert await _balance_utok(town, caller) == parse_tokens("1000") - 1000
    await town.assert_books_agree()


async def test_the_sweeper_adopts_before_it_releases(town: Town, tmp_path: Path) -> None:
    caller = await town.caller("1000")
    ride = await town.metering.open(town.order(caller))
    await town.office.store.goodbye(town.office.desk.process_id)
    await _orphaned(town, tmp_path, Operation(id=ride.id, kind=Kind.SETTLE, lane=caller.lane, amount_utok=1000, fact=RECEIPT))
    sweeping = asyncio.create_task(town.sweeper.run())
    await until(lambda: not spool_files(spool_folder(tmp_path)))
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    phases = await town.office.pool.fetch("select phase, kind from ledger.transfers where id = $1 and leg = 0 order by phase", ride.id)
    assert [tuple(row) for row in phases] == [(0, Kind.HOLD), (1, Kind.SETTLE)]


async def test_a_damaged_spool_is_kept_aside_and_the_rest_is_settled(town: Town, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caller = await town.caller("1000")
    ride = await town.metering.open(town.order(caller))
    path = await _orphaned(town, tmp_path, Operation(id=ride.id, kind=Kind.SETTLE, lane=caller.lane, amount_utok=1000, fact=RECEIPT))
    good = path.read_bytes()
    path.write_bytes(good[:30] + b"?" + good[31:] + good)
    await _adoption(town, tmp_path).run()
    assert await _balance_utok(town, caller) == parse_tokens("1000") - 1000
    assert [found.name for found in spool_folder(tmp_path).iterdir()] == [f"{path.stem}.damaged"]
    assert "damaged in 1 places" in caplog.text


async def test_an_entry_of_another_database_is_kept_aside(town: Town, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    unknown = Operation(id=town.office.desk.ids.new(), kind=Kind.SETTLE, lane=0, amount_utok=1000, fact=RECEIPT)
    path = await _orphaned(town, tmp_path, unknown)
    await _adoption(town, tmp_path).run()
    assert [found.name for found in spool_folder(tmp_path).iterdir()] == [f"{path.stem}.rejected"]
    assert "knows no hold" in caplog.text
    await town.assert_books_agree()


@pytest.mark.parametrize("modality", ["chat", "video"])
async def test_a_full_disk_is_told_before_anything_is_held(town: Town, tmp_path: Path, modality: Any) -> None:  # noqa: ANN401 - a modality
    caller = await town.caller("1000")
    town.office.desk.disk = Disk(tmp_path, 2**62, SystemClock())
    with pytest.raises(DiskFull):
        await (town.videos.submit if modality == "video" else town.metering.open)(town.order(caller, modality))
    assert await town.open_holds() == 0
    assert (await town.wallet(caller))["balance"] == "1000"
