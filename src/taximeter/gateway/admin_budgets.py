"""The admin API of budgets: make, list, change and remove them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from taximeter.admission import budgets
from taximeter.gateway.admin_values import PageCursor, PageLimit
from taximeter.gateway.admin_views import KeyBudget, Page, Thresholds, Tokens
from taximeter.gateway.paging import cursor, page
from taximeter.gateway.services import Services
from taximeter.kernel.errors import InvalidRequest, NotFound
from taximeter.kernel.ids import decode_id
from taximeter.kernel.units import parse_tokens

PREFIX = "bud"


class NewBudgetBody(KeyBudget):
    """Body of ``POST /v1/admin/budgets``."""

    scope: Annotated[
        Literal["organisation", "project", "key", "end_user"], Field(description="Whom it bounds; that one's id is given, and no other.")
    ]
    organisation_id: str | None = None
    project_id: Annotated[str | None, Field(description="Of a project's budget, and of one of its end users.")] = None
    key_id: str | None = None
    end_user: Annotated[str | None, Field(description="The `user` of requests; null: each one that has none of his own with this window.")] = None


class BudgetChange(BaseModel):
    """Body of ``PATCH /v1/admin/budgets/{id}``; what is left out stays.  Everything else is another budget."""

    model_config = ConfigDict(extra="forbid")

    tokens: Tokens | None = None
    thresholds: Thresholds | None = None


class BudgetView(BaseModel):
    """A budget and what of it is used now; Tokens are decimal strings."""

    id: str
    object: Literal["budget"]
    scope: str
    organisation_id: str
    project_id: str | None
    key_id: str | None
    end_user: str | None
    window: str
    window_s: int | None
    tokens: str
    hard: bool
    thresholds: list[int]
    used: Annotated[str, Field(description="Charged in its window.")]
    held: Annotated[str, Field(description="Held by requests that run.")]
    left: Annotated[str, Field(description="What new requests may hold.")]
    since: Annotated[datetime, Field(description="From when on it counts.")]
    resets_at: Annotated[datetime | None, Field(description="When something comes back; null: nothing is used of a rolling window.")]
    default_id: Annotated[str | None, Field(description="The default that opened it for its end user.")]
    operator: str
    created_at: datetime
    removed_at: datetime | None


def add_budgets(admin: APIRouter, services: Services) -> None:
    """Everything under ``/v1/admin/budgets``."""
    service = services.budgets

    @admin.post("/budgets", status_code=201, response_model=BudgetView, tags=["Budgets"], summary="Make a budget")
    async def create_budget(body: NewBudgetBody) -> Any:  # noqa: ANN401 - response_model tells
        """Make a budget.  It counts from now on, and gateways see it within a second."""
        return (await service.create(_new(body, body.scope, _owners(body.organisation_id, body.project_id, body.key_id), body.end_user))).to_admin()

    @admin.get("/budgets", response_model=Page, tags=["Budgets"], summary="List budgets")
    async def list_budgets(
        organisation_id: str | None = None,
        project_id: str | None = None,
        key_id: str | None = None,
        end_user: Annotated[str | None, Query(description="Only this end user's; those that a default has opened are listed so alone.")] = None,
        limit: PageLimit = 50,
        after: PageCursor = None,
    ) -> Any:  # noqa: ANN401
        """Budgets with what is used of them, newest first."""
        found = await service.budgets(_owners(organisation_id, project_id, key_id), end_user, cursor(PREFIX, after), limit + 1)
        return page(found, limit, lambda state: state.to_admin())

    @admin.get("/budgets/{budget_id}", response_model=BudgetView, tags=["Budgets"], summary="Retrieve a budget")
    async def retrieve_budget(budget_id: str) -> Any:  # noqa: ANN401
        """A budget, a removed one too."""
        return (await service.budget(_id(budget_id))).to_admin()

    @admin.patch("/budgets/{budget_id}", response_model=BudgetView, tags=["Budgets"], summary="Change a budget")
    async def update_budget(budget_id: str, body: BudgetChange) -> Any:  # noqa: ANN401
        """Another limit or other thresholds, for what is used already too.  A default's are those of everyone whom it bounds."""
        limit_utok = None if body.tokens is None else _amount_utok(body.tokens)
        return (await service.change(_id(budget_id), limit_utok, body.thresholds)).to_admin()

    @admin.delete("/budgets/{budget_id}", response_model=BudgetView, tags=["Budgets"], summary="Remove a budget")
    async def delete_budget(budget_id: str) -> Any:  # noqa: ANN401
        """Remove a budget.  It bounds no new request within a second; what runs ends as it would have."""
        return (await service.remove(_id(budget_id))).to_admin()


def of_new_key(body: KeyBudget, key_id: UUID) -> budgets.NewBudget:
    """What the ``budget`` of a new key asks for.  Raises InvalidRequest."""
    return _new(body, "key", (None, None, key_id))


Owners = tuple[UUID | None, UUID | None, UUID | None]


def _new(body: KeyBudget, scope: budgets.Scope, owners: Owners, end_user: str | None = None) -> budgets.NewBudget:
    organisation_id, project_id, key_id = owners
    return budgets.NewBudget(
        scope=scope,
        organisation_id=organisation_id,
        project_id=project_id,
        key_id=key_id,
        end_user=end_user,
        limit_utok=_amount_utok(body.tokens),
        window=body.window,
        window_s=body.window_s,
        hard=body.hard,
        thresholds=tuple(body.thresholds),
        operator=body.sender,
    )


def _id(text: str) -> UUID:
    value = decode_id(PREFIX, text)
    if value is None:
        message = "There is no budget with this id, or it was removed."
        raise NotFound(message)
    return value


def _owners(organisation_id: str | None, project_id: str | None, key_id: str | None) -> Owners:
    return _owner("org", organisation_id, "organisation"), _owner("prj", project_id, "project"), _owner("key", key_id, "key")


def _owner(prefix: str, text: str | None, noun: str) -> UUID | None:
    value = None if text is None else decode_id(prefix, text)
    if value is None and text is not None:
        message = f"'{noun}_id' must be the id of {'an' if noun[0] == 'o' else 'a'} {noun} ({prefix}_...)."
        raise InvalidRequest(message, param=f"{noun}_id")
    return value


def _amount_utok(tokens: str | int) -> int:
    try:
        return parse_tokens(str(tokens))
    except ValueError as error:
        message = f"'tokens' must be a positive decimal number of Tokens: {error}."
        raise InvalidRequest(message, param="tokens") from error
