"""POST /v1/quotes, GET /v1/quotes/{id}, and GET /v1/keys: what a request will cost, signed."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway.body import take_flag, take_model
from taximeter.gateway.envelopes import json_response, json_text
from taximeter.gateway.errors import MissingField
from taximeter.gateway.orders import authenticate, read_call
from taximeter.gateway.services import Services
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.kernel.key_file import public_set

# What only concerns the form of the answer does not change the price.
FORM_FIELDS = ("model", "stream", "stream_options", "stream_format", "encoding_format")
# Keys change when an operator changes them, and old ones stay.
_KEYS_HEADERS = {"cache-control": "public, max-age=60"}


def routes(services: Services) -> list[Route]:
    """The quote routes."""

    async def create(request: Request) -> Response:
        caller, body = await read_call(services, request)
        if "items" in body:
            return json_response(await services.quotes.make_many(caller, _wishes(body)))
        with_alternatives = take_flag(body, "alternatives")
        model, wanted = _wish(body)
        document = await services.quotes.make(caller, model, wanted)
        if with_alternatives:
            cheaper = await services.quotes.cheaper(caller, model, wanted)
            document = f'{document[:-1]},"alternatives":{msgspec.json.encode(cheaper).decode()}}}'
        return json_text(document)

    async def retrieve(request: Request) -> Response:
        caller = await authenticate(services, request)
        return json_response(await services.quotes.find(caller, request.path_params["quote_id"]))

    async def keys(_request: Request) -> Response:
        return json_response(public_set(await services.quotes.public_keys()), _KEYS_HEADERS)

    return [
        Route("/v1/quotes", create, methods=["POST"]),
        Route("/v1/quotes/{quote_id}", retrieve, methods=["GET"]),
        Route("/v1/keys", keys, methods=["GET"]),
    ]


def priced_request(body: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a body that decides the price."""
    return {name: value for name, value in body.items() if name not in FORM_FIELDS}


def _wish(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """One ``{model, request}``.  Raises InvalidRequest."""
    model = take_model(body)
    wanted = body.get("request")
    if wanted is None:
        message = "You must provide 'request': the body that you would send to the model."
        raise MissingField(message, param="request")
    if not isinstance(wanted, dict):
        message = "'request' must be an object: the body that you would send to the model."
        raise InvalidRequest(message, param="request")
    return model, priced_request(wanted)


def _wishes(body: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]] | Refusal]:
    """All of a batch; instead of one that cannot be read, why."""
    for name in ("model", "request", "alternatives"):
        if name in body:
            message = f"'{name}' does not go with 'items': each item has its own model and request, and alternatives are for single quotes."
            raise InvalidRequest(message, param=name)
    items = body["items"]
    if not isinstance(items, list) or not items:
        message = "'items' must be a list with at least one {model, request}."
        raise InvalidRequest(message, param="items")
    return [_read_item(item) for item in items]


def _read_item(item: object) -> tuple[str, dict[str, Any]] | Refusal:
    try:
        if isinstance(item, dict):
            return _wish(item)
        message = "an item must be an object {model, request}."
        raise InvalidRequest(message)
    except Refusal as refusal:
        return refusal
