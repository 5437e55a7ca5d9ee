"""From whatever a handler raises to an answer."""

import asyncio
import http
import logging
from typing import Any

import asyncpg
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from taximeter.gateway.envelopes import PROBLEM, encode_json, problem, refusal_response, request_id
from taximeter.gateway.errors import ClientGone, DatabaseUnavailable, InvalidJson, MethodNotAllowed, UnknownUrl
from taximeter.gateway.idempotency import replay
from taximeter.gateway.metrics import Metrics
from taximeter.gateway.middleware import CLIENT_GONE
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.metering import Replayed

# What asyncpg raises when the server is gone, full or going, as opposed to when a statement of ours is wrong.
# Not any OSError: a pool that cannot connect raises a ConnectionError, and a file that cannot be read is a bug.
DATABASE_DOWN = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    ConnectionError,
    asyncio.TimeoutError,
)
_log = logging.getLogger(__name__)


def install(app: FastAPI, metrics: Metrics) -> None:
    """Register the handlers; anything else is a bug, and the middleware's."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        metrics.refused(error.code)
        return refusal_response(request, error)

    async def gone(request: Request, _error: Exception) -> Response:
        request.scope["taximeter.client_gone"] = True
        return Response(status_code=CLIENT_GONE)

    async def replayed(_request: Request, error: Exception) -> Response:
        assert isinstance(error, Replayed)
        return replay(error)

    async def no_database(request: Request, error: Exception) -> Response:
        _log.warning("request %s: no database: %s: %s", request_id(request), type(error).__name__, error)
        return refusal_response(request, DatabaseUnavailable("The database does not answer; try again in a moment."))

    async def no_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal_response(request, _route_refusal(request, app.routes, error))

    async def invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return _validation_problem(request, error)

    app.add_exception_handler(Refusal, refused)
    app.add_exception_handler(ClientGone, gone)
    app.add_exception_handler(Replayed, replayed)
    app.add_exception_handler(HTTPException, no_route)
    app.add_exception_handler(RequestValidationError, invalid)
    for kind in DATABASE_DOWN:
        app.add_exception_handler(kind, no_database)


async def answer(app: FastAPI, request: Request, error: Exception) -> Response:
    """What the registered handlers answer; raises the error again when none is for its kind."""
    for kind in type(error).__mro__:
        handler: Any = app.exception_handlers.get(kind)
        if handler is not None:
            response: Response = await handler(request, error)
            return response
    raise error


def _route_refusal(request: Request, routes: list[BaseRoute], error: HTTPException) -> Refusal:
    method, path = request.method, request.url.path
    if error.status_code == http.HTTPStatus.METHOD_NOT_ALLOWED:
        allowed: set[str] = set()
        for route in routes:
            if route.matches(request.scope)[0] != Match.NONE:
                allowed |= set(getattr(route, "methods", None) or ())
        headers = {"Allow": ", ".join(sorted(allowed))} if allowed else error.headers
        return MethodNotAllowed(f"{method} is not allowed on {path[:200]}.", headers=headers)
    if error.status_code == http.HTTPStatus.NOT_FOUND:
        return UnknownUrl(f"Unknown URL: {method} {path[:200]}. GET /docs lists what there is.")
    # FastAPI's parser stands deeper in the stack than ours, and may reach its end where ours did not.
    return InvalidJson("The request body is nested too deeply.")


def _validation_problem(request: Request, error: RequestValidationError) -> Response:
    """FastAPI's findings as one problem; the first is told in words, all of them in ``errors``."""
    findings: list[dict[str, Any]] = [
        # Behind a field's name come the types it might have had (``tokens.str``): no bodies here have fields in fields.
        {"param": ".".join(str(part) for part in found["loc"][1:2]), "message": found["msg"]}
        for found in error.errors()
    ]
    first = findings[0]
    refusal = InvalidRequest(f"{first['param'] or 'The body'}: {first['message']}.", param=first["param"] or None)
    body = {**problem(refusal, request_id(request)), "errors": findings}
    return Response(encode_json(body), refusal.status, media_type=PROBLEM)
