"""GET /v1/videos/{id}/content: the file, streamed, in whole or in part."""

from collections.abc import AsyncIterator
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from taximeter.gateway.disconnect import ClientWatch
from taximeter.gateway.errors import ClientGone, UnsupportedVariant
from taximeter.gateway.orders import authenticate
from taximeter.gateway.ranges import etag_matches, parse_range
from taximeter.gateway.services import Services

MEDIA_TYPE = "video/mp4"


class File(Protocol):
    """A stored file; ``etag`` has its quotes."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def etag(self) -> str:
        """What tells one version of the file from another."""
        ...

    def read(self, start: int, end: int) -> AsyncIterator[bytes]:
        """The bytes from ``start`` up to, not including, ``end``."""
        ...


def routes(services: Services) -> list[Route]:
    """The content route; Starlette adds HEAD to GET."""

    async def content(request: Request) -> Response:
        caller = await authenticate(services, request)
        if request.query_params.get("variant", "video") != "video":
            message = "Videos here have the variant 'video' only."
            raise UnsupportedVariant(message, param="variant")
        file = await services.videos.content(caller, request.path_params["video_id"])
        headers = {"ETag": file.etag, "Accept-Ranges": "bytes", "Cache-Control": "private, no-transform"}
        if etag_matches(request.headers.get("if-none-match"), file.etag):
            return Response(None, 304, headers)
        # A range of another version of the file would be of no use to the client.
        same = request.headers.get("if-range", file.etag) == file.etag
        part = parse_range(request.headers.get("range"), file.size) if same else None
        return FilePart(file, part, headers, head_only=request.method == "HEAD")

    return [Route("/v1/videos/{video_id}/content", content, methods=["GET"])]


class FilePart(Response):
    """Streams a part of a stored file; nothing is held in memory but the piece on its way."""

    def __init__(self, file: File, part: tuple[int, int] | None, headers: dict[str, str], *, head_only: bool) -> None:
        start, end = part or (0, file.size)
        headers["Content-Length"] = str(end - start)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        super().__init__(None, 206 if part else 200, headers, MEDIA_TYPE)
        self._pieces = None if head_only else file.read(start, end)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream to the client."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._pieces is not None:
            try:
                async with ClientWatch(receive):
                    async for piece in self._pieces:
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
            except ClientGone:
                scope["taximeter.client_gone"] = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})
