"""POST /v1/embeddings, as numbers or base64."""

import base64
import sys
from array import array
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.engines import Vectors
from taximeter.gateway.body import take_choice
from taximeter.gateway.disconnect import ClientWatch
from taximeter.gateway.envelopes import json_response
from taximeter.gateway.idempotency import fingerprint_of, keep
from taximeter.gateway.orders import make_order, read_call
from taximeter.gateway.rides import open_ride
from taximeter.gateway.services import Services
from taximeter.metering import Receipt, Ride


def routes(services: Services) -> list[Route]:
    """The embeddings route."""

    async def create(request: Request) -> Response:
        caller, body = await read_call(services, request)
        fingerprint = fingerprint_of(request, "embeddings", body)
        encoding = take_form(body)
        order = make_order(request, caller, "embeddings", body, fingerprint=fingerprint)
        ride = await open_ride(services, request, order)
        vectors, receipt = await _run(request, ride)
        encode = _as_base64 if encoding == "base64" else _as_numbers
        prompt = receipt.work.get("prompt_tokens", 0)
        extra = receipt.extra()
        answer = {
            "object": "list",
            "data": [{"object": "embedding", "index": index, "embedding": encode(vector)} for index, vector in enumerate(vectors)],
            "model": order.model,
            "usage": {"prompt_tokens": prompt, "total_tokens": prompt},
            "taximeter": extra,
        }
        return await keep(services, order, ride, json_response(answer, receipt.headers(extra)))

    return [Route("/v1/embeddings", create, methods=["POST"])]


def take_form(body: dict[str, Any]) -> str:
    """Remove what only concerns the form of the answer: how vectors are written.  Raises InvalidRequest."""
    return take_choice(body, "encoding_format", ("float", "base64"))


async def _run(request: Request, ride: Ride) -> tuple[list[bytes], Receipt]:
    vectors: list[bytes] = []
    receipt: Receipt | None = None
    async with ClientWatch(request.receive):
        async for event in ride.events():
            if isinstance(event, Vectors):
                vectors.extend(event.vectors)
            elif isinstance(event, Receipt):
                receipt = event
    assert receipt is not None, "a ride ends with its receipt"
    return vectors, receipt


def _as_base64(vector: bytes) -> str:
    return base64.b64encode(vector).decode("ascii")


def _as_numbers(vector: bytes) -> Any:  # noqa: ANN401 - a list of floats
    numbers = array("f", vector)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
