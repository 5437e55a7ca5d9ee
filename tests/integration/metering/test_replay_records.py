"""I8 and I9: the replay compares requests, receipts and jobs with the log, and names what differs."""

# ruff: noqa: S608 - the values in the statements are ids that the test made itself

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.ledger.replay import Report, replay
from tests.support.tenants import open_town
from tests.support.whole_rides import make_video, ride_chat

pytestmark = pytest.mark.anyio

RECEIPT = "phase, project_id, key_id, model, modality, outcome, work, measured, consumed_utok, charged_utok, lines, detail, engine_ms"


@dataclass
class Day:
    """One request of each fate, and the owner's connection."""

    owner: asyncpg.Connection
    settled: UUID
    failed: UUID
    made: UUID
    broken: UUID
    waiting: UUID

    async def after(self, *statements: str) -> Report:
        """What the replay says when these statements have been run; they are undone then."""
        transaction = self.owner.transaction(isolation="repeatable_read")
        await transaction.start()
        try:
            await self.owner.execute("set local session_replication_role = replica")
            for statement in statements:
                await self.owner.execute(statement)
            return await replay(self.owner)
        finally:
            await transaction.rollback()


async def test_requests_receipts_and_jobs_are_compared_with_the_log(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path) as town:
        caller = await town.caller("1000")
        owner = await connect_owner(database_url)
        day = Day(
            owner, await ride_chat(town, caller), await ride_chat(town, caller, fails=True), await make_video(town, caller),
            await make_video(town, caller, fails=True),
            await make_video(town, caller, waits=True),
        )  # fmt: skip
        assert (await day.after()).differences == []
        await i9_receipts_are_the_settlements(day)
        await i9_requests_are_the_holds(day)
        await i8_jobs_and_requests_have_ended_as_they_say(day)
        await owner.close()


def only(report: Report) -> tuple[str, str, dict[str, str | int], str | int, str | int]:
    (difference,) = report.first.values()
    return difference.invariant, difference.kind, dict(difference.ids), difference.expected, difference.found


async def i9_receipts_are_the_settlements(day: Day) -> None:
    receipt = f"id = '{day.settled}'"
    report = await day.after(f"delete from metering.receipts where {receipt}")
    assert only(report)[:3] == ("I9", "settlement without a receipt", {"id": str(day.settled), "phase": 1})
    report = await day.after(f"update metering.receipts set charged_utok = charged_utok + 1 where {receipt}")
    assert only(report)[:3] == ("I9", "amount of a receipt", {"id": str(day.settled), "phase": 1})
    report = await day.after(f"update metering.receipts set shortfall_utok = 9 where {receipt}")
    assert only(report)[1:] == ("amount of a receipt", {"id": str(day.settled), "phase": 1}, *_amounts(report))
    twice = f"insert into metering.receipts (id, {RECEIPT}) select id, 2, {RECEIPT[7:]} from metering.receipts where {receipt}"
    assert only(await day.after(twice))[:3] == ("I9", "receipt without a resolution", {"id": str(day.settled), "phase": 2})


def _amounts(report: Report) -> tuple[str | int, str | int]:
    difference = report.first["amount of a receipt"]
    assert str(difference.expected).endswith(" and 0")
    assert str(difference.found).endswith(" and 9")
    return difference.expected, difference.found


async def i9_requests_are_the_holds(day: Day) -> None:
    report = await day.after(f"update metering.requests set held_utok = held_utok + 1 where id = '{day.failed}'")
    assert only(report)[:3] == ("I9", "amount of a request", {"id": str(day.failed), "phase": 0})
    report = await day.after(f"delete from metering.requests where id = '{day.waiting}'")
    assert only(report)[:3] == ("I9", "hold without a request", {"id": str(day.waiting), "phase": 0})
    invented = f"""
        insert into metering.requests
        select '00000000-0000-7000-8000-000000000001', project_id, key_id, process_id, model, modality, rate_card, tariff, multiplier, held_utok, fare
        from metering.requests where id = '{day.settled}'
    """
    report = await day.after(invented)
    kinds = {kind: difference.invariant for kind, difference in report.first.items()}
    assert kinds == {"request without a hold": "I9", "request that is neither held nor ended": "I8"}


async def i8_jobs_and_requests_have_ended_as_they_say(day: Day) -> None:
    swap = "update jobs.jobs set state = '{}', error_code = {}, object_key = 'k', lease_until = null, completed_at = now() where id = '{}'"
    report = await day.after(swap.format("completed", "null", day.broken))
    assert only(report) == ("I8", "completed job that was not settled", {"id": str(day.broken), "phase": 1}, "kind 2", "kind 3")
    report = await day.after(swap.format("failed", "'x'", day.made))
    assert only(report) == ("I8", "failed job that was not released", {"id": str(day.made), "phase": 1}, "kind 3 or 4 alone", "kind 2")
    report = await day.after(swap.format("failed", "'x'", day.waiting))
    assert only(report)[1:4] == ("failed job that was not released", {"id": str(day.waiting), "phase": 1}, "kind 3 or 4 alone")
    report = await day.after(f"update jobs.jobs set state = 'queued', completed_at = null, error_code = null where id = '{day.broken}'")
    assert only(report) == ("I8", "unfinished job without a hold", {"id": str(day.broken), "phase": 1}, "an open hold", "kind 3")
