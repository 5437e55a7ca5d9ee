"""GET /v1/approvals and /v1/approvals/{id}: what a caller's requests wait for."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.admission import approvals as admission
from taximeter.gateway.envelopes import json_response
from taximeter.gateway.orders import authenticate
from taximeter.gateway.paging import cursor, page, page_size
from taximeter.gateway.services import Services
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import decode_id

DEFAULT_PAGE = 50


def routes(services: Services) -> list[Route]:
    """The routes of approvals."""

    async def index(request: Request) -> Response:
        caller = await authenticate(services, request)
        limit = page_size(request.query_params.get("limit"), DEFAULT_PAGE, services.settings.page_size_max)
        after = cursor("apr", request.query_params.get("cursor"))
        found = await services.videos.approvals.list(after, caller.project_id, _state(request.query_params.get("state")), limit + 1)
        return json_response(page(found, limit, lambda approval: approval.to_api()))

    async def retrieve(request: Request) -> Response:
        caller = await authenticate(services, request)
        approval_id = decode_id("apr", request.path_params["approval_id"])
        if approval_id is None:
            message = "there is no approval with this id"
            raise admission.ApprovalNotFound(message)
        return json_response((await services.videos.approvals.find(approval_id, caller.project_id)).to_api())

    return [
        Route("/v1/approvals", index, methods=["GET"]),
        Route("/v1/approvals/{approval_id}", retrieve, methods=["GET"]),
    ]


def _state(text: str | None) -> admission.State | None:
    found = next((state for state in admission.STATES if state == text), None)
    if text is not None and found is None:
        message = f"'state' must be one of {', '.join(admission.STATES)}."
        raise InvalidRequest(message, param="state")
    return found
