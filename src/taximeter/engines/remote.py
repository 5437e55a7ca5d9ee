"""An engine that lives in another process: the client of ``host.py``."""

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec
from yarl import URL

from taximeter.engines import wire
from taximeter.engines.errors import EngineError, EngineFailed, EngineRefused, EngineUnavailable
from taximeter.engines.http_connection import Answer, WentAwayError
from taximeter.engines.http_pool import HttpPool, UnreachableError
from taximeter.engines.model import MODALITIES, Done, Event, Job, Modality

_OK = 200
_CONNECT_S = 5.0
_CHECK_S = 10.0
_KEEPALIVE_S = 4.0


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
        self.asked = False
        self._check_path = f"{wire.CHECK_PATH}?engine={quote(name, safe='')}"
        self._modalities = frozenset(modalities)
        self._slots: int | None = None
        # No limit on connections: admission decides how many jobs there are, and a job holds one.
        self._pool = HttpPool(name, URL(url), {wire.SECRET_HEADER: secret}, connections=0, connect_s=_CONNECT_S, keepalive_s=_KEEPALIVE_S)

    @property
    def name(self) -> str:
        """The engine's name in the catalog."""
        return self._name

    @property
    def modalities(self) -> frozenset[Modality]:
        """What it can run."""
        return self._modalities

    @property
    def slots(self) -> int | None:
        """What its host has said; None until it was asked the first time."""
        return self._slots

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Do one job; closing the generator hangs up, and the host then stops the job."""
        try:
            order = msgspec.msgpack.encode(wire.RunOrder(self._name, job))
        except (OverflowError, TypeError) as error:
            message = "the request holds a number that is too large"
            raise EngineRefused(message) from error
        with self._pool.failures():
            answer = await self._pool.post(wire.RUN_PATH, order, deadline_s=job.deadline_s)
        try:
            with self._pool.failures():
                if answer.status != _OK:
                    raise await self._rejection(answer)
                reader = wire.FrameReader()
                while piece := await answer.some():
                    for frame in reader.feed(piece):
                        if isinstance(frame, wire.Failure):
                            raise frame.error()
                        if isinstance(frame, Done):
                            await self._pool.finish(answer)
                            yield frame
                            return
                        yield frame
                message = f"engine {self._name} stopped in the middle of the job"
                raise EngineFailed(message)
        finally:
            self._pool.release(answer)

    async def check(self) -> Mapping[str, Any]:
        """The engine's own health facts.  Raises EngineUnavailable when the host or the engine is not well."""
        try:
            answer = await self._pool.get(self._check_path, deadline_s=_CHECK_S)
            try:
                if answer.status != _OK:
                    raise await self._rejection(answer)
                facts = msgspec.json.decode(await _all(answer), type=dict[str, Any])
            finally:
                self._pool.release(answer)
        except (UnreachableError, WentAwayError, OSError, msgspec.DecodeError) as error:
            message = f"engine {self._name} cannot be reached; try again in a moment"
            raise EngineUnavailable(message) from error
        slots, self.asked = facts.get("slots"), True
        self._slots = slots if isinstance(slots, int) and slots > 0 else None
        return facts

    async def close(self) -> None:
        """Hang up all connections; the host stops the jobs that ran over them."""
        await self._pool.close()

    async def _rejection(self, answer: Answer) -> EngineError:
        """The error for an answer that is not a stream of frames."""
        raw = await _all(answer)
        try:
            return msgspec.json.decode(raw, type=wire.Failure).error()
        except msgspec.DecodeError:
            return EngineUnavailable(f"the engine host of {self._name} answered with status {answer.status}")


async def _all(answer: Answer) -> bytes:
    return b"".join([piece async for piece in answer.pieces()])
