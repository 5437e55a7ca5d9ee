"""The HTTP client of the adapters: pooled, with HTTP's failures in an engine's words, and a close that really ends things."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping

import aiohttp
from yarl import URL

from taximeter.engines.errors import EngineFailed, EngineTimeout, EngineUnavailable

_DRAIN_S = 0.25
"""How long a finished answer may take to end formally; after that its connection is not kept."""


class HttpPool:
    """Connections to one engine.

    aiohttp forgets those who wait for a connection that its session closes: they would wait for ever.  This
    pool knows them and tells them.

    Args:
        name: the engine, for messages.
        headers: sent with every request.
        connections: most at a time; 0 for no limit.
        connect_s: seconds to get a connection, waiting for a free one included.
        keepalive_s: seconds an idle connection is kept; 0 makes one for each request.
    """

    def __init__(self, name: str, headers: Mapping[str, str], *, connections: int, connect_s: float, keepalive_s: float) -> None:
        self._name = name
        self._headers = dict(headers)
        self._connections = connections
        self._connect_s = connect_s
        self._keepalive_s = keepalive_s
        self._session: aiohttp.ClientSession | None = None
        self._waiting: set[asyncio.Timeout] = set()
        self._open: set[aiohttp.ClientResponse] = set()

    async def post(self, url: URL, body: bytes, *, deadline_s: float, silence_s: float | None = None) -> aiohttp.ClientResponse:
        """Send ``body``; ``deadline_s`` covers reading the answer too.  Give the answer back with ``release``."""
        timeout = aiohttp.ClientTimeout(total=deadline_s, connect=self._connect_s, sock_read=silence_s)
        scope = asyncio.timeout(None)
        self._waiting.add(scope)
        try:
            async with scope:
                answer = await self.session().post(url, data=body, allow_redirects=False, timeout=timeout)
        except TimeoutError as error:
            if scope.expired():
                message = "closed"
                raise aiohttp.ClientConnectionError(message) from error
            raise
        finally:
            self._waiting.discard(scope)
        self._open.add(answer)
        return answer

    async def finish(self, answer: aiohttp.ClientResponse) -> None:
        """Read the formal end of an answer that has said all, so that its connection can be used again."""
        with contextlib.suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(_DRAIN_S):
                while not answer.content.at_eof():
                    await answer.content.readany()

    def release(self, answer: aiohttp.ClientResponse) -> None:
        """Done with this answer; unless it was read to its end, this hangs up."""
        self._open.discard(answer)
        answer.close()

    @contextlib.contextmanager
    def failures(self, work: Callable[[], Mapping[str, int]] = dict) -> Iterator[None]:
        """Turn the HTTP client's exceptions into an engine's; ``work`` is asked for what was done until then."""
        try:
            yield
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            message = f"engine {self._name} cannot be reached; try again in a moment"
            raise EngineUnavailable(message) from error
        except TimeoutError as error:
            message = f"engine {self._name} gave no result in time"
            raise EngineTimeout(message, work=work()) from error
        except aiohttp.ClientError as error:
            message = f"engine {self._name} went away in the middle of the job"
            raise EngineFailed(message, work=work()) from error

    def session(self) -> aiohttp.ClientSession:
        """The client session, made when it is first needed because it belongs to the running event loop."""
        if self._session is None:
            connector = (
                aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=self._keepalive_s)
                if self._keepalive_s > 0
                else aiohttp.TCPConnector(limit=self._connections, force_close=True)
            )
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def close(self) -> None:
        """Hang up all connections; jobs that run over them fail now."""
        now = asyncio.get_running_loop().time()
        for scope in self._waiting:
            scope.reschedule(now)
        for answer in tuple(self._open):
            answer.content.set_exception(aiohttp.ClientConnectionError("closed"))
            self.release(answer)
        session, self._session = self._session, None
        if session is not None:
            await session.close()
