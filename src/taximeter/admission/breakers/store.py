"""Circuit breakers on record: what each process sees, and what operators order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from taximeter.admission.breakers.model import Change, View
from taximeter.db import sql

_SQL = sql.load("taximeter.admission.breakers")


class Orders(msgspec.Struct, frozen=True):
    """What operators have ordered.

    Attributes:
        last: the number of the latest order.
        resets: engine and model of each breaker to close.
    """

    last: int
    resets: tuple[dict[str, str], ...]


@dataclass(frozen=True, slots=True)
class Publisher:
    """Who tells: a process, of a kind."""

    process_id: UUID
    kind: str


class BreakerStore:
    """Tells and reads.

    Args:
        pool: connections.
        dead_s: a process that has said nothing for so long is dead, and its breakers are gone.
    """

    def __init__(self, pool: asyncpg.Pool, dead_s: float) -> None:
        self._pool = pool
        self._dead_s = dead_s

    async def publish(self, who: Publisher, views: Sequence[View], changes: Sequence[Change], after: int | None) -> Orders:
        """Tell what a process sees and what has changed; answers with the orders after number ``after`` (None: only the last number)."""
        told = msgspec.json.encode(views).decode()
        changed = msgspec.json.encode([change.to_json() for change in changes]).decode()
        answer = await self._pool.fetchval(_SQL["publish"], who.process_id, who.kind, told, changed, after, self._dead_s)
        return msgspec.json.decode(answer, type=Orders)

    async def forget(self, process_id: UUID) -> None:
        """A process ends."""
        await self._pool.execute(_SQL["forget_process"], process_id)

    async def summary(self) -> list[asyncpg.Record]:
        """By engine, model and state: how many living processes see it so, since when, and how long until they try again."""
        rows: list[asyncpg.Record] = await self._pool.fetch(_SQL["list"], self._dead_s)
        return rows

    async def list_all(self) -> list[asyncpg.Record]:
        """Every breaker of every living process."""
        rows: list[asyncpg.Record] = await self._pool.fetch(_SQL["list_by_process"], self._dead_s)
        return rows

    async def reset(self, engine: str, model: str, operator: str) -> bool:
        """Order all processes to close a breaker; False when none of them has it."""
        return bool(await self._pool.fetchval(_SQL["reset"], engine, model, operator, self._dead_s))

    async def incidents(self, limit: int) -> list[tuple[Any, Mapping[str, Any]]]:
        """The latest changes, the newest first: when, and what."""
        rows = await self._pool.fetch(_SQL["incidents"], limit)
        return [(row["created_at"], msgspec.json.decode(row["data"])) for row in rows]
