"""The admin API's part about plans and wallets: subscriptions, grants, corrections, payments, credit lines, time zones."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, Protocol
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from taximeter.admission import plans
from taximeter.gateway import admin_views as views
from taximeter.gateway.admin_values import OPERATOR, PageCursor, PageLimit, Sender, amount_utok, object_id
from taximeter.gateway.paging import cursor, page
from taximeter.gateway.services import Services
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens

CHANGES_MAX = 100
GRANT_TERMS = frozenset({"starts_at", "expires_at", "priority", "modality", "kind"})


class Explained(Protocol):
    """A body that says who and why."""

    @property
    def reference(self) -> str | None: ...  # noqa: D102
    @property
    def reason(self) -> str | None: ...  # noqa: D102
    @property
    def sender(self) -> str: ...  # noqa: D102


class OrganisationChange(BaseModel):
    """Body of ``PATCH /v1/admin/organisations/{id}``."""

    model_config = ConfigDict(extra="forbid")

    time_zone: views.TimeZone


class NewGrant(views.NewTopUp):
    """Body of ``POST /v1/admin/projects/{id}/grants``.  Without any terms the Tokens go to the allowance, and do not expire."""

    starts_at: Annotated[datetime | None, Field(description="From when on they may be spent, with a time zone; null: now.")] = None
    expires_at: Annotated[datetime | None, Field(description="From when on they may not; null: never.")] = None
    priority: Annotated[StrictInt, Field(description="Of grants that expire together the lowest is spent first; 0 to 100.")] = 50
    modality: Annotated[str | None, Field(description="What alone they may be spent on; null: anything.", examples=["speech"])] = None
    kind: Annotated[Literal["manual", "promotional"], Field(description="What it is, for reports.")] = "manual"


class NewEntry(views.NewTopUp):
    """Body of ``POST /v1/admin/projects/{id}/payments``."""


class NewCorrection(NewEntry):
    """Body of ``POST /v1/admin/projects/{id}/corrections``: Tokens to put on the wallet or, with a minus, to take."""

    reason: Annotated[str, Field(description="Why; it is kept with the entry.", min_length=1, max_length=500)]


class NewCreditLine(views.Signed):
    """Body of ``POST /v1/admin/projects/{id}/credit-line``."""

    tokens: Annotated[views.Tokens | None, Field(description="How far the wallet may go below nothing; null: no bound.")]
    reference: views.Metadata = None
    reason: views.Reason = None


class NewSubscription(views.Signed):
    """Body of ``POST /v1/admin/projects/{id}/subscription``."""

    plan: Annotated[str, Field(description="A plan of the catalog.", examples=["standard"])]
    when: Annotated[
        Literal["now", "period_end"] | None,
        Field(description="For a change of plan.  Left out: more of the same begins now, anything else when the period ends."),
    ] = None
    anchor: Annotated[
        date | None, Field(description="Where a period begins: the day that months are counted from (today).  In the middle of one it is refused.")
    ] = None


def by(body: Explained) -> plans.By:
    """Who sends a body, and why."""
    return plans.By(operator=body.sender, reason=body.reason or "", reference=body.reference or "")


async def subscribe(services: Services, project_id: UUID, plan: str | None, operator: str) -> None:
    """Subscribe a project to the plan that it is to have, if there is one: a name that stands for list prices alone is none."""
    if plan is not None and plan in services.catalog().plans:
        await services.plans.subscribe(project_id, plan, plans.By(operator=operator))


def add_plans(admin: APIRouter, services: Services) -> None:
    """Everything about plans and wallets."""
    _add_zones(admin, services)
    _add_subscriptions(admin, services)
    _add_grants(admin, services)
    _add_entries(admin, services)


def _add_zones(admin: APIRouter, services: Services) -> None:
    @admin.patch(
        "/organisations/{organisation_id}",
        response_model=views.OrganisationView,
        tags=["Organisations"],
        summary="Change an organisation's time zone",
    )
    async def update_organisation(organisation_id: str, body: OrganisationChange) -> Any:  # noqa: ANN401 - response_model tells
        """Say where an organisation is.  Periods that run keep their end; the next ones end at midnight there."""
        organisation = object_id("org", organisation_id, "organisation")
        await services.plans.set_zone(organisation, body.time_zone)
        return views.organisation_view(await services.identity.organisation(organisation))


def _add_subscriptions(admin: APIRouter, services: Services) -> None:
    @admin.post("/projects/{project_id}/subscription", status_code=201, tags=["Plans"], summary="Subscribe to a plan")
    async def create_subscription(project_id: str, body: NewSubscription) -> dict[str, Any]:
        """Give a project a plan, or another one.  What a Token costs follows the plan at once, its allowance as `when` says."""
        project = object_id("prj", project_id, "project")
        services.catalog().check_buyer(body.plan, None)
        await services.plans.subscribe(project, body.plan, plans.By(operator=body.sender), when=body.when, anchor=body.anchor)
        await services.identity.change_project(project, body.plan, None)
        wallet: dict[str, Any] = await services.tenancy.wallet(project)
        return wallet

    @admin.get("/projects/{project_id}/subscription", tags=["Plans"], summary="Retrieve a subscription")
    async def retrieve_subscription(project_id: str) -> dict[str, Any]:
        """The plan that a project has subscribed to, if any, and what became of its subscriptions so far, newest first."""
        project = object_id("prj", project_id, "project")
        wallet = await services.tenancy.wallet(project)
        return {"subscription": wallet["subscription"], "changes": [_change(row) for row in await services.plans.changes(project, CHANGES_MAX)]}

    @admin.delete("/projects/{project_id}/subscription", tags=["Plans"], summary="End a subscription")
    async def delete_subscription(project_id: str, operator: Sender = OPERATOR) -> dict[str, Any]:
        """End it at once: nothing more is granted or lent.  What was granted may be used to its end."""
        project = object_id("prj", project_id, "project")
        await services.plans.unsubscribe(project, plans.By(operator=operator))
        wallet: dict[str, Any] = await services.tenancy.wallet(project)
        return wallet


def _add_grants(admin: APIRouter, services: Services) -> None:
    @admin.post("/projects/{project_id}/grants", status_code=201, tags=["Wallets"], summary="Grant Tokens")
    async def create_grant(project_id: str, body: NewGrant) -> dict[str, Any]:
        """Give Tokens: on terms, or else to the allowance, which is spent before what was bought and never expires."""
        project = object_id("prj", project_id, "project")
        amount = amount_utok(body.tokens)
        if not body.model_fields_set & GRANT_TERMS:
            plain = None if body.reason is None and body.operator is None else by(body)
            result: dict[str, Any] = await services.tenancy.grant(project, amount, body.reference or "", plain)
            return result
        order = plans.GrantOrder(
            amount_utok=amount, kind=body.kind, starts_at=body.starts_at, expires_at=body.expires_at, priority=body.priority, modality=body.modality
        )
        grant, replayed = await services.plans.give(project, order, by(body))
        made = {"project_id": project_id, "reference": body.reference, "replayed": replayed, "wallet": await services.tenancy.wallet(project)}
        return {**_grant(grant), **made}

    @admin.get("/projects/{project_id}/grants", response_model=views.Page, tags=["Wallets"], summary="List grants")
    async def list_grants(
        project_id: str, *, ended: Annotated[bool, Query(description="Also those that are used up or have expired.")] = False
    ) -> Any:  # noqa: ANN401
        """Grants on terms, in the order in which they are spent."""
        project = object_id("prj", project_id, "project")
        await services.identity.project(project)
        found = await services.tenancy.purse(project, ended=ended)
        return {"data": [_grant(grant) for grant in found.grants], "next_cursor": None}


def _add_entries(admin: APIRouter, services: Services) -> None:
    @admin.post("/projects/{project_id}/corrections", status_code=201, tags=["Wallets"], summary="Correct a wallet")
    async def create_correction(project_id: str, body: NewCorrection) -> dict[str, Any]:
        """Put Tokens on a wallet or, with a minus, take them: what was bought first, then the allowance.  The same reference is booked once."""
        project = object_id("prj", project_id, "project")
        text = str(body.tokens)
        amount = amount_utok(text.removeprefix("-")) * (-1 if text.startswith("-") else 1)
        correction, replayed = await services.plans.correct(project, amount, by(body))
        return await _entry("correction", correction, project, amount, replayed=replayed)

    @admin.post("/projects/{project_id}/payments", status_code=201, tags=["Wallets"], summary="Book a payment")
    async def create_payment(project_id: str, body: NewEntry) -> dict[str, Any]:
        """Book what a postpaid project has paid: it owes less.  What is paid above that is bought Tokens."""
        project = object_id("prj", project_id, "project")
        amount = amount_utok(body.tokens)
        payment, _, replayed = await services.plans.pay(project, amount, by(body))
        return await _entry("payment", payment, project, amount, replayed=replayed)

    @admin.post("/projects/{project_id}/credit-line", tags=["Wallets"], summary="Agree on a credit line")
    async def set_credit_line(project_id: str, body: NewCreditLine) -> dict[str, Any]:
        """Let a wallet go this far below nothing.  Not below what is owed."""
        project = object_id("prj", project_id, "project")
        await services.plans.set_line(project, None if body.tokens is None else amount_utok(body.tokens), by(body))
        wallet: dict[str, Any] = await services.tenancy.wallet(project)
        return wallet

    @admin.get("/projects/{project_id}/adjustments", response_model=views.Page, tags=["Wallets"], summary="List entries of people and plans")
    async def list_adjustments(
        project_id: str,
        limit: PageLimit = 50,
        after: PageCursor = None,
    ) -> Any:  # noqa: ANN401
        """Corrections, payments, proration, credit lines, and top-ups and grants with a reason: who did it, and why."""
        project = object_id("prj", project_id, "project")
        await services.identity.project(project)
        found = await services.plans.adjustments(project, cursor("adj", after), limit + 1)
        return page(found, limit, _adjustment)

    async def _entry(kind: str, entry_id: UUID, project_id: UUID, amount: int, *, replayed: bool) -> dict[str, Any]:
        return {
            "id": encode_id("adj", entry_id),
            "object": kind,
            "project_id": encode_id("prj", project_id),
            "tokens": format_tokens(amount),
            "replayed": replayed,
            "wallet": await services.tenancy.wallet(project_id),
        }


def _grant(grant: plans.Grant) -> dict[str, Any]:
    return {
        "id": encode_id("grt", grant.id),
        "object": "grant",
        "kind": grant.kind,
        "tokens": format_tokens(grant.amount_utok),
        "remaining": format_tokens(grant.free_utok),
        "held": format_tokens(grant.held_utok),
        "starts_at": grant.starts_at.isoformat(),
        "expires_at": None if grant.expires_at is None else grant.expires_at.isoformat(),
        "priority": grant.priority,
        "modality": grant.modality,
        "plan": grant.plan,
        "reason": grant.reason,
        "operator": grant.operator,
        "created_at": grant.created_at.isoformat(),
        "closed_at": None if grant.closed_at is None else grant.closed_at.isoformat(),
    }


def _adjustment(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of the statement
    return {
        "id": encode_id("adj", row["id"]),
        "kind": row["kind"],
        "tokens": format_tokens(row["amount_utok"]),
        "reason": row["reason"],
        "operator": row["operator"],
        "reference": row["reference"],
        "created_at": row["created_at"].isoformat(),
    }


def _change(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of the statement
    return {
        "event": row["event"],
        "plan": row["plan"],
        "plan_before": row["plan_before"],
        "period_start": row["period_start"].isoformat(),
        "period_end": row["period_end"].isoformat(),
        "operator": row["operator"],
        "created_at": row["created_at"].isoformat(),
    }
