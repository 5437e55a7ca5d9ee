"""The admin API of circuit breakers."""

from typing import Any

from fastapi import APIRouter

from taximeter.gateway import admin_views as views
from taximeter.gateway.admin_values import OPERATOR, Sender
from taximeter.gateway.services import Services


def add_health(admin: APIRouter, services: Services) -> None:
    """The routes under ``/v1/admin/breakers``."""

    @admin.get("/breakers", response_model=views.Page, tags=["Health"], summary="List circuit breakers")
    async def list_breakers() -> Any:  # noqa: ANN401 - response_model tells
        """What every living process sees of every engine and version of a model that it has called."""
        return {"data": await services.resets.list_all(), "next_cursor": None}

    @admin.post("/breakers/{engine}/{model}/reset", tags=["Health"], summary="Close a circuit breaker")
    async def reset_breaker(engine: str, model: str, operator: Sender = OPERATOR) -> dict[str, Any]:
        """Close it in every process: here at once, elsewhere with the next heartbeat.  `model` is a version, `name@version`."""
        return await services.resets.reset(engine, model, operator)
