"""HTTP/1.1 with an end to what may come before a request's body, in bytes and in time, and with nothing but HTTP/1.1.

uvicorn's httptools protocol keeps whatever it gets: one header of any size, from anybody, for as long as it takes.
Where a client offers another protocol (``Upgrade: h2c`` is what Java's sends with its first request), its parser takes
the body for that protocol, and uvicorn would read it as a request.  And what is no HTTP it answers at once, whoever waits.
"""

import asyncio
import http
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from taximeter.gateway.envelopes import JSON, PROBLEM, encode_json, is_native, openai_error, problem
from taximeter.gateway.errors import HeadersTooLarge
from taximeter.gateway.gathering import GatheringTransport
from taximeter.gateway.lingering import LINGER_BYTES, LINGER_S

# In a line, beside name and value: a colon, a blank and the line's end.
_LINE_EXTRA = 4


class _Excess(Exception):
    """Ends the parsing of a request whose headers are too large."""


class _Tunnel(Exception):
    """Ends the parsing of a CONNECT: what follows it is not HTTP."""


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
        # After what cannot be read there is no telling where the next request begins: the rest is dropped.
        self._deaf = False
        self._dropped_bytes = 0
        # What is said when all whole requests before that are answered, before the connection is closed.
        self._last_words = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(GatheringTransport(transport, self.loop))
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            self._drop(data)
            return
        self._pending_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except httptools.HttpParserError:
            self.logger.warning("Invalid HTTP request received.")
            self.send_400_response("Invalid HTTP request received.")
            return
        if self._pending_bytes > self.header_bytes_max:
            self._refuse()
        elif self._timer is None and not self._answering():
            # Nobody works on this: the beginning of a next request, or the rest of a body that nobody wanted.
            self._start_timer()

    def _parse(self, data: bytes) -> None:
        """Read on, past offers of other protocols: a server may ignore them (RFC 9110, 7.8), and this one has none."""
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                # The parser has left HTTP behind this head.  A new one reads the head again, without the offer, and what follows it.
                data = self._head_without_offer() + data[offer.args[0] :]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            else:
                return

    def _head_without_offer(self) -> bytes:
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"".join(lines) + b"\r\n"

    def on_headers_complete(self) -> None:
        # The last read may hold much more than headers, so only here they are counted one by one.
        if self._pending_bytes > self.header_bytes_max:
            size = len(self.url) + sum(len(name) + len(value) + _LINE_EXTRA for name, value in self.headers)
            if size > self.header_bytes_max:
                raise _Excess
        self._pending_bytes = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Tunnel
            # Comes again, see ``_parse``.
            return
        self._stop_timer()
        super().on_headers_complete()
        self._begun = True

    def on_body(self, body: bytes) -> None:
        self._pending_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending_bytes = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._last_words and not self.pipeline and not self.transport.is_closing():
            self._end(self._last_words)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """What is told when the parser gave up."""
        if self._pending_bytes > self.header_bytes_max:
            self._refuse()
        else:
            self._end_after_answers(_head(400, "text/plain; charset=utf-8", len(msg)) + msg.encode("ascii"))

    def _answering(self) -> bool:
        return self._begun and not self.cycle.response_complete

    def _whole_requests_wait(self) -> bool:
        if not self._answering():
            return False
        if not self.cycle.more_body:
            return True
        # The body of the newest request is what could not be read.  If it waits behind others, they are answered and it is not.
        if self.pipeline:
            self.pipeline.popleft()
            return True
        return False

    def _end_after_answers(self, last_words: bytes) -> None:
        """Read nothing more; answer the requests that came before whole, since they run and are charged; say this; close."""
        self._deaf = True
        self._stop_timer()
        if self.transport.is_closing():
            return
        if self._whole_requests_wait():
            self._last_words = last_words
            self.flow.resume_reading()
        elif self._answering() and self.cycle.response_started:
            # In the middle of another answer there is no place for this one.
            self.transport.close()
        else:
            self._end(last_words)

    def _end(self, last_words: bytes) -> None:
        if self._begun:
            # Whoever is at work on a request that could not be read to its end must write nothing behind this.
            self.cycle.disconnected = True
            self.cycle.waiting_for_100_continue = False
            self.cycle.message_event.set()
        self.transport.write(last_words)
        self.transport.write_eof()
        # As in ``lingering.py``: closing at once, with bytes unread, could overtake the answer.
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def _refuse(self) -> None:
        refusal = HeadersTooLarge(f"The request line and the headers are larger than {self.header_bytes_max} bytes together; send less.")
        native = is_native(self.url.partition(b"?")[0].decode("latin-1"))
        body = encode_json(problem(refusal, None) if native else openai_error(refusal))
        kind = PROBLEM if native else JSON
        self._end_after_answers(_head(431, kind, len(body)) + body)

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


def _head(status: int, kind: str, length: int) -> bytes:
    phrase = http.HTTPStatus(status).phrase
    return f"HTTP/1.1 {status} {phrase}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n".encode()
