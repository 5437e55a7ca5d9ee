"""POST and GET /v1/quotes, GET /v1/quotes/{id}, and GET /v1/keys: what a request will cost, signed."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway import chat, embeddings, speech, videos
from taximeter.gateway.body import MODEL_LENGTH_MAX, take_flag, take_model
from taximeter.gateway.envelopes import json_response, json_text
from taximeter.gateway.errors import MissingField
from taximeter.gateway.orders import authenticate, parse_multiplier, read_call
from taximeter.gateway.paging import cursor, page, page_size
from taximeter.gateway.services import Services
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.kernel.key_file import public_set

# What each route takes out of a body before it is priced, or refuses: the form of the answer does not change the price.
_TAKE: Mapping[str, Callable[[dict[str, Any]], object]] = {
    "chat": chat.take_form,
    "embeddings": embeddings.take_form,
    "speech": speech.take_form,
}
DEFAULT_PAGE = 50
_MEMBERS = frozenset({"model", "request", "max_multiplier"})
# Keys change when an operator changes them, and old ones stay.
_KEYS_HEADERS = {"cache-control": "public, max-age=60"}


def routes(services: Services) -> list[Route]:
    """The quote routes."""

    async def create(request: Request) -> Response:
        caller, body = await read_call(services, request)
        if "items" in body:
            return json_response(await services.quotes.make_many(caller, _wishes(services, body)))
        with_alternatives = take_flag(body, "alternatives")
        model, wanted, multiplier_max = _wish(services, body)
        document = await services.quotes.make(caller, (model, wanted, multiplier_max))
        if with_alternatives:
            cheaper = await services.quotes.cheaper(caller, model, wanted)
            document = f'{document[:-1]},"alternatives":{msgspec.json.encode(cheaper).decode()}}}'
        return json_text(document)

    async def index(request: Request) -> Response:
        caller = await authenticate(services, request)
        limit = page_size(request.query_params.get("limit"), DEFAULT_PAGE, services.settings.page_size_max)
        before = cursor("quo", request.query_params.get("cursor"))
        return json_response(page(await services.quotes.page(caller, before, limit + 1), limit, lambda quote: quote))

    async def retrieve(request: Request) -> Response:
        caller = await authenticate(services, request)
        return json_response(await services.quotes.find(caller, request.path_params["quote_id"]))

    async def keys(_request: Request) -> Response:
        found = await services.quotes.public_keys()
        return json_response(public_set(found, await services.quotes.revocations()), _KEYS_HEADERS)

    return [
        Route("/v1/quotes", create, methods=["POST"]),
        Route("/v1/quotes", index, methods=["GET"]),
        Route("/v1/quotes/{quote_id}", retrieve, methods=["GET"]),
        Route("/v1/keys", keys, methods=["GET"]),
    ]


Wish = tuple[str, dict[str, Any], Fraction | None]
"""A model, a body, and the highest multiplier that is taken; None: any."""


def _wish(services: Services, body: dict[str, Any]) -> Wish:
    """One ``{model, request}``, perhaps with a ``max_multiplier``; what its route refuses is refused here.  Raises InvalidRequest, ModelNotFound."""
    unknown = sorted(body.keys() - _MEMBERS)
    if unknown:
        message = (
            f"'{unknown[0][:100]}' is no member of a question for a quote; it has 'model' and 'request', and may have 'max_multiplier', and a single"
            f" one 'alternatives'."
        )
        raise InvalidRequest(message, param=unknown[0][:100])
    model = take_model(body)
    wanted = body.get("request")
    if wanted is None:
        message = "You must provide 'request': the body that you would send to the model."
        raise MissingField(message, param="request")
    if not isinstance(wanted, dict):
        message = "'request' must be an object: the body that you would send to the model."
        raise InvalidRequest(message, param="request")
    request = dict(wanted)
    named = request.pop("model", None)
    if named is not None and named != model:
        other = repr(named[:MODEL_LENGTH_MAX]) if isinstance(named, str) else "no text"
        message = f"'model' is {model!r}, and the 'model' in 'request' is {other}; name one model."
        raise InvalidRequest(message, param="model")
    entry = services.catalog().model(model)
    if entry.modality == "video" and entry.engine is not None:
        # Of a model that nothing here runs, a picture can be priced.
        videos.refuse_picture(request)
    take = _TAKE.get(entry.modality)
    if take is not None:
        take(request)
    most = body.get("max_multiplier")
    return model, request, None if most is None else parse_multiplier(most, "max_multiplier")


def _wishes(services: Services, body: Mapping[str, Any]) -> list[Wish | Refusal]:
    """All of a batch; instead of one that cannot be read, why."""
    for name in ("model", "request", "alternatives", "max_multiplier"):
        if name in body:
            message = f"'{name}' does not go with 'items': each item has its own model and request, and alternatives are for single quotes."
            raise InvalidRequest(message, param=name)
    unknown = sorted(body.keys() - {"items"})
    if unknown:
        message = f"'{unknown[0][:100]}' does not go with 'items': nothing does."
        raise InvalidRequest(message, param=unknown[0][:100])
    items = body["items"]
    if not isinstance(items, list) or not items:
        message = "'items' must be a list with at least one {model, request}."
        raise InvalidRequest(message, param="items")
    return [_read_item(services, item) for item in items]


def _read_item(services: Services, item: object) -> Wish | Refusal:
    try:
        if isinstance(item, dict):
            return _wish(services, item)
        message = "an item must be an object {model, request}."
        raise InvalidRequest(message)
    except Refusal as refusal:
        return refusal
