"""Server-sent events: an answer that is written while it is made."""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from taximeter.gateway.disconnect import ClientWatch
from taximeter.gateway.envelopes import encode_json, openai_error
from taximeter.gateway.errors import ClientGone, InternalError
from taximeter.gateway.rides import RideEvent
from taximeter.kernel.errors import Refusal

DONE = b"data: [DONE]\n\n"
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    # Proxies such as nginx would otherwise collect the stream and deliver it in one piece.
    "X-Accel-Buffering": "no",
}
_log = logging.getLogger(__name__)


def event(body: Any) -> bytes:  # noqa: ANN401 - whatever encodes
    """One event.  Compact JSON has no line breaks, so one line carries it."""
    return b"data: " + encode_json(body) + b"\n\n"


class EventStream(Response):
    """Sends the events of a ride.

    ``events`` is closed when the client leaves.  Once the first byte is out, an error can only be told
    inside the stream: as OpenAI does, by a data line with ``error``, then the end mark.

    Args:
        first: the first event, which has been waited for.
        events: those that follow.
        encode: what to send for an event; empty to send nothing yet.
        headers: beside those of every stream.
    """

    def __init__(
        self, first: RideEvent, events: AsyncGenerator[RideEvent, None], encode: Callable[[RideEvent], bytes], headers: Mapping[str, str]
    ) -> None:
        super().__init__(None, 200, {**HEADERS, **headers})
        del self.headers["content-length"]
        self._first = first
        self._events = events
        self._encode = encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream to the client."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            async with ClientWatch(receive, 0):
                await self._send_events(send)
        except ClientGone:
            scope["taximeter.client_gone"] = True
        finally:
            await self._events.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_events(self, send: Send) -> None:
        encode = self._encode
        try:
            if piece := encode(self._first):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            async for ride_event in self._events:
                if piece := encode(ride_event):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except Refusal as refusal:
            await send({"type": "http.response.body", "body": event(openai_error(refusal)) + DONE, "more_body": True})
        except Exception:  # noqa: BLE001 - the process's edge: the client must be told, the log has the rest
            _log.exception("a stream broke")
            broken = InternalError("The stream broke; you are charged for what its receipt says.")
            await send({"type": "http.response.body", "body": event(openai_error(broken)) + DONE, "more_body": True})
