"""Budgets in PostgreSQL.  The rules of counting are in the migrations 0117 to 0119."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from taximeter.admission.budgets.model import BudgetState, NewBudget
from taximeter.db import sql
from taximeter.identity import terms

_SQL = sql.load("taximeter.admission.budgets")
_read_bounds = msgspec.json.Decoder(tuple[terms.Budget, ...]).decode


class BudgetStore:
    """Rows in, model out."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def make(self, budget_id: UUID, new: NewBudget, most: int, connection: asyncpg.Connection | None = None) -> tuple[str, UUID | None]:
        """Write a budget, inside the caller's transaction if there is one; the outcome and the id (see ``admission.make_budget``)."""
        row = {
            "id": str(budget_id),
            "scope": new.scope,
            "organisation_id": _text(new.organisation_id),
            "project_id": _text(new.project_id),
            "key_id": _text(new.key_id),
            "end_user": new.end_user,
            "span": new.window,
            "window_s": new.window_s,
            "limit_utok": new.limit_utok,
            "hard": new.hard,
            "thresholds": new.thresholds,
            "operator": new.operator,
        }
        made = await (connection or self._pool).fetchrow(_SQL["make"], json.dumps(row), most)
        assert made is not None
        return made["outcome"], made["id"]

    async def change(self, budget_id: UUID, limit_utok: int | None, thresholds: Sequence[int] | None) -> bool:
        """Give it another limit or other thresholds; False when there is no such budget."""
        return await self._pool.fetchval(_SQL["change"], budget_id, limit_utok, thresholds) is not None

    async def remove(self, budget_id: UUID) -> bool:
        """Let it bound nothing any more; False when there is no such budget."""
        return await self._pool.fetchval(_SQL["remove"], budget_id) is not None

    async def roll(self, lane: int, ids: Sequence[UUID]) -> int:
        """Bring those of them that need it into their period and to their limit."""
        rolled: int = await self._pool.fetchval(_SQL["roll"], lane, ids)
        return rolled

    async def due(self, limit: int) -> list[tuple[int, list[UUID]]]:
        """Budgets that have to be rolled, by lane."""
        return [(row["lane"], row["ids"]) for row in await self._pool.fetch(_SQL["due"], limit)]

    async def tell(self, limit: int) -> int:
        """Write the events of thresholds that were reached; answers of how many budgets."""
        told: int = await self._pool.fetchval(_SQL["tell"], limit)
        return told

    async def now(self, ids: Sequence[UUID]) -> list[BudgetState]:
        """Budgets as they stand, by id."""
        return _states(await self._pool.fetch(_SQL["now"], ids))

    async def find(self, owners: Sequence[UUID | None], end_user: str | None, after: UUID | None, limit: int) -> list[BudgetState]:
        """Those of an organisation, project or key, newest first; with an end user, his alone."""
        ids = [row["id"] for row in await self._pool.fetch(_SQL["find"], *owners, end_user, after, limit)]
        return sorted(await self.now(ids), key=lambda state: state.id, reverse=True)

    async def bounding(self, owners: Sequence[UUID], end_user: str | None) -> list[BudgetState]:
        """Those that bound a request of this organisation, project and key."""
        return _states(await self._pool.fetch(_SQL["bounding"], *owners, end_user))

    async def open_for(self, project_id: UUID, end_user: str) -> tuple[terms.Budget, ...]:
        """An end user's budgets; what the project's defaults give him is opened if it was not."""
        return _read_bounds(await self._pool.fetchval(_SQL["open_for"], project_id, end_user))


def _states(rows: Sequence[asyncpg.Record]) -> list[BudgetState]:
    return [BudgetState(**{**row, "thresholds": tuple(row["thresholds"])}) for row in map(_columns, rows)]


def _columns(row: asyncpg.Record) -> dict[str, Any]:
    return dict(row)


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)
