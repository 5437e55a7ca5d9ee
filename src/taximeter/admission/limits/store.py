"""Limits in PostgreSQL."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.admission.limits.model import LimitOrder, SetLimit
from taximeter.admission.limits.rules import LIMITS_PER_OWNER
from taximeter.admission.limits.standing import Bucket
from taximeter.db import sql

_SQL = sql.load("taximeter.admission.limits")


class LimitStore:
    """Rows in, model out."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def set(self, limit_id: UUID, order: LimitOrder) -> SetLimit | None:
        """Set a limit, or give one that is in force another height; None when its owner has too many."""
        row = await self._pool.fetchrow(
            _SQL["set"],
            limit_id,
            order.scope,
            order.owner if order.scope == "key" else None,
            order.owner if order.scope == "project" else None,
            order.model,
            order.kind,
            order.most,
            order.window_s,
            order.shadow,
            order.operator,
            LIMITS_PER_OWNER,
        )
        return None if row is None or row["id"] is None else _limit(row)

    async def remove(self, limit_id: UUID, operator: str) -> SetLimit | None:
        """Remove a limit; None when there is none."""
        row = await self._pool.fetchrow(_SQL["remove"], limit_id, operator)
        return None if row is None or row["id"] is None else _limit(row)

    async def in_force(self, after: UUID | None, limit: int, *, project: UUID | None, key: UUID | None, model: str | None) -> list[SetLimit]:
        """Those in force, newest first: all, or of a project and its keys, of a key, or about a model."""
        return [_limit(row) for row in await self._pool.fetch(_SQL["list"], after, project, key, model, limit)]

    async def refused_by_day(self, limit_id: UUID, days: int) -> list[tuple[date, int]]:
        """What a shadow would have refused, latest day first."""
        return [(row["day"], row["refused"]) for row in await self._pool.fetch(_SQL["refused_by_day"], limit_id, days)]

    async def exists(self, scope: str, owner: UUID) -> bool:
        """Whether there is such a key or project."""
        found: bool = await self._pool.fetchval(_SQL[f"{scope}_exists"], owner)
        return found

    async def buckets(self, ids: Sequence[str]) -> list[Bucket]:
        """How full these are, in this order."""
        found = await self._pool.fetch(_SQL["standing"], [UUID(each) for each in ids])
        return [Bucket(requests_at_ns=row["requests_at"], tokens_at_ns=row["tokens_at"], running=row["running"], now_ns=row["now"]) for row in found]

    async def shadow_total(self) -> int:
        """What all shadows would have refused so far."""
        total: int = await self._pool.fetchval(_SQL["shadow_total"])
        return total


def _limit(row: Mapping[str, Any]) -> SetLimit:
    names = ("id", "scope", "key_id", "project_id", "model", "kind", "most", "window_s", "shadow", "operator", "created_at", "changed_at")
    return SetLimit(**{name: row[name] for name in names}, refused=row.get("refused"))
