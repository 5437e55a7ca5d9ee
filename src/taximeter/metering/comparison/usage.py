"""Past receipts by two cards or tariffs: one pass over a snapshot with a cursor on the server, so memory does not grow with the span."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

import asyncpg
import msgspec

from taximeter import pricing
from taximeter.db import sql
from taximeter.metering.comparison.model import Comparison, Span
from taximeter.metering.comparison.sides import Held, Side
from taximeter.metering.comparison.sums import Comparer

_SQL = sql.load("taximeter.metering.comparison")

CHUNK_ROWS = 5_000
"""Receipts that are in memory at a time."""
CUSTOMERS_MAX = 10_000
"""Names asked for at a time."""

_WORK = msgspec.json.Decoder(dict[str, int | str])
_HELD = msgspec.json.Decoder(Held)


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays: a project of an organisation."""

    organisation: str
    project: str


async def compare_usage(
    connection: asyncpg.Connection, catalog: pricing.Catalog, sides: tuple[Side, Side], span: Span, progress: Callable[[int, int], None]
) -> Comparison:
    """Price every receipt in the span by both sides; no receipt is changed.

    Args:
        connection: one without a limit on the time of a statement.
        catalog: every version that is published, and the tariffs of both sides.
        sides: the first and the second: two cards, or two tariffs.
        span: which receipts.
        progress: called with (done, of) after each chunk.
    """
    comparer = Comparer(*sides, catalog)
    arguments = (span.start, span.end, span.project_id, span.model)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        of: int = await connection.fetchval(_SQL["count"], *arguments)
        cursor = await connection.cursor(_SQL["receipts"], *arguments)
        done = 0
        while rows := await cursor.fetch(CHUNK_ROWS):
            for row in rows:
                work = {name: int(value) for name, value in _WORK.decode(row["work"]).items()}
                comparer.add(row["project_id"], row["model"], work, _HELD.decode(row["held"]))
            done += len(rows)
            progress(done, of)
    return comparer.found


async def customers(connection: asyncpg.Connection, projects: Iterable[UUID]) -> dict[UUID, Customer]:
    """The names of projects."""
    wanted = list(projects)
    found: dict[UUID, Customer] = {}
    for start in range(0, len(wanted), CUSTOMERS_MAX):
        rows = await connection.fetch(_SQL["customers"], wanted[start : start + CUSTOMERS_MAX])
        found |= {row["id"]: Customer(row["organisation"], row["project"]) for row in rows}
    return found
