"""Answering while the client is still sending."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

# Enough for an upload that is a few times too large; whoever sends gigabytes is cut off.
LINGER_BYTES = 64 * 1024 * 1024
LINGER_S = 2.0


class LingeringResponse(Response):
    """An answer to a request whose body is not wanted.

    Closing a connection with unread bytes in it makes the system reset it, and the reset can overtake
    the answer.  So the answer goes out first, whole, and what still comes in is read and dropped for a
    moment before the end.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Answer, drop the rest of the upload, close."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        try:
            async with asyncio.timeout(LINGER_S):
                await _drop(receive)
        except TimeoutError:
            pass  # It is sending slowly, or waits for us to close.
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _drop(receive: Receive) -> None:
    dropped = 0
    while dropped < LINGER_BYTES:
        message = await receive()
        dropped += len(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
