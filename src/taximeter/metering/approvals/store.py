"""Approvals in PostgreSQL."""

import json
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from taximeter.admission import approvals
from taximeter.db import sql
from taximeter.ledger import Operation, Outcome, store
from taximeter.metering.store import facts

_SQL = sql.load("taximeter.metering.approvals")
_COLUMNS = (
    *("id", "project_id", "key_id", "model", "modality", "is_job", "request", "normal", "fingerprint", "idempotency_key", "key_fingerprint"),
    *("plan", "cap_utok", "maximum_utok", "quote_id", "quote", "expires_at"),
)


class ApprovalStore:
    """Rows in, model out."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def insert(self, approval: approvals.Approval) -> approvals.Approval | None:
        """Record one; None when the same request waits already."""
        values = [getattr(approval, name) for name in _COLUMNS]
        for place in (_COLUMNS.index("request"), _COLUMNS.index("normal")):
            values[place] = None if values[place] is None else msgspec.json.encode(values[place]).decode()
        row = await self._pool.fetchrow(_SQL["insert"], *values)
        return None if row is None else _approval(row)

    async def waiting(self, project_id: UUID, fingerprint: bytes, key: str | None) -> approvals.Approval | None:
        """What this request waits for already, or was granted and has not used."""
        row = await self._pool.fetchrow(_SQL["waiting"], project_id, fingerprint, key)
        return None if row is None else _approval(row)

    async def find(self, approval_id: UUID | None, project_id: UUID | None, quote_id: UUID | None = None) -> approvals.Approval | None:
        """One approval; of any project when none is named.  By its own id or its quote's."""
        row = await self._pool.fetchrow(_SQL["find"], approval_id, project_id, quote_id)
        return None if row is None else _approval(row)

    async def find_parked(self, approval_id: UUID, project_id: UUID) -> approvals.Approval | None:
        """A project's job that waits or was not approved, unless it was deleted."""
        row = await self._pool.fetchrow(_SQL["find_parked"], approval_id, project_id)
        return None if row is None else _approval(row)

    async def page(self, after: UUID | None, project_id: UUID | None, state: approvals.State | None, limit: int) -> list[approvals.Approval]:
        """Newest first."""
        return [_approval(row) for row in await self._pool.fetch(_SQL["page"], after, project_id, state, limit)]

    async def history(self, approval_id: UUID) -> list[dict[str, Any]]:
        """Every state it was in, oldest first."""
        return [{**row, "at": row["at"].isoformat()} for row in await self._pool.fetch(_SQL["history"], approval_id)]

    async def parked(self, project_id: UUID, after: tuple[UUID, datetime] | None, limit: int, *, newest_first: bool) -> list[approvals.Approval]:
        """A project's jobs that wait, or were not approved; from a place in its list of jobs on."""
        name = "parked_newest_first" if newest_first else "parked_oldest_first"
        return [_approval(row) for row in await self._pool.fetch(_SQL[name], project_id, *(after or (None, None)), limit)]

    async def made_at(self, approval_id: UUID, project_id: UUID) -> datetime | None:
        """When a job was asked for."""
        found: datetime | None = await self._pool.fetchval(_SQL["made_at"], approval_id, project_id)
        return found

    async def decide(self, approval_id: UUID, state: approvals.State, operator: str | None, reason: str | None) -> bool:
        """Decide about one that waits; False when it does not, or is a job that is to be approved."""
        return bool(await self._pool.fetchval(_SQL["decide"], approval_id, state, operator, reason))

    async def submit_approved(self, operator: str, reason: str | None, operation: Operation) -> Outcome:
        """Approve a job and start it: its hold, whose id is the approval's.  See ``metering.submit_approved``."""
        rows = await self._pool.fetch(_SQL["submit_approved"], operator, reason, *store.columns(operation.lane, [operation]), facts([operation]))
        return store.outcomes(rows)[0]

    async def set_problem(self, approval_id: UUID, problem: str) -> None:
        """Note why it could not be started."""
        await self._pool.execute(_SQL["set_problem"], approval_id, problem)

    async def hide(self, approval_id: UUID) -> None:
        """Its owner does not want to see it any more."""
        await self._pool.execute(_SQL["hide"], approval_id)

    async def keep_house(self, limit: int) -> None:
        """Note what has expired and what was used."""
        while await self._pool.fetchval(_SQL["expire"], limit) == limit:
            pass
        while await self._pool.fetchval(_SQL["note_used"], limit) == limit:
            pass

    async def figures(self) -> dict[str, tuple[str, float]]:
        """For the metrics page: name -> (help, value)."""
        row = await self._pool.fetchrow(_SQL["figures"])
        assert row is not None
        return {
            "taximeter_approvals_pending": ("Requests that wait for an operator.", row["pending"]),
            "taximeter_approvals_pending_oldest_s": ("For how long the oldest of them has waited.", row["oldest_s"]),
        }


def _approval(row: asyncpg.Record) -> approvals.Approval:
    values = {name: value for name, value in row.items() if name not in ("state_now", "deleted_at")}
    values["request"] = json.loads(values["request"])
    values["normal"] = None if values["normal"] is None else json.loads(values["normal"])
    return approvals.Approval(**{**values, "state": row["state_now"]})
