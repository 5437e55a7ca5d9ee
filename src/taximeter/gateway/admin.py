"""The admin API: organisations, projects, keys, top-ups, grants, refunds, and the catalog as it stands."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query
from fastapi.security import HTTPBearer
from starlette.requests import Request

from taximeter.gateway import admin_views as views
from taximeter.gateway import catalog_views
from taximeter.gateway.admin_approvals import add_approvals
from taximeter.gateway.admin_budgets import add_budgets, of_new_key
from taximeter.gateway.admin_health import add_health
from taximeter.gateway.admin_hooks import add_hooks
from taximeter.gateway.admin_limits import add_limits
from taximeter.gateway.admin_plans import add_plans, by, subscribe
from taximeter.gateway.admin_route import admin_route
from taximeter.gateway.admin_surge import add_surge
from taximeter.gateway.admin_values import PageCursor, PageLimit, amount_utok, object_id
from taximeter.gateway.native import span
from taximeter.gateway.paging import cursor, page
from taximeter.gateway.services import Services
from taximeter.identity import KeyLimits, Project
from taximeter.kernel.clock import Clock, utc_from_ms

DRIFT_DAYS = 7
DRIFT_DAYS_MAX = 31


def router(services: Services, clock: Clock) -> APIRouter:
    """Everything under ``/v1/admin``."""
    # The route class checks the key; this only tells the OpenAPI document that there is one.
    key = HTTPBearer(auto_error=False, scheme_name="AdminKey", description="The admin key.")
    admin = APIRouter(prefix="/v1/admin", route_class=admin_route(services), dependencies=[Depends(key)])
    _add_organisations(admin, services)
    _add_projects(admin, services)
    _add_keys(admin, services)
    _add_wallets(admin, services)
    add_plans(admin, services)
    _add_refunds(admin, services)
    _add_jobs(admin, services)
    _add_drift(admin, services, clock)
    _add_catalog(admin, services)
    add_limits(admin, services)
    add_budgets(admin, services)
    add_hooks(admin, services)
    add_approvals(admin, services)
    add_surge(admin, services)
    add_health(admin, services)
    return admin


def _add_organisations(admin: APIRouter, services: Services) -> None:
    @admin.post("/organisations", status_code=201, response_model=views.OrganisationView, tags=["Organisations"], summary="Create an organisation")
    async def create_organisation(body: views.NewOrganisation) -> Any:  # noqa: ANN401 - response_model tells
        """Create an organisation."""
        made = await services.tenancy.create_organisation(body.name, body.time_zone)
        return views.organisation_view(made)

    @admin.get("/organisations", response_model=views.Page, tags=["Organisations"], summary="List organisations")
    async def list_organisations(limit: PageLimit = 50, after: PageCursor = None) -> Any:  # noqa: ANN401
        """List organisations, newest first."""
        found = await services.identity.organisations(cursor("org", after), limit + 1)
        return page(found, limit, views.organisation_view)


def _add_projects(admin: APIRouter, services: Services) -> None:
    async def shown(project: Project) -> dict[str, Any]:
        return views.project_view(project, (await services.plans.subscribed([project.id])).get(project.id))

    @admin.post("/projects", status_code=201, response_model=views.ProjectView, tags=["Projects"], summary="Create a project")
    async def create_project(body: views.NewProject) -> Any:  # noqa: ANN401
        """Create a project with an empty wallet, or with what the plan gives that it is to have."""
        text = body.organisation_id
        organisation_id = None if text is None else object_id("org", text, "organisation")
        services.catalog().check_buyer(body.plan, body.currency)
        project = await services.tenancy.create_project(organisation_id, body.name, body.plan, body.currency)
        await subscribe(services, project.id, body.plan, body.sender)
        return await shown(project)

    @admin.patch("/projects/{project_id}", response_model=views.ProjectView, tags=["Projects"], summary="Change a project's plan or currency")
    async def update_project(project_id: str, body: views.ProjectChange) -> Any:  # noqa: ANN401
        """Give a project another plan or currency, from its next request on; gateways see it within one second.

        It subscribes to the plan as `POST .../subscription` does.
        """
        project = object_id("prj", project_id, "project")
        services.catalog().check_buyer(body.plan, body.currency)
        await services.identity.project(project)
        await subscribe(services, project, body.plan, body.sender)
        return await shown(await services.identity.change_project(project, body.plan, body.currency))

    @admin.get("/projects", response_model=views.Page, tags=["Projects"], summary="List projects")
    async def list_projects(organisation_id: str | None = None, limit: PageLimit = 50, after: PageCursor = None) -> Any:  # noqa: ANN401
        """List projects, newest first, each with the plan whose prices it pays and with its subscription, if it has one."""
        owner = None if organisation_id is None else object_id("org", organisation_id, "organisation")
        found = await services.identity.projects(cursor("prj", after), owner, limit + 1)
        subscribed = await services.plans.subscribed([project.id for project in found])
        return page(found, limit, lambda project: views.project_view(project, subscribed.get(project.id)))

    @admin.get("/projects/{project_id}", response_model=views.ProjectView, tags=["Projects"], summary="Retrieve a project")
    async def retrieve_project(project_id: str) -> Any:  # noqa: ANN401
        """Retrieve a project."""
        return await shown(await services.identity.project(object_id("prj", project_id, "project")))


def _add_keys(admin: APIRouter, services: Services) -> None:
    @admin.post("/projects/{project_id}/keys", status_code=201, response_model=views.IssuedKeyView, tags=["Keys"], summary="Issue a key")
    async def create_key(project_id: str, body: views.NewKey) -> Any:  # noqa: ANN401
        """Issue a key.  Its text, `key`, is in this answer and never shown again."""
        project = object_id("prj", project_id, "project")
        tokens_utok = None if body.tokens_per_minute is None else amount_utok(body.tokens_per_minute, "tokens_per_minute")
        limits = KeyLimits(requests_per_minute=body.requests_per_minute, tokens_per_minute_utok=tokens_utok)
        return views.issued_key_view(
            await services.identity.issue_key(project, body.name, body.expires_at, limits, _beside_key(services, body.budget))
        )

    @admin.get("/projects/{project_id}/keys", response_model=views.Page, tags=["Keys"], summary="List keys")
    async def list_keys(project_id: str, limit: PageLimit = 50, after: PageCursor = None) -> Any:  # noqa: ANN401
        """List a project's keys, newest first, revoked ones included."""
        found = await services.identity.keys(object_id("prj", project_id, "project"), cursor("key", after), limit + 1)
        return page(found, limit, views.key_view)

    @admin.delete("/projects/{project_id}/keys/{key_id}", response_model=views.KeyView, tags=["Keys"], summary="Revoke a key")
    async def revoke_key(project_id: str, key_id: str) -> Any:  # noqa: ANN401
        """Revoke a key.  Every gateway refuses it within one second."""
        revoked = await services.identity.revoke_key(object_id("prj", project_id, "project"), object_id("key", key_id, "key"))
        return views.key_view(revoked)


