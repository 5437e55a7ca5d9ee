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
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.kernel.signatures import PublicKey
from taximeter.metering.errors import QuoteLimitExceeded, TooManyQuotes

_SQL = sql.load("taximeter.metering.quotes")
ROWS_MAX = 1000
"""Quotes in one statement."""
NEVER_NS = -1
_PER_MINUTE = 1
_NS_PER_S = 1_000_000_000
_WAIT_S_MAX = 3600
# What a row can be the reason for; the last comes from the driver, for a value that is none of the column's type.
_NOT_TAKEN = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteLimits:
    """What a project may have; 0: as much as it likes.

    Attributes:
        per_minute: quotes that it asks for in a minute.
        open_max: quotes of it that are open at the same time.
    """

    per_minute: int = 0
    open_max: int = 0

    @property
    def off(self) -> bool:
        """Whether there is nothing to keep to."""
        return not self.per_minute and not self.open_max


NO_LIMITS = QuoteLimits()


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
        revoked: the key that has signed it was not trusted any more when it was put on record.
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
    revoked: bool = False

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
    """Keeps quotes and reads them.

    Args:
        pool: connections.
        limits: of each project.
    """

    def __init__(self, pool: asyncpg.Pool, limits: QuoteLimits = NO_LIMITS) -> None:
        self._pool = pool
        self._limits = limits
        self._next = _Batch()
        self._one_in_flight = asyncio.Lock()

    async def keep(self, rows: Sequence[Row]) -> None:
        """Write quotes down; when this returns they are durable, all of them.

        Raises QuoteLimitExceeded, TooManyQuotes, and what the database raises; then none of them is kept.
        """
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

    async def page(self, project_id: UUID, before: UUID | None, limit: int) -> list[Kept]:
        """The project's quotes, newest first, from before ``before`` on."""
        rows = await self._pool.fetch(_SQL["page"], project_id, before, limit)
        return [Kept(**{**row, "parts": json.loads(row["parts"])}) for row in rows]

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

    async def revocations(self) -> dict[str, datetime]:
        """From when on keys are not trusted, by their ids; those that are trusted are left out."""
        return {row["key_id"]: row["revoked_from"] for row in await self._pool.fetch(_SQL["revocations"])}

    async def _write(self, batch: _Batch) -> None:
        async with self._one_in_flight:
            if batch is self._next:
                self._next = _Batch()
            try:
                batch.refused.update(await self._insert(batch.shares))
            except _NOT_TAKEN:
                # Nothing was written.  Whose quotes they are decides: nobody's fail for another's.
                for place, share in enumerate(batch.shares):
                    try:
                        for refusal in (await self._insert([share])).values():
                            batch.refused[place] = refusal
                    except _NOT_TAKEN as error:
                        batch.refused[place] = error

    async def _insert(self, shares: Sequence[Sequence[Row]]) -> dict[int, Exception]:
        """Write shares down; those that are above their project's limits are not, by their places and why."""
        columns = zip(*(msgspec.structs.astuple(row) for share in shares for row in share), strict=True)
        limits = self._limits
        if limits.off:
            await self._pool.execute(_SQL["keep"], *columns)
            return {}
        places = [place for place, share in enumerate(shares) for _ in share]
        refused = await self._pool.fetch(_SQL["keep_within"], *columns, places, limits.per_minute, limits.open_max)
        return {row["share"]: self._refusal(row["reason"], row["wait_ns"]) for row in refused}

    def _refusal(self, reason: int, wait_ns: int) -> Refusal:
        limits = self._limits
        if wait_ns == NEVER_NS:
            most = limits.per_minute if reason == _PER_MINUTE else limits.open_max
            message = f"one call may ask for at most {most:,} quotes here; send fewer items at a time"
            return TooManyQuotes(message, param="items")
        wait_s = min(max(1, -(-wait_ns // _NS_PER_S)), _WAIT_S_MAX)
        if reason == _PER_MINUTE:
            message = f"a project may ask for {limits.per_minute:,} quotes a minute; try again in {wait_s} s"
        else:
            message = f"a project may have {limits.open_max:,} open quotes at a time; the first of them expires in {wait_s} s"
        return QuoteLimitExceeded(message, headers={"retry-after": str(wait_s)})


async def revoke_key(connection: asyncpg.Connection, key_id: str, start: datetime | None, public: PublicKey | None = None) -> datetime | None:
    """Trust nothing that a key has signed from a time on (None: from now), or from an earlier one if that is on record already.

    Returns from when on; None: no such key is on record.  Raises InvalidRequest when the time is still to come.

    Args:
        connection: the owner's.
        key_id: its thumbprint.
        start: from when on.
        public: the key itself, where it is at hand: it may have signed nothing here yet.
    """
    async with connection.transaction():
        if public is not None:
            await connection.execute(_SQL["register_key"], public.id, public.raw)
        if not await connection.fetchval(_SQL["knows_key"], key_id):
            return None
        try:
            await connection.execute(_SQL["revoke_key"], key_id, start)
        except asyncpg.CheckViolationError as error:
            assert start is not None
            message = f"a key is revoked from now or from an earlier time on, and {start.isoformat()} is still to come; rotate it, or revoke it then"
            raise InvalidRequest(message) from error
        rows = await connection.fetch(_SQL["revocations"])
    found: dict[str, datetime] = {row["key_id"]: row["revoked_from"] for row in rows}
    return found[key_id]
