"""The ledger's SQL."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.db import sql
from taximeter.ledger.model import NOTES_FROM, AccountCode, Balances, Flag, Note, Operation, Outcome, Status, Wallet

_SQL = sql.load("taximeter.ledger")


def columns(lane: int, operations: Sequence[Operation]) -> list[Any]:
    """The operations as the parallel arrays that ``ledger.post`` takes."""
    groups: list[int] = []
    from_accounts, to_accounts, amounts, cascades = [], [], [], []
    for position, operation in enumerate(operations, start=1):
        assert operation.lane == lane
        for leg in operation.legs:
            groups.append(position)
            from_accounts.append(leg.debit)
            to_accounts.append(leg.credit)
            amounts.append(leg.amount_utok)
            cascades.append(leg.cascade)
    return [
        lane,
        [operation.id for operation in operations],
        [int(operation.kind) for operation in operations],
        [operation.amount_utok for operation in operations],
        [operation.ttl_s for operation in operations],
        [operation.code for operation in operations],
        [operation.digest() for operation in operations],
        groups,
        from_accounts,
        to_accounts,
        amounts,
        cascades,
    ]


def outcomes(rows: Sequence[asyncpg.Record]) -> list[Outcome]:
    """The rows of a posting statement, in the order of the operations, each before its notes."""
    found: list[Outcome] = []
    notes: list[Note] = []
    for row in reversed(rows):
        status, total, available = row["status"], row["total"], row["available"]
        if status >= NOTES_FROM:
            notes.append(Note(status - NOTES_FROM, total, available))
        else:
            found.append(Outcome(Status(status), total, available, tuple(reversed(notes))))
            notes.clear()
    found.reverse()
    return found


async def post(connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
    """Post a batch of one lane; ids must differ within it."""
    rows = await connection.fetch(_SQL["post"], *columns(lane, operations))
    return outcomes(rows)


async def open_wallet(connection: asyncpg.Connection, owner: UUID, lane: int) -> Wallet:
    """Create the accounts of a project, inside the caller's transaction."""
    opened = [
        await connection.fetchval(_SQL["open_account"], int(code), lane, int(Flag.LIMITED), owner)
        for code in (AccountCode.ALLOWANCE, AccountCode.PREPAID)
    ]
    return Wallet(lane=lane, allowance=opened[0], prepaid=opened[1])


async def find_wallet(connection: asyncpg.Connection, owner: UUID) -> tuple[Wallet, Balances] | None:
    """A project's accounts and what is on them."""
    row = await connection.fetchrow(_SQL["wallet"], owner)
    if row is None:
        return None
    wallet = Wallet(lane=row["lane"], allowance=row["allowance"], prepaid=row["prepaid"])
    return wallet, Balances(row["allowance_utok"], row["prepaid_utok"], row["held_utok"])


async def totals(connection: asyncpg.Connection) -> dict[str, int]:
    """Sums over the whole ledger, for the metrics page."""
    row = await connection.fetchrow(_SQL["totals"])
    assert row is not None
    return dict(row)


async def ensure_partitions(connection: asyncpg.Connection, days: int) -> int:
    """Make the log's daily partitions for the coming days; returns how many were made."""
    made: int = await connection.fetchval(_SQL["ensure_partitions"], days)
    return made