def _beside_key(services: Services, wanted: views.KeyBudget | None) -> Callable[[Any, UUID], Awaitable[None]] | None:
    """What is written in one transaction with a key: all of it or none."""
    if wanted is None:
        return None

    async def write(connection: Any, key_id: UUID) -> None:  # noqa: ANN401 - the transaction
        await services.budgets.create_beside(connection, of_new_key(wanted, key_id))

    return write


def _add_wallets(admin: APIRouter, services: Services) -> None:
    @admin.post("/projects/{project_id}/top-ups", status_code=201, tags=["Wallets"], summary="Top up a wallet")
    async def create_top_up(project_id: str, body: views.NewTopUp) -> dict[str, Any]:
        """Add prepaid Tokens to a project's wallet."""
        project = object_id("prj", project_id, "project")
        result: dict[str, Any] = await services.tenancy.top_up(
            project, amount_utok(body.tokens), body.reference or "", None if body.reason is None and body.operator is None else by(body)
        )
        return result

    @admin.get("/projects/{project_id}/wallet", tags=["Wallets"], summary="Retrieve a wallet")
    async def retrieve_wallet(project_id: str) -> dict[str, Any]:
        """What a project's wallet holds."""
        wallet: dict[str, Any] = await services.tenancy.wallet(object_id("prj", project_id, "project"))
        return wallet


