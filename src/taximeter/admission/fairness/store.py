"""The fair queue's SQL: looking at pools, and the safety net."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.admission.fairness.model import PoolFigures, Standing
from taximeter.db import sql

_SQL = sql.load("taximeter.admission.fairness")


class QueueStore:
    """Reads pools and places; each call is one statement."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool

    async def tend(self, ids: Collection[UUID]) -> Mapping[UUID, bool]:
        """Grant what can be granted, free the places of holds that are gone; which of these have a place, and whether it is granted."""
        return {row["id"]: row["granted"] for row in await self._pool.fetch(_SQL["tend"], list(ids))}

    async def hand_over(self, connection: asyncpg.Connection, left: Sequence[tuple[UUID, int]]) -> Sequence[UUID]:
        """The engine is through with these requests, which consumed so much; answers who have their slots now."""
        rows = await connection.fetch(_SQL["hand_over"], [request_id for request_id, _ in left], [used_utok for _, used_utok in left])
        return [row["id"] for row in rows]

    async def standing(self, request_id: UUID) -> Standing:
        """Where a synchronous request stands now."""
        row = await self._pool.fetchrow(_SQL["standing"], request_id)
        return Standing(0, 0) if row is None else Standing(row["place"], row["wait_ms"])

    async def job_standing(self, job_id: UUID, calm_s: float) -> Standing:
        """Where a job stands now.  A flex or batch job of an engine whose price surges waits for the calm until it is so old."""
        row = await self._pool.fetchrow(_SQL["job_standing"], job_id, calm_s)
        return Standing(0, 0) if row is None else Standing(row["place"], row["wait_ms"], row["calm_until"])

    async def figures(self) -> list[PoolFigures]:
        """Every pool, for the metrics page."""
        return [PoolFigures(**row) for row in await self._pool.fetch(_SQL["figures"])]

    async def gauges(self) -> Mapping[str, tuple[str, float]]:
        """The same as gauges with one label: name -> (help, value)."""
        gauges: dict[str, tuple[str, float]] = {}
        for pool in await self.figures():
            told: dict[str, tuple[str, Any]] = {
                "waiting": ("Requests and jobs that wait for an engine.", pool.waiting),
                "running": ("Requests and jobs that have a slot of an engine.", pool.running),
                "slots": ("Requests that an engine works on at once.", pool.slots),
                "oldest_s": ("For how long the one who has waited longest has waited.", pool.oldest_s),
                "utok_per_s": ("Micro-Tokens that one slot gets done in a second, by its latest requests.", pool.utok_per_s),
            }
            for name, (text, value) in told.items():
                if value is not None:
                    gauges[f'taximeter_queue_{name}{{engine="{pool.name}"}}'] = (text, float(value))
        return gauges
