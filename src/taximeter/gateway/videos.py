"""/v1/videos: create, list, retrieve, delete.  The file itself: ``video_content.py``."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.gateway import video_content
from taximeter.gateway.body import media_type, read_json
from taximeter.gateway.envelopes import LIMITS, json_response
from taximeter.gateway.errors import UnsupportedInput, UnsupportedMediaType
from taximeter.gateway.forms import field_text, read_form
from taximeter.gateway.idempotency import REPLAYED, fingerprint_of
from taximeter.gateway.orders import authenticate, make_order
from taximeter.gateway.paging import page_size
from taximeter.gateway.services import Services
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.settings import Settings

POLL_AFTER_MS = "500"
DEFAULT_PAGE = 20
# As a field of its own, or, in a form, as several: ``input_reference[image_url]``.
PICTURE = "input_reference"


def routes(services: Services) -> list[Route]:
    """The video routes."""

    async def create(request: Request) -> Response:
        caller = await authenticate(services, request)
        body = await _read(request, services.settings)
        fingerprint = fingerprint_of(request, "video", body)
        refuse_picture(body)
        video = await services.videos.submit(make_order(request, caller, "video", body, fingerprint=fingerprint))
        request.scope[LIMITS] = video.limits
        headers = {**video.headers(), "openai-poll-after-ms": POLL_AFTER_MS, **(REPLAYED if video.replayed else {})}
        return json_response(video.to_api(), headers)

    async def index(request: Request) -> Response:
        caller = await authenticate(services, request)
        query = request.query_params
        limit = page_size(query.get("limit"), DEFAULT_PAGE, services.settings.page_size_max)
        order = query.get("order", "desc")
        if order not in ("asc", "desc"):
            message = "'order' must be asc or desc."
            raise InvalidRequest(message, param="order")
        # One more than wanted tells whether there is a next page.
        found = await services.videos.list(caller, query.get("after"), limit + 1, newest_first=order == "desc")
        data = [video.to_api() for video in found[:limit]]
        ids = [video.id for video in found[:limit]]
        ends = {"first_id": ids[0] if ids else None, "last_id": ids[-1] if ids else None}
        return json_response({"object": "list", "data": data, **ends, "has_more": len(found) > limit})

    async def retrieve(request: Request) -> Response:
        caller = await authenticate(services, request)
        video = await services.videos.find(caller, request.path_params["video_id"])
        return json_response(video.to_api(), {**video.headers(), "openai-poll-after-ms": POLL_AFTER_MS})

    async def delete(request: Request) -> Response:
        caller = await authenticate(services, request)
        video_id = request.path_params["video_id"]
        await services.videos.delete(caller, video_id)
        return json_response({"id": video_id, "object": "video.deleted", "deleted": True})

    return [
        Route("/v1/videos", create, methods=["POST"]),
        Route("/v1/videos", index, methods=["GET"]),
        Route("/v1/videos/{video_id}", retrieve, methods=["GET"]),
        Route("/v1/videos/{video_id}", delete, methods=["DELETE"]),
        *video_content.routes(services),
    ]


def refuse_picture(body: dict[str, Any]) -> None:
    """Remove an ``input_reference`` that is null.  Raises UnsupportedInput for any other."""
    if body.pop(PICTURE, None) is not None or any(name.startswith(f"{PICTURE}[") for name in body):
        message = "'input_reference' is not supported by the models here; describe the scene in 'prompt'."
        raise UnsupportedInput(message, param=PICTURE)


async def _read(request: Request, settings: Settings) -> dict[str, Any]:
    kind = media_type(request)
    if kind != "multipart/form-data":
        if kind not in ("", "application/json"):
            message = f"This route reads 'multipart/form-data' or 'application/json', not '{kind[:100]}'."
            raise UnsupportedMediaType(message)
        return await read_json(request, settings.body_bytes_max, settings.body_timeout_s)
    body: dict[str, Any] = {}
    for part in await read_form(request, settings.body_bytes_max, settings.body_timeout_s):
        if part.filename is not None and part.name.partition("[")[0] != PICTURE:
            message = f"The form field '{part.name[:100]}' must be a text, not a file."
            raise InvalidRequest(message, param=part.name[:100])
        # An image is not read as a text: it is refused by its name.
        body[part.name] = "file" if part.filename is not None else field_text(part)
    return body
