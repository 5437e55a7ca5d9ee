"""An upstream that sends exactly the bytes a test gives it, right HTTP or not."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

HANG_UP: Literal["hang up"] = "hang up"
"""A reset in the middle of whatever was being sent."""

SILENCE: Literal["silence"] = "silence"
"""Nothing more comes, and the connection stays open until the other side closes it."""


@dataclass(frozen=True)
class Drip:
    """Bytes that come one at a time, ``pause_s`` apart."""

    data: bytes
    pause_s: float


Step = bytes | asyncio.Event | Drip | Literal["hang up", "silence"]


class RawUpstream:
    """Use it as ``async with RawUpstream() as upstream`` and talk to ``upstream.url``.

    Attributes:
        script: what every request is answered with, step by step, or what says that of a request's body; the connection is closed at its end.
        requests: bodies that arrived.
        running: requests being answered now: up to the last byte, however long the other side then takes to close the connection.
        most: the most of them at once so far.
        sent: bytes that the other side has taken.
    """

    def __init__(self) -> None:
        self.script: Sequence[Step] | Callable[[dict[str, Any]], Sequence[Step]] = ()
        self.requests: list[dict[str, Any]] = []
        self.running = 0
        self.most = 0
        self.sent = 0
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open.values():
            writer.transport.abort()
        await asyncio.gather(*self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        self.running += 1
        self.most = max(self.most, self.running)
        gone: asyncio.Task[bytes] | None = None
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                try:
                    gone = await self._answer(reader, writer)
                finally:
                    self.running -= 1
                if gone is not None:
                    writer.write_eof()
                    # Closing earlier than the other side would take unread bytes along.
                    await gone
        finally:
            if gone is not None:
                gone.cancel()
            del self._open[task]
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> asyncio.Task[bytes] | None:
        """Play the script; what ends when the other side hangs up, or None when nothing may follow."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        asked = json.loads(await reader.readexactly(length))
        self.requests.append(asked)
        gone = asyncio.create_task(reader.read())
        played = False
        try:
            for step in self.script(asked) if callable(self.script) else self.script:
                if await self._play(step, writer, gone) is None:
                    return None
            played = True
        finally:
            if not played:
                gone.cancel()
        return gone

    async def _play(self, step: Step, writer: asyncio.StreamWriter, gone: asyncio.Task[bytes]) -> Step | None:
        """One step; None when nothing can follow it."""
        match step:
            case bytes():
                for start in range(0, len(step), 65_536):
                    writer.write(step[start : start + 65_536])
                    await writer.drain()
                    self.sent += len(step[start : start + 65_536])
            case asyncio.Event():
                waiting = asyncio.create_task(step.wait())
                await asyncio.wait({waiting, gone}, return_when=asyncio.FIRST_COMPLETED)
                waiting.cancel()
            case Drip():
                for byte in step.data:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.wait({gone}, timeout=step.pause_s)
                    if gone.done():
                        return None
            case "silence":
                await gone
            case "hang up":
                return None
        return step


def head(content_type: str = "application/json", status: str = "200 OK", **headers: object) -> bytes:
    """Status line and headers; without a content length the answer goes on until the connection is closed."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


def whole(body: bytes, content_type: str = "application/json", status: str = "200 OK", **headers: object) -> bytes:
    """A complete answer."""
    return head(content_type, status, Content_Length=len(body), **headers) + body


def event(data: object) -> bytes:
    """One server-sent event."""
    return b"data: " + (data if isinstance(data, bytes) else json.dumps(data).encode()) + b"\n\n"


def text(content: str, **more: object) -> bytes:
    """An event with a piece of text."""
    return event({"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}], **more})


def answer(content: str, **more: object) -> bytes:
    """A complete plain chat answer."""
    message = {"role": "assistant", "content": content}
    body = {"id": "chatcmpl-raw", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}], **more}
    return whole(json.dumps(body).encode())


EVENTS = "text/event-stream"
END = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
DONE = event(b"[DONE]")
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
LAST = event({"choices": [], "usage": USAGE}) + DONE
GOOD = (head(EVENTS) + text("All ") + text("well.") + END + LAST,)
