"""What a request is recognised by when it comes again, and answers that are kept for that."""

import hashlib
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from taximeter.engines import Modality
from taximeter.gateway.envelopes import JSON
from taximeter.gateway.errors import InvalidJson
from taximeter.gateway.services import Services
from taximeter.metering import Order, Replayed, Ride

IDEMPOTENCY_KEY = "idempotency-key"
REPLAYED = {"idempotency-replayed": "true"}
_encode = msgspec.json.Encoder(order="deterministic").encode


def fingerprint(modality: Modality, body: dict[str, Any]) -> bytes:
    """SHA-256 over the kind of route and the body as the client sent it, model included: 32 bytes.

    The order of fields, spaces and escapes make no difference; everything else does: 1 is not 1.0, and a
    field that is null is not one that is absent.  Raises InvalidJson when the body is nested too deeply.
    """
    try:
        canonical = _encode(body)
    except RecursionError as error:
        message = "The request body is nested too deeply."
        raise InvalidJson(message) from error
    return hashlib.sha256(modality.encode() + b"\n" + canonical).digest()


def fingerprint_of(request: Request, modality: Modality, body: dict[str, Any]) -> bytes:
    """The fingerprint of a request that has a key; nothing without one.  Call it before fields are taken out of the body."""
    return fingerprint(modality, body) if IDEMPOTENCY_KEY in request.headers else b""


async def keep(services: Services, order: Order, ride: Ride, answer: Response) -> Response:
    """The answer, kept for repeats when the order has a key."""
    if order.idempotency_key is not None:
        await services.metering.keep_answer(ride.id, answer.status_code, JSON, bytes(answer.body))
    return answer


def replay(replayed: Replayed) -> Response:
    """The kept answer: its bytes as they were, its price in the headers, and that it is not new."""
    answer = replayed.answer
    return Response(answer.body, answer.status, {**replayed.receipt.headers(), **REPLAYED}, answer.content_type)
