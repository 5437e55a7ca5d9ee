"""The HTTP client of the adapters: pooled, with HTTP's failures in an engine's words, and a close that really ends things."""

import asyncio
import base64
import contextlib
import ssl
import sys
from collections import deque
from collections.abc import Callable, Mapping
from types import TracebackType

from yarl import URL

import taximeter
from taximeter.engines.errors import EngineFailed, EngineTimeout, EngineUnavailable
from taximeter.engines.http_connection import Answer, Connection, WentAwayError

_DRAIN_S = 0.25
"""How long a finished answer may take to end formally; after that its connection is not kept."""


class UnreachableError(Exception):
    """There is no connection to be had; nothing was sent."""


class HttpPool:
    """Connections to one engine.

    Args:
        name: the engine, for messages.
        base: its address; what paths are appended to.
        headers: sent with every request.
        connections: most at a time; 0 for no limit.
        connect_s: seconds to get a connection, waiting for a free one included.
        keepalive_s: seconds an idle connection is kept; 0 makes one for each request.

    Raises ValueError for headers that HTTP cannot carry.
    """

    def __init__(self, name: str, base: URL, headers: Mapping[str, str], *, connections: int, connect_s: float, keepalive_s: float) -> None:
        self._name = name
        self._base = base
        self._address = (base.raw_host or "", base.port or 0)
        self._tls = ssl.create_default_context() if base.scheme == "https" else None
        self._headers = _header_lines(base, headers)
        self._connect_s = connect_s
        self._keepalive_s = keepalive_s
        self._heads: dict[tuple[str, str], bytes] = {}
        self._room = asyncio.Semaphore(connections or sys.maxsize)
        # The one that was used last is the last.
        self._idle: deque[Connection] = deque()
        self._sweeping: asyncio.TimerHandle | None = None
        self._waiting: set[asyncio.Timeout] = set()
        self._open: set[Answer] = set()
        self._closings = 0

    @property
    def idle(self) -> int:
        """Connections that wait to be used again."""
        return sum(connection.reusable for connection in self._idle)

    async def post(self, path: str, body: bytes, *, deadline_s: float, silence_s: float | None = None) -> Answer:
        """Send ``body``; ``deadline_s`` covers reading the answer too.  Give the answer back with ``release``.

        Raises UnreachableError, TimeoutError, WentAwayError or OSError (see ``failures``), as reading the answer does.
        """
        return await self._ask(self._head("POST", path) + b"content-length: %d\r\n\r\n" % len(body) + body, deadline_s, silence_s)

    async def get(self, path: str, *, deadline_s: float) -> Answer:
        """Ask for something.  As ``post``."""
        return await self._ask(self._head("GET", path) + b"\r\n", deadline_s, None)

    async def finish(self, answer: Answer) -> None:
        """Read the formal end of an answer that has said all, so that its connection can be used again."""
        if answer.complete:
            return
        with contextlib.suppress(TimeoutError, WentAwayError, OSError):
            async with asyncio.timeout(_DRAIN_S):
                while await answer.some():
                    pass

    def release(self, answer: Answer) -> None:
        """Done with this answer; unless it was read to its end, this hangs up."""
        if answer not in self._open:
            return
        self._open.discard(answer)
        self._room.release()
        connection = answer.connection
        connection.leave()
        if connection.reusable and self._keepalive_s > 0:
            self._idle.append(connection)
            self._start_sweep()
        else:
            connection.close()

    def failures(self, work: Callable[[], Mapping[str, int]] = dict) -> "Failures":
        """``with`` it, the HTTP client's exceptions become an engine's; ``work`` is asked for what was done until then."""
        return Failures(self._name, work)

    async def close(self) -> None:
        """Hang up all connections; jobs that run over them, or wait for one, fail now."""
        self._closings += 1
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            scope.reschedule(now)
        for answer in tuple(self._open):
            answer.connection.close()
            self.release(answer)
        self._sweep(float("inf"))

    async def _ask(self, request: bytes, deadline_s: float, silence_s: float | None) -> Answer:
        begun_s = asyncio.get_running_loop().time()
        connection = None if self._room.locked() else self._take_idle(begun_s)
        if connection is None:
            connection = await self._connection(min(self._connect_s, deadline_s))
        else:
            await self._room.acquire()  # Does not wait: there is room.
        answer = connection.ask(request, begun_s + deadline_s, silence_s)
        self._open.add(answer)
        try:
            await answer.head()
        except BaseException:
            self.release(answer)
            raise
        return answer

    async def _connection(self, patience_s: float) -> Connection:
        """A connection, and with it a place in the room."""
        closings = self._closings
        scope = asyncio.timeout(patience_s)
        self._waiting.add(scope)
        try:
            async with scope:
                await self._room.acquire()
                try:
                    return self._take_idle(asyncio.get_running_loop().time()) or await self._connect()
                except BaseException:
                    self._room.release()
                    raise
        except OSError as error:  # A timeout is one, too.
            if self._closings != closings:
                message = "closed"
                raise WentAwayError(message) from error
            raise UnreachableError(str(error)) from error
        finally:
            self._waiting.discard(scope)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(Connection, *self._address, ssl=self._tls)
        return connection

    def _take_idle(self, now_s: float) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable and now_s - connection.idle_since_s < self._keepalive_s:
                return connection
            connection.close()
        return None

    def _start_sweep(self) -> None:
        if self._sweeping is None:
            self._sweeping = asyncio.get_running_loop().call_later(self._keepalive_s, self._sweep_stale)

    def _sweep_stale(self) -> None:
        self._sweep(asyncio.get_running_loop().time() - self._keepalive_s)
        if self._idle:
            self._start_sweep()

    def _sweep(self, idle_since_s: float) -> None:
        """Hang up what has been idle since then or before."""
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        while self._idle and self._idle[0].idle_since_s <= idle_since_s:
            self._idle.popleft().close()

    def _head(self, method: str, path: str) -> bytes:
        """The lines of a request that are always the same."""
        head = self._heads.get((method, path))
        if head is None:
            target = URL(str(self._base).rstrip("/") + path).raw_path_qs
            head = self._heads[method, path] = f"{method} {target} HTTP/1.1\r\n".encode("ascii") + self._headers
        return head


