"""GET /v1/models: what can be called, with modality and price."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway.envelopes import json_response
from taximeter.gateway.orders import authenticate
from taximeter.gateway.services import Services
from taximeter.kernel.errors import NotFound


def routes(services: Services) -> list[Route]:
    """The model routes."""

    async def index(request: Request) -> Response:
        caller = await authenticate(services, request)
        return json_response({"object": "list", "data": list(services.metering.models(caller))})

    async def retrieve(request: Request) -> Response:
        caller = await authenticate(services, request)
        wanted = request.path_params["model"]
        for model in services.metering.models(caller):
            if model["id"] == wanted:
                return json_response(model)
        message = f"The model '{wanted[:100]}' does not exist; GET /v1/models lists those that do."
        raise NotFound(message, param="model")

    # Names of upstream models may hold slashes.
    return [Route("/v1/models", index, methods=["GET"]), Route("/v1/models/{model:path}", retrieve, methods=["GET"])]
