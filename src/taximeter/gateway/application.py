"""The gateway as one ASGI application."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import taximeter
from taximeter.gateway import (
    admin,
    approvals,
    budgets,
    chat,
    embeddings,
    exceptions,
    health,
    health_page,
    models,
    native,
    openapi,
    pages,
    quotes,
    speech,
    surge,
    videos,
)
from taximeter.gateway.metrics import Metrics
from taximeter.gateway.middleware import GatewayMiddleware
from taximeter.gateway.quick_request import QuickRequest
from taximeter.gateway.services import Services
from taximeter.kernel.clock import Clock
from taximeter.kernel.ids import IdFactory

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the application needs besides the services: the process it lives in."""

    clock: Clock
    ids: IdFactory
    metrics: Metrics
    checks: Mapping[str, health.Check]
    figures: health.Figures
    lifespan: Lifespan | None = None


class Gateway(FastAPI):
    """FastAPI with a short cut to its plain routes: those that are not the framework's own and have no parameters.

    One look-up finds them.  On the way through the framework a request passes a router and eight layers that do nothing
    for such a route, which takes as long as pricing it.
    """

    short_cut: "_ShortCut | None" = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        short_cut = self.short_cut
        if short_cut is not None and scope["type"] == "http" and (scope["path"], scope["method"]) in short_cut.endpoints and not scope["root_path"]:
            await short_cut.app(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)


class _ShortCut:
    """Runs a plain route's endpoint, inside the same middleware and with the same error handlers as the framework."""

    def __init__(self, app: FastAPI, routes: Iterable[Route], middleware: Callable[[ASGIApp], ASGIApp]) -> None:
        self._app = app
        self.endpoints = {(route.path, method): route.endpoint for route in routes if "{" not in route.path for method in route.methods or ()}
        self.app = middleware(self._run)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self._app
        scope["endpoint"] = endpoint = self.endpoints[scope["path"], scope["method"]]
        request = QuickRequest(scope, receive, send)
        try:
            response = await endpoint(request)
        except Exception as error:  # noqa: BLE001 - raised again by ``answer`` unless there is a handler for it
            response = await exceptions.answer(self._app, request, error)
        await response(scope, receive, send)


def create_app(services: Services, around: Surroundings) -> FastAPI:
    """Routes, middleware and error handlers around ``services``."""
    app = Gateway(
        title="Taximeter",
        version=taximeter.__version__,
        # The reference is a page of our own: FastAPI's loads scripts from a public server.
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=around.lifespan,
    )
    # Hot routes first: routes are tried in order.
    routes = [
        *chat.routes(services, around.metrics),
        *embeddings.routes(services),
        *speech.routes(services),
        *videos.routes(services),
        *models.routes(services),
        *quotes.routes(services),
        *surge.routes(services),
        *native.routes(services, around.clock),
        *budgets.routes(services),
        *approvals.routes(services),
        *health.routes(around.checks, around.figures, around.metrics),
        *health_page.routes(services),
        *pages.routes(app, services),
    ]
    app.router.routes.extend(routes)
    admin_router = admin.router(services, around.clock)
    app.include_router(admin_router)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    exceptions.install(app, around.metrics)
    templates: dict[Any, str] = {route.endpoint: route.path for route in [*routes, *admin_router.routes] if isinstance(route, Route)}
    middleware = partial(GatewayMiddleware, ids=around.ids, clock=around.clock, metrics=around.metrics, templates=templates)
    app.add_middleware(middleware)
    app.short_cut = _ShortCut(app, routes, middleware)
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi.document(app)
    return app.openapi_schema
