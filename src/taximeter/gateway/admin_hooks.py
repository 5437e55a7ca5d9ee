"""The admin API: events and webhooks."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt

from taximeter.gateway import admin_views as views
from taximeter.gateway.admin_values import PageCursor, PageLimit, object_id
from taximeter.gateway.paging import cursor, page
from taximeter.gateway.services import Services

Types = Annotated[
    list[str],
    Field(description="Types of events, or `approval.*` for all that begin so; empty: every type.  Others are refused.", examples=[["approval.*"]]),
]
Url = Annotated[str, Field(description="Where to, http or https.", examples=["https://example.com/hooks/taximeter"])]
KEEP_OLD_SECRET_S = 86_400


class NewWebhook(BaseModel):
    """Body of ``POST /v1/admin/webhooks``."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    types: Types = []
    project_id: Annotated[str | None, Field(description="Only what happens to this project (prj_...).")] = None
    organisation_id: Annotated[str | None, Field(description="Only what happens to this organisation's projects (org_...).")] = None


class WebhookChange(BaseModel):
    """Body of ``PATCH /v1/admin/webhooks/{id}``; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    types: Types | None = None
    disabled: Annotated[StrictBool | None, Field(description="False also takes back what a 410 has done; what waits is sent then.")] = None


class SecretRotation(BaseModel):
    """Body of ``POST /v1/admin/webhooks/{id}/rotate-secret``."""

    model_config = ConfigDict(extra="forbid")

    keep_s: Annotated[StrictInt, Field(description="For how long the old secret signs as well, in seconds.")] = KEEP_OLD_SECRET_S


class Nothing(BaseModel):
    """An empty body."""

    model_config = ConfigDict(extra="forbid")


def add_hooks(admin: APIRouter, services: Services) -> None:
    """Routes about events and webhooks."""
    _add_events(admin, services)
    _add_webhooks(admin, services)
    _add_deliveries(admin, services)


def _webhook(text: str) -> UUID:
    return object_id("whk", text, "webhook")


def _add_events(admin: APIRouter, services: Services) -> None:
    @admin.get("/events", response_model=views.Page, tags=["Events"], summary="List events")
    async def list_events(
        type: Annotated[str | None, Query(description="Only this type, or those that begin so: `approval`.")] = None,  # noqa: A002 - its public name
        project_id: str | None = None,
        limit: PageLimit = 50,
        after: PageCursor = None,
    ) -> Any:  # noqa: ANN401 - response_model tells
        """What happened, newest first, whether anybody was told or not."""
        project = None if project_id is None else object_id("prj", project_id, "project")
        found = await services.webhooks.events(cursor("evt", after), type, project, limit + 1)
        return page(found, limit, lambda event: event.to_api())


def _add_webhooks(admin: APIRouter, services: Services) -> None:
    webhooks = services.webhooks

    @admin.post("/webhooks", status_code=201, tags=["Events"], summary="Create a webhook")
    async def create_webhook(body: NewWebhook) -> dict[str, Any]:
        """Send events to an address, signed by the Standard Webhooks.  `secret` is in this answer and never shown again."""
        project = None if body.project_id is None else object_id("prj", body.project_id, "project")
        organisation = None if body.organisation_id is None else object_id("org", body.organisation_id, "organisation")
        return (await webhooks.create(body.url, body.types, project, organisation)).to_api(with_secret=True)

    @admin.get("/webhooks", response_model=views.Page, tags=["Events"], summary="List webhooks")
    async def list_webhooks(project_id: str | None = None, limit: PageLimit = 50, after: PageCursor = None) -> Any:  # noqa: ANN401
        """Newest first; with `project_id`, those of this project alone."""
        project = None if project_id is None else object_id("prj", project_id, "project")
        return page(await webhooks.list(cursor("whk", after), project, limit + 1), limit, lambda webhook: webhook.to_api())

    @admin.get("/webhooks/{webhook_id}", tags=["Events"], summary="Retrieve a webhook")
    async def retrieve_webhook(webhook_id: str) -> dict[str, Any]:
        """Retrieve a webhook, without its secret."""
        return (await webhooks.find(_webhook(webhook_id))).to_api()

    @admin.patch("/webhooks/{webhook_id}", tags=["Events"], summary="Change a webhook")
    async def update_webhook(webhook_id: str, body: WebhookChange) -> dict[str, Any]:
        """Change its address or types, or stop it and start it again."""
        return (await webhooks.change(_webhook(webhook_id), body.url, body.types, disabled=body.disabled)).to_api()

    @admin.delete("/webhooks/{webhook_id}", tags=["Events"], summary="Delete a webhook")
    async def delete_webhook(webhook_id: str) -> dict[str, Any]:
        """Delete it, its secrets and its deliveries; the events stay."""
        await webhooks.delete(_webhook(webhook_id))
        return {"id": webhook_id, "object": "webhook.deleted", "deleted": True}

    @admin.post("/webhooks/{webhook_id}/rotate-secret", tags=["Events"], summary="Rotate a webhook's secret")
    async def rotate_secret(webhook_id: str, body: SecretRotation) -> dict[str, Any]:
        """Make another secret, which is in this answer; for a while both sign."""
        return (await webhooks.rotate(_webhook(webhook_id), body.keep_s)).to_api(with_secret=True)

    @admin.post("/webhooks/{webhook_id}/test", status_code=202, tags=["Events"], summary="Test a webhook")
    async def test_webhook(webhook_id: str, body: Nothing | None = None) -> dict[str, Any]:
        """Send it an event of the type `webhook.test`, whatever its types are; its deliveries tell what became of it."""
        del body  # Its absence of members was checked.
        return await webhooks.test(_webhook(webhook_id))


def _add_deliveries(admin: APIRouter, services: Services) -> None:
    webhooks = services.webhooks

    @admin.get("/webhooks/{webhook_id}/deliveries", response_model=views.Page, tags=["Events"], summary="List a webhook's deliveries")
    async def list_deliveries(
        webhook_id: str, state: Literal["pending", "delivered", "failed"] | None = None, limit: PageLimit = 50, after: PageCursor = None
    ) -> Any:  # noqa: ANN401
        """Newest first, with every attempt that was made."""
        found = await webhooks.deliveries(_webhook(webhook_id), cursor("dlv", after), state, limit + 1)
        return page(found, limit, lambda delivery: delivery.to_api())

    @admin.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/resend", status_code=202, tags=["Events"], summary="Send an event again")
    async def resend_delivery(webhook_id: str, delivery_id: str, body: Nothing | None = None) -> dict[str, Any]:
        """Send an event again under the same `webhook-id`, from the first attempt on, whether it was delivered or given up."""
        del body  # Its absence of members was checked.
        return (await webhooks.resend(_webhook(webhook_id), object_id("dlv", delivery_id, "delivery"))).to_api()

    @admin.post("/webhooks/{webhook_id}/resend-failed", status_code=202, tags=["Events"], summary="Send again what was given up")
    async def resend_failed(webhook_id: str, body: Nothing | None = None) -> dict[str, Any]:
        """Send all events again that were given up, after the receiver was repaired."""
        del body  # Its absence of members was checked.
        return {"resent": await webhooks.resend_failed(_webhook(webhook_id))}
