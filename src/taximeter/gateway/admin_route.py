"""How admin routes are run: the admin key first, then a bounded body, then FastAPI."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message

from taximeter.gateway.body import check_json_type, parse_json, read_body
from taximeter.gateway.orders import address_of
from taximeter.gateway.services import Services

WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def admin_route(services: Services) -> type[APIRoute]:
    """A route class that lets nobody but the administrator in, before the body is read.

    FastAPI itself would read the body first, whole and from anybody.  It would also take bytes that are
    no UTF-8, and say only that there was an error: so the body is checked here as everywhere else.
    """

    class AdminRoute(APIRoute):
        def get_route_handler(self) -> Handler:
            handler = super().get_route_handler()
            # A route that must be told nothing takes no body at all, too.
            told = self.body_field is not None and self.body_field.field_info.is_required()

            async def guarded(request: Request) -> Response:
                services.identity.require_admin(request.headers.get("authorization"), address_of(request))
                if told:
                    check_json_type(request)
                body = await read_body(request, services.settings.body_bytes_max, services.settings.body_timeout_s)
                if told or (body and request.method in WITH_BODY):
                    check_json_type(request)
                    parse_json(body)

                async def replay() -> Message:
                    return {"type": "http.request", "body": body, "more_body": False}

                # FastAPI reads JSON under fewer names than we do.
                headers = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
                return await handler(Request({**request.scope, "headers": [*headers, (b"content-type", b"application/json")]}, replay))

            return guarded

    return AdminRoute
