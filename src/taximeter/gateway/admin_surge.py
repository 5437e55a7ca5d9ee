"""Admin: the audit of surge prices."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from taximeter.gateway import admin_views as views
from taximeter.gateway.admin_values import PageLimit
from taximeter.gateway.services import Services

_Engine = Annotated[str | None, Query(max_length=200, description="Of this engine alone.")]
_Before = Annotated[int | None, Query(ge=1, le=2**62, alias="cursor", description="The `next_cursor` of the page before.")]


def add_surge(admin: APIRouter, services: Services) -> None:
    """The routes."""

    @admin.get("/surge/changes", response_model=views.Page, tags=["Catalog"], summary="List changes of surge prices")
    async def list_changes(limit: PageLimit = 50, engine: _Engine = None, before: _Before = None) -> Any:  # noqa: ANN401 - response_model tells
        """Every change of a surge price, newest first: from what to what, at which load, by which policy.  Nothing is ever removed."""
        found = await services.surge.changes(engine, before, limit + 1)
        shown = found[:limit]
        cursor = str(shown[-1].number) if len(found) > limit else None
        return {"data": [change.to_api() for change in shown], "next_cursor": cursor}
