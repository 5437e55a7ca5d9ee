"""GET /v1/surge: what the engines' load makes of their prices now, and by which policy."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway.envelopes import json_response
from taximeter.gateway.orders import authenticate
from taximeter.gateway.services import Services


def routes(services: Services) -> list[Route]:
    """The route of surge prices."""

    async def show(request: Request) -> Response:
        await authenticate(services, request)
        board = services.surge_board()
        return json_response({"object": "surge", "enabled": board.on, "data": [board.view(current) for current in board.all()]})

    return [Route("/v1/surge", show, methods=["GET"])]
