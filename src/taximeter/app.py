"""Composition root of a gateway process: settings -> pool, books, engines -> routes -> server."""

import asyncio
import contextlib
import gc
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI

from taximeter.admission import breakers
from taximeter.admission.events import Webhooks
from taximeter.admission.limits import LimitsOffice, LimitStore
from taximeter.engines import Engine, EngineUnavailable
from taximeter.engines.fleet import build_fleet
from taximeter.engines.remote import RemoteEngine
from taximeter.engines.slots import keeping_slots
from taximeter.gateway import Metrics, Services, Surroundings, bounded_protocol, create_app
from taximeter.identity import Identity
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings
from taximeter.metering import Metering, Office, Quotes, Records, Videos, open_office
from taximeter.metering.quotes import QuoteLimits, QuoteStore

# Where prometheus-client keeps the counters of processes that share a port; it reads the variable itself.
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
# Longer than the idle time of the usual clients and load balancers: they close first, and no request is lost between.
KEEP_ALIVE_S = 75
BACKLOG = 2048
# A few megabytes of what only the cyclic collector can free, at most, before it looks; Python's own threshold is 700 objects.
GARBAGE_OBJECTS = 20_000


@asynccontextmanager
async def open_gateway(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[FastAPI]:
    """The application with everything it needs open; on leaving, everything posted and closed.

    Raises SetupError when the database, the object store or the engines' settings cannot be used.
    """
    clock = SystemClock()
    engines = build_fleet(settings, environ)
    async with open_office(settings, engines, "gateway", clock) as office:
        await asyncio.to_thread(Metering(office.desk, office.store).warm_up)
        async with keeping_slots(engines):
            yield compose(office, engines, environ.get(METRICS_FOLDER, ""))


def compose(office: Office, engines: Mapping[str, Engine], metrics_folder: str = "") -> FastAPI:
    """The application over open parts."""
    desk = office.desk
    quote_limits = QuoteLimits(per_minute=office.settings.quotes_per_minute, open_max=office.settings.quotes_open_max)
    services = Services(
        settings=office.settings,
        identity=Identity(office.identity_store, desk.ids, desk.clock, office.settings),
        metering=Metering(desk, office.store),
        quotes=Quotes(desk, QuoteStore(office.pool, quote_limits)),
        videos=Videos(desk, office.jobs, office.store, office.objects),
        records=Records(office.store),
        tenancy=office.tenancy,
        limits=LimitsOffice(LimitStore(office.pool), desk.ids),
        plans=office.plans,
        budgets=office.budgets,
        webhooks=Webhooks(office.pool, desk.ids, office.settings),
        catalog=lambda: desk.catalog,
        surge=office.surge,
        surge_board=lambda: desk.surge,
        resets=breakers.Resets(desk.guard.breakers, office.breakers),
        health=breakers.Health(engines, office.breakers, office.jobs, desk.clock),
    )
    hosted = HostedEngines([engine for engine in engines.values() if isinstance(engine, RemoteEngine)])
    around = Surroundings(
        clock=desk.clock,
        ids=desk.ids,
        metrics=Metrics(metrics_folder),
        checks={"database": office.check_database, "engines": hosted.check},
        figures=office.figures,
    )
    return create_app(services, around)


async def run_gateway(settings: Settings, environ: Mapping[str, str], listener: socket.socket, stop: asyncio.Event) -> None:
    """Serve on a listening socket until ``stop`` is set, then let open requests end within ``settings.stop_grace_s``.

    Raises SetupError as ``open_gateway`` does.
    """
    async with open_gateway(settings, environ) as application:
        with calm_collector():
            await _serve(application, settings, listener, stop)


async def _serve(application: FastAPI, settings: Settings, listener: socket.socket, stop: asyncio.Event) -> None:
    server = _Server(server_config(application, settings))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="server")
    waiting = asyncio.create_task(stop.wait(), name="stop")
    try:
        await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server.should_exit = True
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        await serving


@contextmanager
def calm_collector() -> Iterator[None]:
    """Let the cyclic garbage collector do less: it takes a tenth of a request's time to find next to nothing.

    Vocabularies, catalog and modules stay as long as the process: it need not look at them again and again.  And a
    request makes hundreds of objects, of which hardly any is in a cycle.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS, 10, 10)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def trusted_proxies(settings: Settings) -> list[str]:
    """The addresses and networks of proxies whose headers are believed.  Raises SetupError for what is neither."""
    named = [text.strip() for text in settings.trusted_proxies.split(",") if text.strip()]
    for text in named:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            message = f"TAXIMETER_TRUSTED_PROXIES has {text!r}, which is no address and no network ({error}); correct it"
            raise SetupError(message) from error
    return named


def server_config(application: FastAPI, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves: httptools with bounded headers, no WebSockets, our own access log."""
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    # A malformed form is the caller's affair: it is answered with a 400.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    return uvicorn.Config(
        application,
        http=bounded_protocol(settings.header_bytes_max, settings.header_timeout_s),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        # What a client says about its own address is worth nothing; what a proxy says, only when the operator has named it.
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=trusted_proxies(settings),
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, int(settings.stop_grace_s)),
        backlog=BACKLOG,
    )


class _Server(uvicorn.Server):
    """Leaves signals alone.

    uvicorn raises the signal again when it is done, which would end the process before the books are closed.
    """

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HostedEngines:
    """Whether the engines that run beside the gateway have come up.

    The gateway is not ready before each of them has answered once.  Later on, one that is down is told
    but does not make the gateway unready: requests for the others must go on.
    """

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = engines
        self._seen: set[str] = set()

    async def check(self) -> Mapping[str, Any]:
        """Which engines are up.  Raises EngineUnavailable until each of them was."""
        states = dict(await asyncio.gather(*(self._state(engine) for engine in self._engines)))
        if len(self._seen) < len(self._engines):
            missing = sorted({engine.name for engine in self._engines} - self._seen)
            message = f"not up yet: {', '.join(missing)}"
            raise EngineUnavailable(message)
        return states

    async def _state(self, engine: Engine) -> tuple[str, str]:
        try:
            await engine.check()
        except EngineUnavailable:
            return engine.name, "down"
        self._seen.add(engine.name)
        return engine.name, "up"
