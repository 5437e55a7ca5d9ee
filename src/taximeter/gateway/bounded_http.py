"""HTTP/1.1 with an end to what may come before a request's body, in bytes and in time.

uvicorn's httptools protocol keeps whatever it gets: one header of any size, from anybody, for as long as it takes.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from taximeter.gateway.envelopes import JSON, PROBLEM, encode_json, is_native, openai_error, problem
from taximeter.gateway.errors import HeadersTooLarge
from taximeter.gateway.gathering import GatheringTransport
from taximeter.gateway.lingering import LINGER_BYTES, LINGER_S

# In a line, beside name and value: a colon, a blank and the line's end.
_LINE_EXTRA = 4


class _Excess(Exception):
    """Ends the parsing of a request whose headers are too large."""


def bounded_protocol(bytes_max: int, timeout_s: float) -> type[HttpToolsProtocol]:
    """A protocol class for ``uvicorn.Config(http=...)``.

    Args:
        bytes_max: the request line and the headers of one request; more is answered with 431.
        timeout_s: how long they may take, and the rest of a body that was not waited for; then the connection is closed.
    """

    class BoundedProtocol(_BoundedProtocol):
        header_bytes_max = bytes_max
        header_timeout_s = timeout_s

    return BoundedProtocol


class _BoundedProtocol(HttpToolsProtocol):
    """Costs an addition and two comparisons a read; only an unfinished request starts a timer."""

    header_bytes_max: int
    header_timeout_s: float

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - uvicorn's, passed on
        super().__init__(*arguments, **named)
        # Bytes since the parser last came to something that does not grow in memory: headers' end, or a piece of a body.
        # What follows a body's last piece (RFC 9112, 7.1.2) is kept like headers, and counts like them.
        self._pending_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._excessive = False
        self._dropped_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(GatheringTransport(transport, self.loop))
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._excessive:
            self._drop(data)
            return
        self._pending_bytes += len(data)
        super().data_received(data)
        if self._pending_bytes > self.header_bytes_max and not self._excessive:
            self._refuse()
        elif self._timer is None and not self._answering():
            # Nobody works on this: the beginning of a next request, or the rest of a body that nobody wanted.
            self._start_timer()

    def on_headers_complete(self) -> None:
        # The last read may hold much more than headers, so only here they are counted one by one.
        if self._pending_bytes > self.header_bytes_max:
            size = len(self.url) + sum(len(name) + len(value) + _LINE_EXTRA for name, value in self.headers)
            if size > self.header_bytes_max:
                raise _Excess
        self._pending_bytes = 0
        self._stop_timer()
        super().on_headers_complete()
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending_bytes = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gave up, here too."""
        if self._pending_bytes > self.header_bytes_max:
            self._refuse()
        else:
            super().send_400_response(msg)

    def _answering(self) -> bool:
        return self._begun and not self.cycle.response_complete

    def _refuse(self) -> None:
        self._excessive = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        if self._answering():
            # In the middle of another answer there is no place for this one.
            self.transport.close()
            return
        refusal = HeadersTooLarge(f"The request line and the headers are larger than {self.header_bytes_max} bytes together; send less.")
        native = is_native(self.url.partition(b"?")[0].decode("latin-1"))
        body = encode_json(problem(refusal, None) if native else openai_error(refusal))
        kind = PROBLEM if native else JSON
        head = f"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        # As in ``lingering.py``: closing at once, with bytes unread, could overtake the answer.
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _drop(self, data: bytes) -> None:
        self._dropped_bytes += len(data)
        if self._dropped_bytes > LINGER_BYTES:
            self.transport.close()

    def _start_timer(self) -> None:
        if not self.transport.is_closing():
            self._timer = self.loop.call_later(self.header_timeout_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
