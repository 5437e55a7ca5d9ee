"""The admin API: requests that wait for an operator."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field

from taximeter.gateway import admin_views as views
from taximeter.gateway.admin_values import PageCursor, PageLimit, object_id
from taximeter.gateway.paging import cursor, page
from taximeter.gateway.services import Services


class Approving(views.Signed):
    """Body of ``POST /v1/admin/approvals/{id}/approve``."""

    reason: Annotated[str | None, Field(description="Why, up to 500 characters.")] = None


class Declining(views.Signed):
    """Body of ``POST /v1/admin/approvals/{id}/decline``."""

    reason: Annotated[str, Field(description="Why, 1 to 500 characters; whoever asked reads it.")]


def add_approvals(admin: APIRouter, services: Services) -> None:
    """Routes about approvals."""

    @admin.get("/approvals", response_model=views.Page, tags=["Approvals"], summary="List approvals")
    async def list_approvals(
        state: Literal["pending", "approved", "declined", "expired", "withdrawn", "used"] | None = None,
        project_id: str | None = None,
        limit: PageLimit = 50,
        after: PageCursor = None,
    ) -> Any:  # noqa: ANN401 - response_model tells
        """Requests above their plan's cap, newest first; `state=pending` are those that wait."""
        project = None if project_id is None else object_id("prj", project_id, "project")
        return page(await services.videos.approvals.list(cursor("apr", after), project, state, limit + 1), limit, lambda approval: approval.to_api())

    @admin.get("/approvals/{approval_id}", tags=["Approvals"], summary="Retrieve an approval")
    async def retrieve_approval(approval_id: str) -> dict[str, Any]:
        """One of them, with its signed quote and every state that it was in."""
        approval = await services.videos.approvals.find(_approval(approval_id))
        return {**approval.to_api(), "offer": approval.offer, "history": list(await services.videos.approvals.history(approval.id))}

    @admin.post("/approvals/{approval_id}/approve", tags=["Approvals"], summary="Approve a request")
    async def approve(approval_id: str, body: Approving) -> dict[str, Any]:
        """Let it run at its quoted price.

        A video is held and queued now, in the same transaction; when its wallet does not cover it, it goes on waiting and the reason
        stands in `problem`. Another request runs when its sender sends it again with its quote. Approving twice is as good as once.
        """
        return (await services.videos.approvals.approve(_approval(approval_id), body.sender, body.reason)).to_api()

    @admin.post("/approvals/{approval_id}/decline", tags=["Approvals"], summary="Decline a request")
    async def decline(approval_id: str, body: Declining) -> dict[str, Any]:
        """Do not let it run. Declining twice is as good as once."""
        return (await services.videos.approvals.decline(_approval(approval_id), body.sender, body.reason)).to_api()


def _approval(text: str) -> UUID:
    return object_id("apr", text, "approval")
