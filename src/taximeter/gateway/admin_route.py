"""How admin routes are run: the admin key first, then a bounded body, then FastAPI."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from taximeter.gateway.body import read_body
from taximeter.gateway.services import Services

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def admin_route(services: Services) -> type[APIRoute]:
    """A route class that lets nobody but the administrator in, before the body is read.

    FastAPI itself would read the body first, whole and from anybody.
    """

    class AdminRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handler = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                services.identity.require_admin(request.headers.get("authorization"))
                body = await read_body(request, services.settings.body_bytes_max)

                async def replay() -> Message:
                    return {"type": "http.request", "body": body, "more_body": False}

                return await handler(Request(request.scope, replay))

            return guarded

    return AdminRoute
