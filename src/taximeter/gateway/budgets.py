"""GET /v1/budgets: what bounds the caller, and what of it is left."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway.envelopes import json_response
from taximeter.gateway.orders import authenticate
from taximeter.gateway.services import Services


def routes(services: Services) -> list[Route]:
    """The callers' route of budgets."""

    async def index(request: Request) -> Response:
        caller = await authenticate(services, request)
        found = await services.budgets.of_caller(caller, request.query_params.get("user") or None)
        return json_response({"data": [state.to_api() for state in found], "next_cursor": None})

    return [Route("/v1/budgets", index, methods=["GET"])]
