"""Around every request: its id, its duration, the access log, the metrics, and the last catch for bugs."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from uuid import UUID

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taximeter.gateway.envelopes import LIMITS, refusal_response
from taximeter.gateway.errors import InternalError
from taximeter.gateway.metrics import Metrics
from taximeter.kernel.clock import Clock
from taximeter.kernel.ids import IdFactory

CLIENT_GONE = 499
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Routes whose 503 is an answer, and that are asked over and over.
_WATCHED = frozenset({"/readyz", "/metrics"})
_access = logging.getLogger("taximeter.access")
_log = logging.getLogger(__name__)


class GatewayMiddleware:
    """Plain ASGI: Starlette's BaseHTTPMiddleware would put a task and a queue between us and every stream.

    ``templates`` tells a route's path (``/v1/videos/{video_id}``) by its endpoint, for the metrics.
    """

    def __init__(self, app: ASGIApp, ids: IdFactory, clock: Clock, metrics: Metrics, templates: Mapping[Any, str]) -> None:
        self._app = app
        self._ids = ids
        self._clock = clock
        self._metrics = metrics
        self._templates = templates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        call = _Call(scope, send, self._clock, self._ids.new())
        self._metrics.started()
        try:
            await self._app(scope, receive, call.send)
        except Exception:  # noqa: BLE001 - the process's edge: nothing may leak, the log has it all
            _log.exception("request %s failed", call.request_id)
            await self._answer_bug(call, scope, receive)
        finally:
            self._finish(call, scope)

    async def _answer_bug(self, call: "_Call", scope: Scope, receive: Receive) -> None:
        if call.status:
            # Half an answer is out.  Leaving the response unfinished makes the server close the connection.
            return
        refusal = InternalError(f"Something went wrong on our side; try again, or report it with the request id {call.request_id}.")
        await refusal_response(Request(scope), refusal)(scope, receive, call.send)

    def _finish(self, call: "_Call", scope: Scope) -> None:
        seconds = self._clock.monotonic_s() - call.started
        gone = bool(scope.get("taximeter.client_gone"))
        status = CLIENT_GONE if gone else call.status
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        template = self._templates.get(scope.get("endpoint"), "other")
        self._metrics.finished(template, method, status, seconds, client_gone=gone)
        # Every request is in the metrics; a line for each one would cost more than the request.
        failed = status >= HTTPStatus.INTERNAL_SERVER_ERROR and template not in _WATCHED
        level = logging.WARNING if failed else logging.DEBUG
        if _access.isEnabledFor(level):
            _access.log(level, "%s %s %d %.1fms %s", method, scope["path"].encode("unicode_escape").decode(), status, seconds * 1000, call.request_id)


class _Call:
    """One request on its way: adds headers to the start of its answer."""

    def __init__(self, scope: Scope, send: Send, clock: Clock, request_id: UUID) -> None:
        self._scope = scope
        self._send = send
        self._clock = clock
        self.started = clock.monotonic_s()
        self.status = 0
        self.request_id = f"req_{request_id.hex}"
        scope["taximeter.request_id"] = self.request_id

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"]
            headers.append((b"x-request-id", self.request_id.encode()))
            milliseconds = int((self._clock.monotonic_s() - self.started) * 1000)
            headers.append((b"openai-processing-ms", str(milliseconds).encode()))
            limits = self._scope.get(LIMITS)
            if limits:
                headers += [(name.encode(), value.encode()) for name, value in limits.items()]
        await self._send(message)