class Failures:
    """The words for what went wrong; a class, because entering a generator costs several times as much."""

    def __init__(self, name: str, work: Callable[[], Mapping[str, int]]) -> None:
        self._name = name
        self._work = work

    def __enter__(self) -> None:
        """Nothing has gone wrong yet."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Raises EngineUnavailable, EngineTimeout or EngineFailed for the client's exceptions; any other passes."""
        if error is None:
            return
        if isinstance(error, UnreachableError):
            message = f"engine {self._name} cannot be reached; try again in a moment"
            raise EngineUnavailable(message) from error
        if isinstance(error, TimeoutError):
            message = f"engine {self._name} gave no result in time"
            raise EngineTimeout(message, work=self._work()) from error
        if isinstance(error, WentAwayError | OSError):
            message = f"engine {self._name} went away in the middle of the job"
            raise EngineFailed(message, work=self._work()) from error


def _header_lines(base: URL, headers: Mapping[str, str]) -> bytes:
    default = {"host": base.host_port_subcomponent or "", "user-agent": f"taximeter/{taximeter.__version__}", "accept-encoding": "identity"}
    if base.user is not None:
        default["authorization"] = "Basic " + base64.b64encode(f"{base.user}:{base.password or ''}".encode()).decode()
    lines = {**default, **{name.lower(): value for name, value in headers.items()}}
    if not all(value.isprintable() for value in lines.values()):
        message = "a header has characters that HTTP does not carry; is there a line end in the key?"
        raise ValueError(message)
    return "".join(f"{name}: {value}\r\n" for name, value in lines.items()).encode()
