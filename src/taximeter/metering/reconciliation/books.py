"""Ledger = receipts = daily sums = revenue, and requests = holds."""

from collections.abc import Sequence
from datetime import date

import asyncpg

from taximeter.db import sql
from taximeter.metering.reconciliation.model import Check, Span, from_row, together

_SQL = sql.load("taximeter.metering.reconciliation")

CHUNK_ROWS = 20_000
"""Rows of the log that one statement compares."""
PATIENCE_S = 86_400.0
"""A comparison of everything takes as long as it takes."""
NOTHING = (Check(name="ledger_receipts"), Check(name="holds_requests"))


async def compare_everything(connection: asyncpg.Connection, span: Span) -> list[Check]:
    """All comparisons of books, for these days; the last one is about all days there are."""
    checks: list[Check] = [*NOTHING]
    for row in await connection.fetch(_SQL["positions"]):
        after = 0
        while (upto := await next_batch(connection, row["lane"], after)) is not None:
            checks = together([*checks, *await compare_log(connection, (row["lane"], after, upto), span)])
            after = upto
    others = await connection.fetch(_SQL["not_in_the_log"], span.start, span.end, timeout=PATIENCE_S)
    return [*together([*checks, *map(from_row, others)]), await compare_days(connection, span.start, span.end), await compare_revenue(connection)]


async def next_batch(connection: asyncpg.Connection, lane: int, after: int) -> int | None:
    """The last of the batches that are compared together; None when there is none after this one."""
    batch: int | None = await connection.fetchval(_SQL["next_batch"], lane, after, CHUNK_ROWS)
    return batch


async def compare_log(connection: asyncpg.Connection, batches: tuple[int, int, int], span: Span) -> list[Check]:
    """The log against receipts and requests, for the batches (lane, after, up to)."""
    rows = await connection.fetch(_SQL["log"], *batches, span.start, span.end, timeout=PATIENCE_S)
    return [from_row(row) for row in rows]


async def compare_days(connection: asyncpg.Connection, start: date, end: date) -> Check:
    """The receipts of these days against the daily sums."""
    row = await connection.fetchrow(_SQL["rollups"], start, end, timeout=PATIENCE_S)
    assert row is not None
    return from_row(row)


async def compare_revenue(connection: asyncpg.Connection) -> Check:
    """All daily sums against the revenue and the shortfall accounts."""
    row = await connection.fetchrow(_SQL["revenue"], timeout=PATIENCE_S)
    assert row is not None
    return from_row(row)


async def receipts_of_days(connection: asyncpg.Connection, start: date, end: date) -> int:
    """How much there would be to compare, about."""
    count: int = await connection.fetchval(_SQL["receipts_of_days"], start, end)
    return count


async def lanes(connection: asyncpg.Connection) -> Sequence[tuple[int, int]]:
    """Lanes in use, each with the batch up to which it was compared."""
    return [(row["lane"], row["reconciled"]) for row in await connection.fetch(_SQL["positions"])]


async def move(connection: asyncpg.Connection, lane: int, upto: int) -> None:
    """Everything up to this batch agrees."""
    await connection.execute(_SQL["move"], lane, upto)
