"""What operators may see and do of circuit breakers."""

from typing import Any

from taximeter.admission.breakers.service import Breakers
from taximeter.admission.breakers.store import BreakerStore
from taximeter.kernel.errors import NotFound


class Resets:
    """Lists the breakers of all processes, and closes them by hand.

    Args:
        breakers: of this process.
        store: of all.
    """

    def __init__(self, breakers: Breakers, store: BreakerStore) -> None:
        self._breakers = breakers
        self._store = store

    async def list_all(self) -> list[dict[str, Any]]:
        """Every breaker of every living process."""
        return [
            {
                "object": "breaker",
                "engine": row["engine"],
                "model": row["model"],
                "process": str(row["process_id"]),
                "process_kind": row["process_kind"],
                "state": row["state"],
                "since": row["since"].isoformat(),
                "failures": row["failures"],
                "openings": row["openings"],
                "retry_after_s": None if row["wait_s"] is None or row["wait_s"] <= 0 else int(-(-row["wait_s"] // 1)),
                "reason": row["reason"],
            }
            for row in await self._store.list_all()
        ]

    async def reset(self, engine: str, model: str, operator: str) -> dict[str, Any]:
        """Close a breaker in every process: here at once, elsewhere with the next heartbeat.  Raises NotFound."""
        if not await self._store.reset(engine, model, operator):
            message = "No living process has a circuit breaker for this engine and model; `taximeter health` and GET /v1/admin/breakers list them."
            raise NotFound(message)
        self._breakers.reset(engine, model)
        return {"object": "breaker.reset", "engine": engine, "model": model, "operator": operator}
