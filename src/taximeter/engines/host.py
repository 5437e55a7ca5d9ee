"""The engine host: serves a set of engines to other processes on loopback, and stops a job whose caller hangs up."""

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import msgspec
from aiohttp import web

from taximeter.engines import wire
from taximeter.engines.errors import EngineError, EngineFailed, EngineUnavailable
from taximeter.engines.model import Engine

ORDER_BYTES_MAX = 32 * 1024 * 1024
_SHUTDOWN_S = 1.0
_log = logging.getLogger(__name__)


class Startable(Protocol):
    """An engine that likes to load its model before the first job."""

    async def start(self) -> None:
        """Load."""
        ...


async def serve_host(  # noqa: PLR0913 - an address, a secret and how to stop
    engines: Sequence[Engine],
    *,
    host: str,
    port: int,
    secret: str,
    stop: asyncio.Event,
    grace_s: float = 5.0,
    ready: Callable[[str], None] = lambda _url: None,
) -> None:
    """Serve ``engines`` until ``stop`` is set, then cancel what runs and close them.

    Args:
        engines: started here when they have ``start``; an engine that cannot start is served all the
            same, answers ``engine_unavailable``, and says why on ``/check``.
        host: address to listen on, normally ``127.0.0.1``.
        port: 0 chooses a free one.
        secret: what callers must send; compared in constant time.
        stop: set it (from a signal handler) to end.
        grace_s: most seconds for jobs and engines to wind up after ``stop``.
        ready: called with the address once connections are accepted.
    """
    desk = HostDesk(engines, secret)
    runner = web.AppRunner(desk.app(), handler_cancellation=True, access_log=None, shutdown_timeout=_SHUTDOWN_S)
    try:
        for engine in engines:
            await _start(engine)
        await runner.setup()
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = runner.addresses[0][1]
        ready(f"http://{host}:{bound}")
        await stop.wait()
        await site.stop()
        await desk.cancel_all(grace_s)
    finally:
        await runner.cleanup()
        for engine in engines:
            await _close(engine, grace_s)


class HostDesk:
    """The host's two routes, and the jobs that are running."""

    def __init__(self, engines: Sequence[Engine], secret: str) -> None:
        if not secret:
            message = "an engine host needs a secret"
            raise ValueError(message)
        self._engines = {engine.name: engine for engine in engines}
        self._secret = secret.encode()
        self._running: set[asyncio.Task[Any]] = set()
        self._jobs = dict.fromkeys(self._engines, 0)
        self._stopping = False
        self._decoder = msgspec.msgpack.Decoder(wire.RunOrder)

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=ORDER_BYTES_MAX)
        app.router.add_post(wire.RUN_PATH, self.run)
        app.router.add_get(wire.CHECK_PATH, self.check)
        return app

    async def run(self, request: web.Request) -> web.StreamResponse:
        """Do one job and stream its events; the caller's hanging up cancels this handler and so the job."""
        self._require_secret(request)
        if self._stopping:
            return _rejection(503, EngineUnavailable("the engine host is stopping; try again in a moment"))
        try:
            order = self._decoder.decode(await request.read())
        except msgspec.DecodeError as error:
            return _rejection(400, EngineFailed(f"the engine host cannot read the job: {error}"))
        engine = self._engines.get(order.engine)
        if engine is None:
            return _rejection(404, EngineUnavailable(f"engine {order.engine} is not on this host"))
        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._running.add(task)
        self._jobs[engine.name] += 1
        answer = web.StreamResponse(headers={"Content-Type": "application/octet-stream"})
        try:
            await answer.prepare(request)
            await self._relay(engine, order, answer, task)
            await answer.write_eof()
        except ConnectionError:
            _log.info("engine %s: the caller of job %s hung up", engine.name, order.job.id)
        finally:
            self._running.discard(task)
            self._jobs[engine.name] -= 1
        return answer

    async def check(self, request: web.Request) -> web.Response:
        """Health of one engine (``?engine=name``) with how many jobs are at it, those that wait for their turn included; or the names of all."""
        self._require_secret(request)
        name = request.query.get("engine")
        if name is None:
            return web.json_response({"engines": sorted(self._engines), "running": len(self._running)})
        engine = self._engines.get(name)
        if engine is None:
            return _rejection(404, EngineUnavailable(f"engine {name} is not on this host"))
        try:
            facts = {**await engine.check(), "jobs": self._jobs[name]}
            return web.json_response(facts if engine.slots is None else {**facts, "slots": engine.slots})
        except EngineError as error:
            return _rejection(error.status, error)

    async def cancel_all(self, grace_s: float) -> None:
        """Cancel every job; each caller is told before its connection ends."""
        self._stopping = True
        running = set(self._running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=grace_s)

    async def _relay(self, engine: Engine, order: wire.RunOrder, answer: web.StreamResponse, task: "asyncio.Task[Any]") -> None:
        failure: EngineError | None = None
        try:
            events = engine.run(order.job)
            try:
                async for event in events:
                    await _send(answer, event)
            finally:
                close = getattr(events, "aclose", None)
                if close is not None:
                    await close()
        except EngineError as error:
            failure = error
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            task.uncancel()
            failure = EngineFailed("the engine was stopped by its operator; nothing was delivered")
        except _CallerGoneError:
            return
        except Exception:  # noqa: BLE001 - the process edge: a bug in one engine must not end the others' jobs
            _log.exception("engine %s: job %s failed unexpectedly", engine.name, order.job.id)
            failure = EngineFailed(f"engine {engine.name} failed unexpectedly; its host's log says why")
        if failure is not None:
            with contextlib.suppress(_CallerGoneError):
                await _send(answer, wire.Failure.of(failure))

    def _require_secret(self, request: web.Request) -> None:
        given = request.headers.get(wire.SECRET_HEADER, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, self._secret):
            raise web.HTTPForbidden(text="this engine host serves its own Taximeter only")


class _CallerGoneError(Exception):
    """The connection to the caller broke; there is nobody to tell."""


async def _send(answer: web.StreamResponse, frame: wire.Frame) -> None:
    try:
        await answer.write(wire.pack(frame))
    except ConnectionError as error:
        raise _CallerGoneError from error


def _rejection(status: int, error: EngineError) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(wire.Failure.of(error)), content_type="application/json")


async def _start(engine: Engine) -> None:
    start = getattr(engine, "start", None)
    if start is None:
        return
    try:
        await cast("Startable", engine).start()
    except EngineError as error:
        _log.warning("engine %s does not start: %s", engine.name, error.message)


async def _close(engine: Engine, grace_s: float) -> None:
    try:
        async with asyncio.timeout(grace_s):
            await engine.close()
    except TimeoutError:
        _log.warning("engine %s did not close within %.0f s", engine.name, grace_s)
