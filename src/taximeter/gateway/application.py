"""The gateway as one ASGI application."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route

import taximeter
from taximeter.gateway import admin, chat, embeddings, exceptions, health, models, native, openapi, pages, speech, videos
from taximeter.gateway.metrics import Metrics
from taximeter.gateway.middleware import GatewayMiddleware
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


def create_app(services: Services, around: Surroundings) -> FastAPI:
    """Routes, middleware and error handlers around ``services``."""
    app = FastAPI(
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
        *chat.routes(services),
        *embeddings.routes(services),
        *speech.routes(services),
        *videos.routes(services),
        *models.routes(services),
        *native.routes(services, around.clock),
        *health.routes(around.checks, around.figures, around.metrics),
        *pages.routes(app, services),
    ]
    app.router.routes.extend(routes)
    admin_router = admin.router(services)
    app.include_router(admin_router)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    exceptions.install(app)
    templates: dict[Any, str] = {route.endpoint: route.path for route in [*routes, *admin_router.routes] if isinstance(route, Route)}
    app.add_middleware(GatewayMiddleware, ids=around.ids, clock=around.clock, metrics=around.metrics, templates=templates)
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi.document(app)
    return app.openapi_schema
