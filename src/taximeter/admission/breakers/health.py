"""What everybody may know of the engines: which are up, which breakers are open, how much waits, what happened lately."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import asyncpg

from taximeter.admission.breakers.store import BreakerStore
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.engines import Engine, EngineError
from taximeter.kernel.clock import Clock, utc_from_ms

CACHE_S = 2.0
"""How old an answer may be: the page is open to everybody, and engines are asked for it."""
PATIENCE_S = 2.0
INCIDENTS = 20


class Queue(Protocol):
    """Where jobs wait."""

    async def waiting(self) -> tuple[int, int]:
        """How many wait and run."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at everything.

    Attributes:
        status: ``ok``; ``degraded`` when an engine is down or a breaker open; ``down`` when the database does not answer.
        at: when it was.
        engines: by name, with the breakers of their models.
        jobs: how many wait and run; None: the database does not answer.
        incidents: the latest changes of breakers, the newest first.
    """

    status: str
    at: datetime
    engines: tuple[dict[str, Any], ...]
    jobs: tuple[int, int] | None
    incidents: tuple[dict[str, Any], ...]

    def to_api(self) -> dict[str, Any]:
        """The answer of ``GET /v1/health``."""
        return {
            "object": "health",
            "status": self.status,
            "at": self.at.isoformat(),
            "engines": list(self.engines),
            "jobs": None if self.jobs is None else {"waiting": self.jobs[0], "running": self.jobs[1]},
            "incidents": list(self.incidents),
        }


class Health:
    """Looks at most once in ``CACHE_S``; whoever asks meanwhile gets the same answer.

    Args:
        engines: those of this process.
        store: the breakers of all processes.
        queue: of jobs.
        clock: of this process.
    """

    def __init__(self, engines: Mapping[str, Engine], store: BreakerStore, queue: Queue, clock: Clock) -> None:
        self._engines = engines
        self._store = store
        self._queue = queue
        self._clock = clock
        self._looking: asyncio.Task[Look] | None = None
        self._until_s = 0.0

    async def look(self) -> Look:
        """How things stand, at most ``CACHE_S`` old."""
        if self._looking is None or (self._looking.done() and self._clock.monotonic_s() >= self._until_s):
            self._looking = asyncio.get_running_loop().create_task(self._look())
            self._until_s = self._clock.monotonic_s() + CACHE_S
        return await asyncio.shield(self._looking)

    async def _look(self) -> Look:
        states = dict(await asyncio.gather(*(_state(engine) for _, engine in sorted(self._engines.items()))))
        jobs: tuple[int, int] | None = None
        rows: list[asyncpg.Record] = []
        incidents: list[tuple[Any, Mapping[str, Any]]] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                jobs, rows, incidents = await asyncio.gather(self._queue.waiting(), self._store.summary(), self._store.incidents(INCIDENTS))
        except DATABASE_ERRORS:
            pass
        engines = tuple(_engine_view(name, states.get(name), rows) for name in sorted({*states, *(row["engine"] for row in rows)}))
        return Look(
            status=_status(engines, database=jobs is not None),
            at=utc_from_ms(self._clock.now_ms()),
            engines=engines,
            jobs=jobs,
            incidents=tuple(_incident(at, data) for at, data in incidents),
        )


def _status(engines: tuple[dict[str, Any], ...], *, database: bool) -> str:
    if not database:
        return "down"
    # Half open refuses nobody: it may stay so until somebody calls, and that is no trouble of anybody's.
    well = all(engine["state"] != "down" and all(each["state"] != "open" for each in engine["models"]) for engine in engines)
    return "ok" if well else "degraded"


def _engine_view(name: str, state: str | None, rows: list[asyncpg.Record]) -> dict[str, Any]:
    models: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["engine"] == name:
            # Of several processes, the one that sees it worst tells how it stands.
            before = models.get(row["model"])
            if before is None or _RANK[row["state"]] > _RANK[before["state"]]:
                models[row["model"]] = _breaker_view(row)
    for row in rows:
        if row["engine"] == name:
            models[row["model"]]["processes"][row["state"]] = row["processes"]
    return {"name": name, "state": state or "unknown", "models": [models[model] for model in sorted(models)]}


_RANK = {"closed": 0, "half_open": 1, "open": 2}


def _breaker_view(row: asyncpg.Record) -> dict[str, Any]:
    wait_s = row["wait_s"]
    return {
        "model": row["model"],
        "state": row["state"],
        "since": row["since"].isoformat(),
        "retry_after_s": max(0, int(-(-wait_s // 1))) if row["state"] == "open" and wait_s is not None else None,
        "reason": row["reason"],
        "processes": {},
    }


def _incident(at: datetime, data: Mapping[str, Any]) -> dict[str, Any]:
    """What everybody may know of an event: no process, no words of an engine."""
    return {"at": at.isoformat(), "engine": data["engine"], "model": data["model"], "from": data["from"], "to": data["to"], "reason": data["reason"]}


async def _state(engine: Engine) -> tuple[str, str]:
    try:
        async with asyncio.timeout(PATIENCE_S):
            await engine.check()
    except (EngineError, OSError, TimeoutError):
        return engine.name, "down"
    return engine.name, "up"
