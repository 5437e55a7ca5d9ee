"""Quotes on record.  Many at a time: whatever is made while one statement is in flight goes with the next one."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from taximeter.db import sql
from taximeter.kernel.signatures import PublicKey

_SQL = sql.load("taximeter.metering.quotes")
ROWS_MAX = 1000
"""Quotes in one statement."""
# What a row can be the reason for; the last comes from the driver, for a value that is none of the column's type.
_NOT_TAKEN = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)


class Row(msgspec.Struct, frozen=True, array_like=True):
    """One quote, as it is kept; the fields are in the order of the columns."""

    id: UUID
    project_id: UUID
    fingerprint: bytes
    maximum_utok: int
    document: str
    parts: str
    expires_at: datetime


class Kept(msgspec.Struct, frozen=True):
    """A quote that is on record.

    Attributes:
        document: as it was sent.
        parts: a digest of each of the job's fields.
        expired: its time is over, by the database's clock.
        used_by: the request that has used it and was not released.
        approved: an operator has approved it, above its plan's cap.
    """

    id: UUID
    document: str
    fingerprint: bytes
    parts: Mapping[str, str]
    maximum_utok: int
    expires_at: datetime
    expired: bool
    used_by: UUID | None
    approved: bool = False

    @property
    def offer(self) -> dict[str, Any]:
        """The document, read."""
        offer: dict[str, Any] = json.loads(self.document)
        return offer


@dataclass
class _Batch:
    """Quotes for one statement, a share of them for each who brought some and waits for the task."""

    shares: list[Sequence[Row]] = field(default_factory=list)
    writing: asyncio.Task[None] | None = None
    # What the database would not take of it, by the place of its share.
    refused: dict[int, Exception] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """How many quotes it has."""
        return sum(len(share) for share in self.shares)


class QuoteStore:
    """Keeps quotes and reads them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._next = _Batch()
        self._one_in_flight = asyncio.Lock()

    async def keep(self, rows: Sequence[Row]) -> None:
        """Write quotes down; when this returns they are durable.  Raises what the database raises."""
        if self._next.shares and self._next.size + len(rows) > ROWS_MAX:
            self._next = _Batch()
        batch = self._next
        place = len(batch.shares)
        batch.shares.append(rows)
        if batch.writing is None:
            batch.writing = asyncio.create_task(self._write(batch), name="quotes")
        await asyncio.shield(batch.writing)
        if place in batch.refused:
            raise batch.refused[place]

    async def find(self, project_id: UUID, quote_id: UUID) -> Kept | None:
        """One of the project's quotes."""
        row = await self._pool.fetchrow(_SQL["find"], quote_id, project_id)
        return None if row is None else Kept(id=quote_id, **{**row, "parts": json.loads(row["parts"])})

    async def forget(self, keep_s: int, limit: int) -> int:
        """Forget quotes whose time was over so long ago; returns how many."""
        forgotten: int = await self._pool.fetchval(_SQL["forget"], keep_s, limit)
        return forgotten

    async def register_key(self, key: PublicKey) -> None:
        """Put a key on record, before anything is signed with it."""
        await self._pool.execute(_SQL["register_key"], key.id, key.raw)

    async def keys(self) -> list[PublicKey]:
        """Every key that was ever put on record, the newest first."""
        return [PublicKey(row["public"]) for row in await self._pool.fetch(_SQL["keys"])]

    async def _write(self, batch: _Batch) -> None:
        async with self._one_in_flight:
            if batch is self._next:
                self._next = _Batch()
            try:
                await self._insert([row for share in batch.shares for row in share])
            except _NOT_TAKEN:
                # Nothing was written.  Whose quotes they are decides: nobody's fail for another's.
                for place, share in enumerate(batch.shares):
                    try:
                        await self._insert(share)
                    except _NOT_TAKEN as error:
                        batch.refused[place] = error

    async def _insert(self, rows: Sequence[Row]) -> None:
        columns = zip(*(msgspec.structs.astuple(row) for row in rows), strict=True)
        await self._pool.execute(_SQL["keep"], *columns)
