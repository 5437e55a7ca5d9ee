"""Events and webhooks in PostgreSQL."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from taximeter.admission.events.model import Delivery, DeliveryState, Due, Event, Reply, Webhook
from taximeter.admission.events.rules import ATTEMPTS_MAX
from taximeter.db import sql

_SQL = sql.load("taximeter.admission.events")
LEASE_S = 60.0
"""An attempt that has not been reported for so long is made again: longer than an attempt may take."""


class EventStore:
    """Writes what happened, and reads it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    @staticmethod
    async def emit(
        connection: asyncpg.Connection | asyncpg.Pool, kind: str, project_id: UUID | None, data: Mapping[str, Any], dedup: str | None = None
    ) -> None:
        """Write one event; inside the transaction of ``connection``, if it has one.

        Args:
            connection: where; a pool writes at once.
            kind: such as ``budget.threshold``.
            project_id: whom it is about; None: the installation.
            data: any JSON object.
            dedup: an event with the same one is written once.
        """
        await connection.execute(_SQL["emit"], kind, project_id, msgspec.json.encode(data).decode(), dedup)

    async def page(self, after: UUID | None, kind: str | None, project_id: UUID | None, limit: int) -> list[Event]:
        """Newest first; ``kind`` is a type or what types begin with."""
        return [_event(row) for row in await self._pool.fetch(_SQL["events"], after, kind, project_id, limit)]


class WebhookStore:
    """Webhooks, and their deliveries as a worker sees them."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def insert(self, webhook_id: UUID, owner: tuple[UUID | None, UUID | None], url: str, types: Sequence[str], secret: str) -> Webhook | None:
        """Record a webhook of a project, an organisation or neither; None when there is no such owner."""
        try:
            row = await self._pool.fetchrow(_SQL["insert"], webhook_id, *owner, url, list(types), secret)
        except asyncpg.ForeignKeyViolationError:
            return None
        return _webhook(row)

    async def find(self, webhook_id: UUID) -> Webhook | None:
        """One webhook."""
        row = await self._pool.fetchrow(_SQL["find"], webhook_id)
        return None if row is None else _webhook(row)

    async def page(self, after: UUID | None, project_id: UUID | None, limit: int) -> list[Webhook]:
        """Newest first."""
        return [_webhook(row) for row in await self._pool.fetch(_SQL["list"], after, project_id, limit)]

    async def update(
        self, webhook_id: UUID, url: str | None, types: Sequence[str] | None, *, disabled: bool | None, reason: str | None
    ) -> Webhook | None:
        """Change what is not None."""
        row = await self._pool.fetchrow(_SQL["update"], webhook_id, url, None if types is None else list(types), disabled, reason)
        return None if row is None else _webhook(row)

    async def rotate(self, webhook_id: UUID, secret: str, keep_s: float) -> Webhook | None:
        """Give it another secret; the old one signs as well for so long."""
        row = await self._pool.fetchrow(_SQL["rotate"], webhook_id, secret, keep_s)
        return None if row is None else _webhook(row)

    async def delete(self, webhook_id: UUID) -> bool:
        """Delete it with its secrets and deliveries."""
        return bool(await self._pool.fetchval(_SQL["delete"], webhook_id))

    async def test(self, webhook_id: UUID) -> UUID | None:
        """Write an event for it alone; the event's id."""
        event_id: UUID | None = await self._pool.fetchval(_SQL["test"], webhook_id)
        return event_id

    async def deliveries(
        self, webhook_id: UUID, after: UUID | None, state: DeliveryState | None, limit: int, only: UUID | None = None
    ) -> list[Delivery]:
        """Newest first."""
        return [_delivery(row) for row in await self._pool.fetch(_SQL["deliveries"], webhook_id, after, state, only, limit)]

    async def resend(self, webhook_id: UUID, delivery_id: UUID | None) -> int:
        """Make one delivery again that has ended; without an id, all that have failed.  Returns how many."""
        return len(await self._pool.fetch(_SQL["resend"], webhook_id, delivery_id))

    async def fan_out(self, limit: int) -> int:
        """Make the deliveries of some events; returns of how many."""
        made: int = await self._pool.fetchval(_SQL["fan_out"], limit)
        return made

    async def claim(self, limit: int, busy: Sequence[UUID], each: int) -> list[Due]:
        """Take deliveries that are due, at most ``each`` of a webhook, none of those that are busy."""
        return [_due(row) for row in await self._pool.fetch(_SQL["claim"], limit, list(busy), LEASE_S, each, ATTEMPTS_MAX)]

    async def report(self, due: Due, state: DeliveryState, reply: Reply, wait_s: float) -> bool:
        """What became of an attempt; False when it was taken for lost meanwhile."""
        return bool(await self._pool.fetchval(_SQL["report"], due.id, due.attempt, state, reply.status, reply.error, wait_s, reply.duration_ms))

    async def put_back(self, due: Due) -> None:
        """Let another worker make this attempt, now."""
        await self._pool.execute(_SQL["put_back"], due.id, due.attempt)

    async def give_up_lost(self) -> None:
        """End deliveries whose last attempt was lost."""
        await self._pool.execute(_SQL["give_up_lost"], ATTEMPTS_MAX)

    async def disable(self, webhook_id: UUID, reason: str) -> None:
        """Send nothing to it any more."""
        await self._pool.execute(_SQL["disable"], webhook_id, reason)

    async def forget(self, keep_s: int, limit: int) -> int:
        """Forget deliveries that ended so long ago; returns how many."""
        forgotten: int = await self._pool.fetchval(_SQL["forget"], keep_s, limit)
        return forgotten

    async def figures(self) -> dict[str, tuple[str, float]]:
        """For the metrics page: name -> (help, value)."""
        row = await self._pool.fetchrow(_SQL["figures"])
        assert row is not None
        return {
            "taximeter_webhooks_pending": ("Deliveries of events that wait for their next attempt.", row["pending"]),
            "taximeter_webhooks_pending_oldest_s": ("For how long the oldest of them has waited.", row["oldest_s"]),
            "taximeter_webhooks_failed": ("Deliveries that were given up, and are kept to be sent again.", row["failed"]),
            "taximeter_webhooks_disabled": ("Webhooks that nothing is sent to.", row["disabled"]),
        }


def _event(row: asyncpg.Record, id_name: str = "id") -> Event:
    return Event(id=row[id_name], type=row["type"], project_id=row["project_id"], data=json.loads(row["data"]), created_at=row["created_at"])


def _webhook(row: asyncpg.Record) -> Webhook:
    return Webhook(**{**row, "types": tuple(row["types"])})


def _delivery(row: asyncpg.Record) -> Delivery:
    kept = {name: value for name, value in row.items() if name not in ("webhook_id", "history")}
    return Delivery(**kept, history=tuple(json.loads(row["history"] or "[]")))


def _due(row: asyncpg.Record) -> Due:
    secrets = tuple(secret for secret in (row["secret"], row["old_secret"]) if secret is not None)
    named = {name: row[name] for name in ("id", "webhook_id", "url", "attempt")}
    return Due(**named, secrets=secrets, event=_event(row, "event_id"))
