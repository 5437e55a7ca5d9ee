"""Refusals as HTTP answers: OpenAI's envelope on the routes OpenAI has, RFC 9457 problems on ours."""

import http
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from taximeter.gateway.errors import BodyTooLarge
from taximeter.gateway.lingering import LingeringResponse
from taximeter.kernel.errors import Refusal
from taximeter.kernel.ids import encode_id

JSON = "application/json"
PROBLEM = "application/problem+json"
# Everything else under /v1 is a route OpenAI has, or might have.
NATIVE_PATHS = (
    "/v1/admin",
    "/v1/approvals",
    "/v1/budgets",
    "/v1/limits",
    "/v1/health",
    "/v1/keys",
    "/v1/quotes",
    "/v1/receipts",
    "/v1/surge",
    "/v1/usage",
    "/v1/wallet",
)

# In the scope of a request: the id of its ride, which leaves a receipt whatever becomes of it.
RIDE_ID = "taximeter.ride_id"

# Likewise: headers that say what is left of its sender's limits, for whatever answer it gets.
LIMITS = "taximeter.limits"

_JSON_TYPE = (b"content-type", JSON.encode("ascii"))

encode_json = msgspec.json.Encoder().encode


def is_native(path: str) -> bool:
    """Whether errors on this path are RFC 9457 problems."""
    return not path.startswith("/v1/") or any(path == known or path.startswith(f"{known}/") for known in NATIVE_PATHS)


def openai_error(refusal: Refusal) -> dict[str, Any]:
    """OpenAI's envelope; the official client reads all four keys."""
    return {"error": {"message": refusal.message, "type": refusal.openai_type, "param": refusal.param, "code": refusal.code}}


def problem(refusal: Refusal, request_id: str | None) -> dict[str, Any]:
    """An RFC 9457 problem, with our ``code`` and ``param`` beside the standard members."""
    body: dict[str, Any] = {
        "type": f"urn:taximeter:error:{refusal.code}",
        "title": http.HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.message,
        "code": refusal.code,
    }
    if refusal.param is not None:
        body["param"] = refusal.param
    if request_id is not None:
        body["instance"] = request_id
    return body


def refusal_headers(refusal: Refusal) -> dict[str, str]:
    """The refusal's headers, and what tells the official client whether to send again.

    It repeats 408, 409, 429 and 5xx up to twice.  A 409 will not get better, unless it says when, and a body that was
    too slow will be so again; after a 504 the first attempt may still be running, and its hold with it.
    """
    headers = {name.lower(): value for name, value in refusal.headers.items()}
    if refusal.status in (http.HTTPStatus.TOO_MANY_REQUESTS, http.HTTPStatus.SERVICE_UNAVAILABLE):
        headers.setdefault("retry-after", "1")
    final = (http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.CONFLICT, http.HTTPStatus.GATEWAY_TIMEOUT)
    if refusal.status in final and "retry-after" not in headers:
        headers.setdefault("x-should-retry", "false")
    return headers


def refusal_response(request: Request, refusal: Refusal) -> Response:
    """The answer to a refused request."""
    respond = LingeringResponse if isinstance(refusal, BodyTooLarge) else Response
    headers = refusal_headers(refusal)
    ride_id = request.scope.get(RIDE_ID)
    if ride_id is not None:
        headers["taximeter-receipt"] = encode_id("rcp", ride_id)
    if is_native(request.url.path):
        content = encode_json(problem(refusal, request_id(request)))
        return respond(content, refusal.status, headers, PROBLEM)
    return respond(encode_json(openai_error(refusal)), refusal.status, headers, JSON)


def json_response(body: Any, headers: Mapping[str, str] | None = None, status: int = 200) -> Response:  # noqa: ANN401 - whatever encodes
    """A JSON answer, encoded by msgspec."""
    return _JsonResponse(encode_json(body), status, headers or {})


def json_text(text: str) -> Response:
    """A JSON answer that is written already."""
    return _JsonResponse(text.encode(), 200, {})


class _JsonResponse(Response):
    """Starlette's response, with its headers written down at once instead of looked through for those that stand there already."""

    def __init__(self, body: bytes, status: int, headers: Mapping[str, str]) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self.raw_headers += [(b"content-length", b"%d" % len(body)), _JSON_TYPE]


def request_id(request: Request) -> str | None:
    """The id that the middleware gave this request."""
    value = request.scope.get("taximeter.request_id")
    return value if isinstance(value, str) else None
