"""The admin API of limits: of keys, projects and models."""

from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, Field, StrictBool, StrictInt

from taximeter.admission import limits
from taximeter.gateway import admin_views as views
from taximeter.gateway.admin_values import OPERATOR, PageCursor, PageLimit, Sender, amount_utok, object_id
from taximeter.gateway.paging import cursor, page
from taximeter.gateway.services import Services
from taximeter.identity import KeyLimits
from taximeter.kernel.errors import InvalidRequest

WINDOW_S = 60


class NewLimit(views.Signed):
    """Body of ``POST /v1/admin/limits``."""

    scope: Annotated[Literal["key", "project", "model"], Field(description="Whom it limits; `model`: everybody who asks for the model.")]
    project_id: Annotated[str | None, Field(description="With `project` (prj_...).")] = None
    key_id: Annotated[str | None, Field(description="With `key` (key_...).")] = None
    model: Annotated[str | None, Field(description="The only model that it is about; without it, all of them.")] = None
    kind: Annotated[Literal["requests", "tokens", "concurrency"], Field(description="What is counted; `concurrency`: requests at the same time.")]
    most: Annotated[views.Tokens, Field(description="How many: a whole number, with `tokens` a decimal one too.", examples=["600"])]
    window: Annotated[StrictInt | None, Field(description=f"In how many seconds; {WINDOW_S} unless told, not for `concurrency`.")] = None
    shadow: Annotated[StrictBool, Field(description="It only counts what it would refuse.")] = False


class KeyChange(views.Signed):
    """Body of ``PATCH /v1/admin/projects/{id}/keys/{id}``; what is left out stays."""

    requests_per_minute: Annotated[StrictInt | None, Field(description="At most so many requests a minute; null: no limit.")] = None
    tokens_per_minute: Annotated[views.Tokens | None, Field(description="At most so many Tokens a minute; null: no limit.")] = None


class LimitView(BaseModel):
    """A limit."""

    id: str
    scope: str
    project_id: str | None
    key_id: str | None
    model: str | None
    kind: str
    most: Annotated[str, Field(description="Requests, Tokens, or requests at the same time.")]
    window: Annotated[int | None, Field(description="Seconds.")]
    shadow: bool
    would_have_refused: Annotated[int | None, Field(description="By a shadow, since it was set, of requests that ran.")]
    operator: str
    created_at: str
    changed_at: str


class ShadowDays(BaseModel):
    """Answer of ``GET /v1/admin/limits/{id}/refusals``."""

    data: list[dict[str, Any]]


def add_limits(admin: APIRouter, services: Services) -> None:
    """The routes of limits."""

    @admin.post("/limits", response_model=LimitView, tags=["Limits"], summary="Set a limit")
    async def set_limit(body: NewLimit) -> Any:  # noqa: ANN401 - response_model tells
        """Set a limit, or give the same one (scope, whose, model, kind, window, shadow) another height.  Gateways keep it within one second."""
        return (await services.limits.set(_order(services, body))).to_api()

    @admin.get("/limits", response_model=views.Page, tags=["Limits"], summary="List limits")
    async def list_limits(
        project_id: str | None = None,
        key_id: str | None = None,
        model: str | None = None,
        limit: PageLimit = 50,
        after: PageCursor = None,
    ) -> Any:  # noqa: ANN401
        """Limits in force, newest first: all, or those of a project and its keys, of a key, or about a model."""
        project = None if project_id is None else object_id("prj", project_id, "project")
        key = None if key_id is None else object_id("key", key_id, "key")
        found = await services.limits.in_force(cursor(limits.LIMIT_PREFIX, after), limit + 1, project=project, key=key, model=model)
        return page(found, limit, lambda each: each.to_api())

    @admin.delete("/limits/{limit_id}", response_model=LimitView, tags=["Limits"], summary="Remove a limit")
    async def remove_limit(limit_id: str, operator: Sender = OPERATOR) -> Any:  # noqa: ANN401
        """Remove a limit.  Every gateway has forgotten it within one second."""
        return (await services.limits.remove(object_id(limits.LIMIT_PREFIX, limit_id, "limit"), operator)).to_api()

    @admin.get("/limits/{limit_id}/refusals", response_model=ShadowDays, tags=["Limits"], summary="What a shadow would have refused")
    async def list_refusals(limit_id: str) -> Any:  # noqa: ANN401
        """By day, latest first: what a shadow would have refused of the requests that ran."""
        return {"data": await services.limits.refused_by_day(object_id(limits.LIMIT_PREFIX, limit_id, "limit"))}

    @admin.patch("/projects/{project_id}/keys/{key_id}", response_model=views.KeyView, tags=["Keys"], summary="Change a key's limits")
    async def update_key(project_id: str, key_id: str, body: KeyChange) -> Any:  # noqa: ANN401
        """Give a key other limits, from its next request on; gateways see it within one second."""
        changes: dict[str, int | None] = {}
        if "requests_per_minute" in body.model_fields_set:
            changes["requests_per_minute"] = body.requests_per_minute
        if "tokens_per_minute" in body.model_fields_set:
            tokens = body.tokens_per_minute
            changes["tokens_per_minute_utok"] = None if tokens is None else amount_utok(tokens, "tokens_per_minute")
        project, key = object_id("prj", project_id, "project"), object_id("key", key_id, "key")
        changed = await services.identity.limit_key(project, key, KeyLimits(**changes), tuple(changes), body.sender)
        return views.key_view(changed)


def _order(services: Services, body: NewLimit) -> limits.LimitOrder:
    owners: dict[str, tuple[str | None, str]] = {"project": (body.project_id, "prj"), "key": (body.key_id, "key")}
    owner: UUID | None = None
    for scope, (text, prefix) in owners.items():
        if (text is not None) != (scope == body.scope):
            message = f"'{scope}_id' must be given with scope '{scope}', and only then."
            raise InvalidRequest(message, param=f"{scope}_id")
        if text is not None:
            owner = object_id(prefix, text, scope)
    if body.scope == "model" and body.model is None:
        message = "'model' must be given with scope 'model'."
        raise InvalidRequest(message, param="model")
    if body.model is not None:
        services.catalog().model(body.model)
    window = WINDOW_S if body.window is None and body.kind != "concurrency" else body.window
    return limits.LimitOrder(
        scope=body.scope,
        owner=owner,
        model=body.model,
        kind=body.kind,
        most=amount_utok(body.most, "most") if body.kind == "tokens" else _whole(body.most),
        window_s=window,
        shadow=body.shadow,
        operator=body.sender,
    )


def _whole(most: str | int) -> int:
    text = str(most)
    if not (text.isascii() and text.isdecimal()) or len(text) > len("1000000000"):
        message = "'most' must be a whole number of requests from 1 to 1,000,000,000."
        raise InvalidRequest(message, param="most")
    return int(text)
