"""The walk of ``taximeter serve``: from settings to ready to stopped, with one line for whatever is in the way."""

import asyncio
import dataclasses
import json
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path

from taximeter.cli import lifeline
from taximeter.cli.supervisor import network
from taximeter.cli.supervisor.child import ChildSpec
from taximeter.cli.supervisor.database import Database
from taximeter.cli.supervisor.demo import DemoFile, prepare_demo
from taximeter.cli.supervisor.family import Family
from taximeter.cli.supervisor.state import State, remove_state, run_folder, serve_lock, write_secret, write_state
from taximeter.db.embedded import make_home
from taximeter.db.migrate import migrate
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.errors import SetupError
from taximeter.kernel.key_file import open_keys
from taximeter.kernel.settings import Settings

READY_TIMEOUT_S = 180.0
READY_POLL_S = 0.1
# What a process gets on top of the drain time to close its own affairs.
MARGIN_S = 2.0
# One process per family of native libraries: a crash in one leaves the others running.
ENGINE_HOSTS: Mapping[str, tuple[str, ...]] = {
    "text": ("demo-text", "demo-embeddings"),
    "speech": ("demo-speech",),
    "video": ("demo-video",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for beyond the settings."""

    gateway_only: bool = False


class Server:
    """One run of ``taximeter serve``.

    Args:
        settings: the settings, command line included.
        environ: what the children's environments start from.
        options: what to leave out.
        say: prints one line.
    """

    def __init__(self, settings: Settings, environ: Mapping[str, str], options: Options, say: Callable[[str], None]) -> None:
        self._settings = settings
        self._environ = environ
        self._options = options
        self._say = say
        self._clock = SystemClock()
        self._home = Path()
        self._secret = settings.host_secret or secrets.token_urlsafe(24)
        self._lifeline: tuple[int, int] = (-1, -1)
        self._ready = False

    async def run(self) -> int:
        """Serve until SIGINT, SIGTERM or SIGHUP; returns 0.  Raises SetupError when it cannot, or can no longer."""
        started_s = self._clock.monotonic_s()
        stop, hurry = self._listen_for_signals()
        listener = network.bind(self._settings.host, self._settings.port)
        self._home = make_home(self._settings.home)
        # What we and our children write is nobody else's business; a root's home is open for the database's user.
        os.umask(0o077)
        lock = serve_lock(self._home)
        lock.acquire()
        self._lifeline = os.pipe()
        family = Family(self._print, self._clock, lambda: self._tell_state(family, database))
        database = Database(self._settings, self._home, self._clock, self._say)
        try:
            prepared = await _unless(stop, self._bring_up(family, database, listener))
            if prepared:
                self._announce(self._clock.monotonic_s() - started_s)
                self._ready = True
                self._tell_state(family, database)
                await _unless(stop, _first_failure(family, database))
            return 0
        finally:
            listener.close()
            self._ready = False
            await self._bring_down(family, hurry)
            await database.stop()
            remove_state(self._home)
            for end in self._lifeline:
                os.close(end)
            lock.release()

    async def _bring_up(self, family: Family, database: Database, listener: socket.socket) -> None:
        """Everything up to the first request; what does not depend on each other runs side by side."""
        hosts: dict[str, str] = {}
        if self._settings.demo and not self._options.gateway_only:
            hosts = self._start_hosts(family)
        await database.start()
        environ = self._child_environ(database.url, hosts)
        # One for all gateways, made at the first start.
        open_keys(dataclasses.replace(self._settings, home=self._home))
        if not self._options.gateway_only:
            await self._prepare(database.url, environ["TAXIMETER_ADMIN_KEY"])
            family.add(ChildSpec("worker", ("worker",), environ, (self._lifeline[0],)))
        for number in range(1, self._settings.gateways + 1):
            spec = ChildSpec(
                f"gateway-{number}", ("gateway-process", "--fd", str(listener.fileno())), environ, (self._lifeline[0], listener.fileno())
            )
            family.add(spec)
        await _any_of(self._until_ready(), _raise_failure(family))

    async def _prepare(self, url: str, admin_key: str) -> None:
        applied = await migrate(url)
        if applied:
            self._say(f"database brought up to date ({applied[-1].removesuffix('.sql')})")
        if self._settings.demo:
            await prepare_demo(url, self._settings, DemoFile(self._home / "demo.env", self._url(), admin_key))

    def _start_hosts(self, family: Family) -> dict[str, str]:
        """Start the engine hosts, which need nothing from us; returns the address of each engine."""
        addresses = {}
        for name, engines in ENGINE_HOSTS.items():
            port = network.free_port()
            environ = {**self._common_environ(), "TAXIMETER_HOST_PORT": str(port)}
            family.add(ChildSpec(name, ("worker", "--host", ",".join(engines)), environ, (self._lifeline[0],)))
            addresses.update(dict.fromkeys(engines, f"http://127.0.0.1:{port}"))
        return addresses

    def _common_environ(self) -> dict[str, str]:
        return {
            **self._environ,
            "PYTHONUNBUFFERED": "1",
            "TAXIMETER_HOME": str(self._home),
            "TAXIMETER_HOST_SECRET": self._secret,
            lifeline.VARIABLE: str(self._lifeline[0]),
        }

    def _child_environ(self, url: str, hosts: Mapping[str, str]) -> dict[str, str]:
        metrics = {"PROMETHEUS_MULTIPROC_DIR": str(_metrics_folder(self._home))} if self._settings.gateways > 1 else {}
        return {
            **self._common_environ(),
            **metrics,
            "TAXIMETER_DATABASE_URL": url,
            "TAXIMETER_ADMIN_KEY": self._settings.admin_key or _kept_admin_key(self._home / "admin.key"),
            "TAXIMETER_ENGINE_HOSTS": json.dumps({**_given_hosts(self._settings.engine_hosts), **hosts}),
        }

    async def _until_ready(self) -> None:
        deadline_s = self._clock.monotonic_s() + READY_TIMEOUT_S
        while not await network.is_ready(self._settings.host, self._settings.port):
            if self._clock.monotonic_s() > deadline_s:
                message = f"not ready after {READY_TIMEOUT_S:.0f} s; the lines above and GET {self._url()}/readyz say what is missing"
                raise SetupError(message)
            await asyncio.sleep(READY_POLL_S)

    async def _bring_down(self, family: Family, hurry: asyncio.Event) -> None:
        """Those who depend on others first: gateways drain, then the worker, then the engines."""
        if family.names():
            self._say("stopping (Ctrl-C again hurries)")
        grace_s = self._settings.stop_grace_s + MARGIN_S
        await family.stop(family.names("gateway"), grace_s, hurry)
        await family.stop(family.names("worker"), grace_s, hurry)
        await family.stop(family.names(), MARGIN_S, hurry)

    def _tell_state(self, family: Family, database: Database) -> None:
        """What other commands look up; from the moment when they can rely on it."""
        if self._ready:
            write_state(self._home, State(os.getpid(), self._url(), database.url, family.pids()))

    def _announce(self, seconds: float) -> None:
        self._say(f"ready on {self._url()} after {seconds:.1f} s")
        if self._settings.demo and not self._options.gateway_only:
            self._say(f"  try it   set -a; . {_typed(self._home / 'demo.env')}; set +a; {_typed(Path(sys.executable))} examples/quickstart.py")
        self._say(f"  pages    {self._url()}/  {self._url()}/docs  {self._url()}/metrics")
        self._say("  stop     Ctrl-C")

    def _url(self) -> str:
        return network.local_url(self._settings.host, self._settings.port)

    def _print(self, name: str, line: str) -> None:
        self._say(f"{name:<9} | {line}")

    def _listen_for_signals(self) -> tuple[asyncio.Event, asyncio.Event]:
        stop, hurry = asyncio.Event(), asyncio.Event()

        def received() -> None:
            (hurry if stop.is_set() else stop).set()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, received)
        return stop, hurry


def _metrics_folder(home: Path) -> Path:
    """Where several gateways keep their counters; those of an earlier run are of no use."""
    folder = run_folder(home) / "metrics"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def _typed(path: Path) -> str:
    """A path as one would type it here: relative when it is below."""
    return shlex.quote(str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path))


def _kept_admin_key(path: Path) -> str:
    """The admin key of this installation, made at the first start."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        key = f"txadmin_{secrets.token_urlsafe(24)}"
        write_secret(path, key + "\n")
        return key


async def _first_failure(family: Family, database: Database) -> None:
    await _any_of(_raise_failure(family), database.keep_alive())


async def _raise_failure(family: Family) -> None:
    raise await family.failure()


async def _unless(stop: asyncio.Event, work: Coroutine[object, object, None]) -> bool:
    """Do the work unless we are told to stop; whether it was finished.  Its errors are raised."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
        return False
    task.result()
    return True


async def _any_of(*works: Coroutine[object, object, None]) -> None:
    """Wait for whichever ends first and cancel the others; its error is raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _given_hosts(text: str) -> dict[str, str]:
    """Engine hosts on other machines, as the setting names them; the gateways say what is wrong with it."""
    try:
        given = json.loads(text or "{}")
    except ValueError as error:
        message = f"TAXIMETER_ENGINE_HOSTS is not a JSON object of addresses ({error})"
        raise SetupError(message) from error
    if not isinstance(given, dict):
        message = "TAXIMETER_ENGINE_HOSTS is not a JSON object of addresses"
        raise SetupError(message)
    return given
