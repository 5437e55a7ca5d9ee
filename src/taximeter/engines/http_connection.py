"""One HTTP/1.1 connection to an engine: a request goes out, its answer comes in, piece by piece.

Written for what engines need and no more: a general client takes three times as long for a request as everything
else that happens to it.  llhttp reads the answers.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator

import httptools

HEAD_BYTES_MAX = 65_536
# Beyond this many bytes that nobody has read, the upstream has to wait.
UNREAD_BYTES_MAX = 262_144
UNPACKED_BYTES_MAX = 262_144
_INFORMATION_MAX = 199
# We do not ask for it; some proxies pack all the same.
_PACKED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class WentAwayError(Exception):
    """The connection ended before the answer did, or what came was not HTTP."""


class Answer:
    """An answer on its way.

    Attributes:
        status: HTTP's.
        headers: by their names in lower case; of one that stands twice, the last.
        complete: all of it has come; some of it may be unread.
    """

    def __init__(self, connection: "Connection") -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.complete = False
        self._connection = connection
        self._unread: list[bytes] = []
        self._unread_bytes = 0
        self._packing: zlib._Decompress | None = None
        self._error: Exception | None = None
        self._begun = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def connection(self) -> "Connection":
        """What it comes over."""
        return self._connection

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def head(self) -> None:
        """Wait for status and headers.  Raises WentAwayError or TimeoutError."""
        while not self._begun:
            await self._wait()

    async def some(self) -> bytes:
        """What has come of the body since; waits for something; empty at its end.  Raises WentAwayError or TimeoutError."""
        return await self._received() if self._packing is None else await self._unpacked(self._packing)

    async def _unpacked(self, packing: "zlib._Decompress") -> bytes:
        """A bounded piece at a time: a small answer may hold a very large one."""
        while packed := packing.unconsumed_tail or await self._received():
            try:
                data = packing.decompress(packed, UNPACKED_BYTES_MAX)
            except zlib.error as error:
                message = "the answer cannot be unpacked"
                raise WentAwayError(message) from error
            if data:
                return data
        if not packing.eof:
            message = "the answer ends before what is packed in it"
            raise WentAwayError(message)
        return b""

    async def _received(self) -> bytes:
        while not self._unread:
            if self.complete:
                return b""
            await self._wait()
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        if self._unread_bytes > UNREAD_BYTES_MAX:
            self._connection.resume()
        self._unread_bytes = 0
        return data

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        while data := await self.some():
            yield data

    def begin(self, status: int, headers: dict[str, str]) -> None:
        """Status and headers are there."""
        self.status = status
        self.headers = headers
        if headers.get("content-encoding", "").strip().lower() in _PACKED:
            self._packing = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._begun = True
        self._wake()

    def add(self, piece: bytes) -> None:
        """A piece of the body is there."""
        self._unread.append(piece)
        self._unread_bytes += len(piece)
        if self._unread_bytes > UNREAD_BYTES_MAX:
            self._connection.pause()
        self._wake()

    def end(self) -> None:
        """Nothing follows."""
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing follows, and that is wrong; what came before may still be read."""
        if not self.complete and self._error is None:
            self._error = error
            self._wake()

    @property
    def unread(self) -> bool:
        """Something has come that nobody has looked at yet."""
        return bool(self._unread)

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._connection.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """Carries one exchange at a time."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline_s = 0.0
        self._silence_s: float | None = None
        self._heard_s = 0.0
        self._kept_alive = False
        self.idle_since_s = 0.0

    @property
    def reusable(self) -> bool:
        """The last answer came whole, and the upstream has not hung up since."""
        return self._kept_alive and self._transport is not None and not self._transport.is_closing()

    def ask(self, request: bytes, deadline_s: float, silence_s: float | None) -> Answer:
        """Send a request; its answer begins to come.

        Args:
            request: head and body.
            deadline_s: the loop's time at which the answer must be complete.
            silence_s: most seconds without a byte of it.
        """
        assert self._transport is not None, "connected"
        answer = self._answer = Answer(self)
        self._parser = httptools.HttpResponseParser(self)
        self._head: dict[str, str] = {}
        self._head_bytes = 0
        self._until_end = self._information = self._unasked = self._kept_alive = False
        self._deadline_s, self._silence_s, self._heard_s = deadline_s, silence_s, self.loop.time()
        self._start_timer()
        self._transport.write(request)
        return answer

    def leave(self) -> None:
        """Done with the answer; the connection is closed unless it is reusable."""
        self._answer = None
        self.idle_since_s = self.loop.time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.reusable:
            self.close()

    def close(self) -> None:
        """Hang up at once."""
        self._kept_alive = False
        if self._transport is not None:
            self._transport.abort()
        self._fail(WentAwayError("closed"))

    def pause(self) -> None:
        """Let the upstream wait."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        self._heard_s = self.loop.time()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # what a stream's protocol gets
        """The connection is open."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer, or bytes that nobody asked for."""
        answer = self._answer
        if answer is None or answer.complete:
            # A second answer to one request: whoever asks next must not get it.
            self.close()
            return
        self._heard_s = self.loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._broken()
        if self._unasked:
            self.close()
        if not answer.status:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._broken()

    def eof_received(self) -> None:
        """The upstream has said all."""
        if self._until_end and self._answer is not None:
            self._answer.end()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._kept_alive = False
        self._fail(error if isinstance(error, OSError) else WentAwayError("the connection was lost"))

    # What the parser calls.

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of the answer, or of what follows its last chunk."""
        self._head[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Status and headers."""
        status = self._parser.get_status_code()
        self._information = status <= _INFORMATION_MAX
        if self._information:
            self._head = {}
            return
        answer = self._answer
        if answer is None or answer.complete:
            self._unasked = True
            return
        self._until_end = "content-length" not in self._head and "transfer-encoding" not in self._head
        answer.begin(status, self._head)
        # Headers behind the last chunk are not the answer's.
        self._head = {}

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        if self._answer is not None and not self._unasked:
            self._answer.add(piece)

    def on_message_complete(self) -> None:
        """The end of the answer, or of a notice that comes before it."""
        if self._information:
            return
        self._kept_alive = self._parser.should_keep_alive() and not self._until_end and not self._unasked
        if self._answer is not None:
            self._answer.end()

    def _broken(self) -> None:
        self._fail(WentAwayError("the answer is not HTTP"))
        self.close()

    def _fail(self, error: Exception) -> None:
        if self._answer is not None:
            self._answer.fail(error)

    def _start_timer(self) -> None:
        due_s = self._deadline_s if self._silence_s is None else min(self._deadline_s, self._heard_s + self._silence_s)
        self._timer = self.loop.call_at(due_s, self._look)

    def _look(self) -> None:
        """The deadline, or a silence that has lasted too long.  One timer an answer: a piece of it only notes when it came."""
        answer = self._answer
        if answer is None or answer.complete:
            return
        now_s = self.loop.time()
        if answer.unread:
            # The upstream is not silent, the caller is slow.
            self._heard_s = now_s
        if now_s >= self._deadline_s or (self._silence_s is not None and now_s >= self._heard_s + self._silence_s):
            self._fail(TimeoutError("no answer in time"))
        else:
            self._start_timer()
