"""A transport that writes once a turn of the event loop: a system call costs as much as pricing a request."""

import asyncio
from typing import Any

GATHERED_BYTES_MAX = 65_536
"""So much is written at once: whoever sends more must find out from the transport whether the client keeps up."""


class GatheringTransport(asyncio.Transport):
    """Gathers what is written in one turn: an answer's head and its body, or the events that came in one piece."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    def write(self, data: bytes) -> None:  # type: ignore[override]  # uvicorn writes nothing but bytes
        """Write soon, in order."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)
        self._gathered_bytes += len(data)
        if self._gathered_bytes >= GATHERED_BYTES_MAX:
            self._flush()

    def write_eof(self) -> None:
        """Write what was gathered, and tell the client that nothing more comes; it may go on sending."""
        self._flush()
        if self._transport.can_write_eof() and not self._transport.is_closing():
            self._transport.write_eof()

    def close(self) -> None:
        """Write what was gathered, and close when it is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._gathered.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """Whether nothing more can be sent."""
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        """Let the client wait."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Go on reading."""
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401 - asyncio's
        """What the transport below knows."""
        return self._transport.get_extra_info(name, default)

    def _flush(self) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered and not self._transport.is_closing():
            self._transport.write(gathered[0] if len(gathered) == 1 else b"".join(gathered))