def _add_refunds(admin: APIRouter, services: Services) -> None:
    refunds = services.records.refunds

    @admin.post("/receipts/{receipt_id}/refunds", status_code=201, tags=["Refunds"], summary="Refund a receipt")
    async def create_refund(
        receipt_id: str, body: views.NewRefund, idempotency_key: Annotated[str | None, Header(description="Stands in for `reference`.")] = None
    ) -> dict[str, Any]:
        """Give back what a settled request was charged, or a part of it.  The same reference is booked once."""
        refund = await refunds.make(
            object_id("rcp", receipt_id, "receipt"),
            None if body.tokens is None else amount_utok(body.tokens),
            reason=body.reason,
            operator=body.sender,
            reference=body.reference or idempotency_key or "",
        )
        return {**refund.to_api(), "replayed": refund.replayed}

    @admin.get("/receipts/{receipt_id}/refunds", response_model=views.Page, tags=["Refunds"], summary="List a receipt's refunds")
    async def list_refunds(receipt_id: str) -> Any:  # noqa: ANN401
        """What was given back for one request, oldest first."""
        return {"data": [refund.to_api() for refund in await refunds.list(object_id("rcp", receipt_id, "receipt"))], "next_cursor": None}


def _add_jobs(admin: APIRouter, services: Services) -> None:
    @admin.get("/jobs", response_model=views.Page, tags=["Jobs"], summary="List jobs whose provider gives no answer")
    async def list_jobs(state: Literal["unknown", "never_known", "unpaid"] = "unknown", limit: PageLimit = 50, after: PageCursor = None) -> Any:  # noqa: ANN401
        """Jobs at providers, newest first.

        `unknown` ones give no answer now, `never_known` ones were released without one, `unpaid` ones were completed by their
        provider and charged to nobody.
        """
        found = await services.videos.at_providers(state, cursor("video", after), limit + 1)
        return page(found, limit, lambda view: view.to_api())


def _add_drift(admin: APIRouter, services: Services, clock: Clock) -> None:
    @admin.get("/drift", response_model=views.DriftPage, tags=["Drift"], summary="Compare estimates with what was counted")
    async def list_drift(
        request: Request,
        start: Annotated[str | None, Query(alias="from", description=f"Day or time; {DRIFT_DAYS} days before `to`.")] = None,
        end: Annotated[str | None, Query(alias="to", description="Day (included) or time; today.")] = None,
        model: Annotated[str | None, Query(description="Only this model.")] = None,
    ) -> Any:  # noqa: ANN401
        """Tokens of chats as they were expected, beside those that were counted, by model."""
        del start, end  # Read below, as everywhere else; named here for the reference.
        first, after = span(request, utc_from_ms(clock.now_ms()), DRIFT_DAYS, DRIFT_DAYS_MAX)
        found = await services.records.drift(first, after, model)
        return {"from": first.isoformat(), "to": after.isoformat(), "data": [drift.to_api() for drift in found]}


def _add_catalog(admin: APIRouter, services: Services) -> None:
    """What is published is shown here; it is published with ``taximeter apply``."""

    @admin.get("/models", response_model=views.Page, tags=["Catalog"], summary="List models")
    async def list_models() -> Any:  # noqa: ANN401
        """Every published version, with its cards; `state` tells those in force from past and future ones."""
        return {"data": catalog_views.models(services.catalog()), "next_cursor": None}

    @admin.get("/rate-cards", response_model=views.Page, tags=["Catalog"], summary="List rate cards")
    async def list_rate_cards() -> Any:  # noqa: ANN401
        """Every published version; `state` tells those in force from past and future ones."""
        return {"data": catalog_views.rate_cards(services.catalog()), "next_cursor": None}

    @admin.get("/tariffs", response_model=views.Page, tags=["Catalog"], summary="List tariffs")
    async def list_tariffs() -> Any:  # noqa: ANN401
        """Every published version; `state` tells those in force from past and future ones."""
        return {"data": catalog_views.tariffs(services.catalog()), "next_cursor": None}

    @admin.get("/plans", response_model=views.Page, tags=["Catalog"], summary="List plans")
    async def list_plans() -> Any:  # noqa: ANN401
        """Every published version; `state` tells those in force from past and future ones."""
        return {"data": catalog_views.plans(services.catalog()), "next_cursor": None}
