"""What each process counted itself, against the receipts that it wrote.

A process that is at work has always written a little more than it has counted.  So the receipts are summed up before and
after its next report: what was written before must have been counted, and nothing may be counted that is not written after.
While nothing happens both are the same number, and the comparison is exact; so it is for a process that ended in order.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.metering.presence import BEATS_PER_LIFE
from taximeter.metering.reconciliation.books import PATIENCE_S
from taximeter.metering.reconciliation.model import SHOWN, Check

_SQL = sql.load("taximeter.metering.reconciliation")

ANSWER_S = 1.0
"""An answer that was on its way to a process has arrived and is counted after this time."""
POLL_S = 0.2
REPORTS_WAITED_FOR = 2
Sums = tuple[int, int]


async def compare_counters(connection: asyncpg.Connection, process_dead_s: float) -> Check:
    """Wait for the next report of every process that lives, then compare; what differs is compared again before it is told.

    A report that was on its way for longer than ANSWER_S says less than its time promises.
    """
    check = await _compare(connection, process_dead_s)
    return check if check.agrees else await _compare(connection, process_dead_s)


async def _compare(connection: asyncpg.Connection, process_dead_s: float) -> Check:
    before: dict[UUID, Sums] = {
        row["process_id"]: (row["receipts"], row["charged_utok"]) for row in await connection.fetch(_SQL["written"], timeout=PATIENCE_S)
    }
    began: datetime = await connection.fetchval(_SQL["now"])
    news_since = began + timedelta(seconds=ANSWER_S)
    await _await_reports(connection, list(before), news_since, process_dead_s)
    rows = await connection.fetch(_SQL["counted"], news_since, process_dead_s, timeout=PATIENCE_S)
    wrong = {row["process_id"]: off for row in rows if any(off := difference(row, before.get(row["process_id"], (0, 0))))}
    uncounted = [row for row in rows if not row["ended"] and not row["lives"] and row["counted"] < row["written"]]
    notes = []
    if uncounted:
        count, utok = sum(row["written"] - row["counted"] for row in uncounted), sum(row["written_utok"] - row["counted_utok"] for row in uncounted)
        notes.append(f"{len(uncounted)} processes were killed before they could report their last {count} receipts over {utok} utok")
    silent = sum(row["lives"] and not row["ended"] and not row["is_news"] for row in rows)
    if silent:
        notes.append(f"{silent} processes have not reported in time")
    return Check(
        name="counters_receipts",
        compared=len(rows),
        left=sum(row["counted_utok"] for row in rows),
        right=sum(row["written_utok"] for row in rows),
        differences=len(wrong),
        unexplained_utok=sum(off[1] for off in wrong.values()),
        first=tuple(f"process {process_id}" for process_id in list(wrong)[:SHOWN]),
        notes=tuple(notes),
    )


def difference(row: Any, before: Sums) -> Sums:  # noqa: ANN401 - a row of the statement
    """By how many receipts and micro-Tokens a process's counters are outside of what its receipts allow.

    Args:
        row: what it ``counted`` and what is ``written``, whether it ``ended`` and whether its report ``is_news``.
        before: what was written when the comparison began.
    """
    written = (row["written"], row["written_utok"])
    counted = (row["counted"], row["counted_utok"])
    # One that was killed, or has not reported, may have counted less than it wrote, but never more.
    least: Sums = (0, 0)
    if row["ended"]:
        least = written
    elif row["is_news"]:
        least = before
    return _outside(counted[0], least[0], written[0]), _outside(counted[1], least[1], written[1])


def _outside(value: int, least: int, most: int) -> int:
    return max(least - value, value - most, 0)


async def _await_reports(connection: asyncpg.Connection, processes: list[UUID], since: datetime, process_dead_s: float) -> None:
    patience_s = ANSWER_S + REPORTS_WAITED_FOR * process_dead_s / BEATS_PER_LIFE
    for _ in range(int(patience_s / POLL_S) + 1):
        if not await connection.fetchval(_SQL["waiting_for"], processes, since, process_dead_s):
            return
        await asyncio.sleep(POLL_S)
