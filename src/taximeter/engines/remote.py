"""An engine that lives in another process: the client of ``host.py``."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from typing import Any

import aiohttp
import msgspec

from taximeter.engines import wire
from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineTimeout, EngineUnavailable
from taximeter.engines.model import MODALITIES, Done, Event, Job, Modality

_OK = 200
_CONNECT_S = 5.0
_CHECK_S = 10.0
_DRAIN_S = 0.25


class RemoteEngine:
    """Runs jobs on the engine called ``name`` of an engine host.

    It holds no state about the host: a host that was restarted is used again with the next job.

    Args:
        name: the engine's name, here and on the host.
        url: the host's address (``http://127.0.0.1:41001``).
        secret: what the host expects in its secret header.
        modalities: what the engine can do; the host refuses what it cannot.
    """

    def __init__(self, name: str, url: str, *, secret: str, modalities: Iterable[Modality] = MODALITIES) -> None:
        self._name = name
        self._url = url.rstrip("/")
        self._secret = secret
        self._modalities = frozenset(modalities)
        self._session: aiohttp.ClientSession | None = None

    @property
    def name(self) -> str:
        """The engine's name in the catalog."""
        return self._name

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it can run."""
        return self._modalities

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Do one job; closing the generator hangs up, and the host then stops the job."""
        try:
            order = msgspec.msgpack.encode(wire.RunOrder(self._name, job))
        except (OverflowError, TypeError) as error:
            message = "the request holds a number that is too large"
            raise EngineRefused(message) from error
        timeout = aiohttp.ClientTimeout(total=job.deadline_s, connect=_CONNECT_S)
        with self._failures():
            answer = await self._client().post(self._url + wire.RUN_PATH, data=order, timeout=timeout)
        try:
            with self._failures():
                if answer.status != _OK:
                    raise await self._rejection(answer)
                reader = wire.FrameReader()
                async for piece in answer.content.iter_any():
                    for frame in reader.feed(piece):
                        if isinstance(frame, wire.Failure):
                            raise frame.error()
                        if isinstance(frame, Done):
                            await _drain(answer)
                            yield frame
                            return
                        yield frame
                message = f"engine {self._name} stopped in the middle of the job"
                raise EngineFailed(message)
        finally:
            answer.close()

    async def check(self) -> Mapping[str, Any]:
        """The engine's own health facts.  Raises EngineUnavailable when the host or the engine is not well."""
        try:
            async with self._client().get(
                self._url + wire.CHECK_PATH, params={"engine": self._name}, timeout=aiohttp.ClientTimeout(total=_CHECK_S)
            ) as answer:
                if answer.status != _OK:
                    raise await self._rejection(answer)
                facts = msgspec.json.decode(await answer.read(), type=dict[str, Any])
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            message = f"engine {self._name} cannot be reached; try again in a moment"
            raise EngineUnavailable(message) from error
        return facts

    async def close(self) -> None:
        """Hang up all connections; the host stops the jobs that ran over them."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError) as error:
            message = f"engine {self._name} cannot be reached; try again in a moment"
            raise EngineUnavailable(message) from error
        except TimeoutError as error:
            message = f"engine {self._name} gave no result in time"
            raise EngineTimeout(message) from error
        except aiohttp.ClientError as error:
            message = f"engine {self._name} went away in the middle of the job"
            raise EngineFailed(message) from error

    async def _rejection(self, answer: aiohttp.ClientResponse) -> EngineError:
        """The error for an answer that is not a stream of frames."""
        raw = await answer.read()
        try:
            return msgspec.json.decode(raw, type=wire.Failure).error()
        except msgspec.DecodeError:
            return EngineUnavailable(f"the engine host of {self._name} answered with status {answer.status}")

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit on connections: admission decides how many jobs there are, and a job holds one.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0)
            self._session = aiohttp.ClientSession(
                connector=connector, headers={wire.SECRET_HEADER: self._secret}, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session


async def _drain(answer: aiohttp.ClientResponse) -> None:
    """Read the end mark of a finished answer, so that its connection can serve the next job."""
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(_DRAIN_S):
            while not answer.content.at_eof():
                await answer.content.readany()
