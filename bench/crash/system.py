"""The system under test: the embedded PostgreSQL with fsync on, two gateways and a worker, as processes of their own.

The harness is their supervisor: it starts whatever it has killed, as ``taximeter serve`` does, but never gives up on anything.
"""

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg

from bench import processes
from bench.crash import engines
from taximeter.cli import EXIT_CONFIG
from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from taximeter.db.pool import DATABASE_ERRORS, connect_owner
from taximeter.identity import Identity
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import UTOK_PER_TOKEN
from taximeter.metering import open_office
from taximeter.metering.fares import METERS
from taximeter.metering.spool import spool_folder, survey
from taximeter.pricing import apply_dir

CATALOG = Path(__file__).parent / "catalog"
GATEWAYS = ("gateway-1", "gateway-2")
WORKER = "worker"
LANES = 4
VIDEO_LANE = LANES - 1
"""One project has it for itself and orders nothing but videos."""
WALLET_TOKENS = 100_000_000
PATIENCE_S = 60.0
POLL_S = 0.01
QUERY_TIMEOUT_S = 5.0
# Short lives, so that what a dead process has left is settled within seconds.
SETTINGS: Mapping[str, str] = {
    "LANES": str(LANES),
    "SETTLE_PATIENCE_S": "0.3",
    "CHAT_TIMEOUT_S": "8",
    "SPEECH_TIMEOUT_S": "8",
    "HOLD_TTL_S": "4",
    "PROCESS_DEAD_S": "2.5",
    "SWEEP_INTERVAL_S": "0.25",
    "JOB_LEASE_S": "2.5",
    "JOBS_PARALLEL": "2",
    # However often its worker is killed, a video that was ordered is to be made.
    "VIDEO_ATTEMPTS_MAX": "1000",
    "VIDEO_HOLD_TTL_S": "600",
    "STOP_GRACE_S": "1",
    "POOL_SIZE": "4",
    "DEMO": "0",
    "LOG_LEVEL": "error",
}


class CrashError(Exception):
    """The harness itself cannot go on; says what it waited for."""


async def until(condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Wait for a condition.  Raises CrashError naming it."""
    deadline_s = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline_s:
            message = f"waited {patience_s:.0f} s in vain: {what}"
            raise CrashError(message)
        await asyncio.sleep(POLL_S)


@dataclass
class Member:
    """A gateway or the worker, through all its lives.

    Attributes:
        armed: the fault point of the present life.
        listener: a gateway's socket; it stays open between two lives, as the supervisor's does.
    """

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    fds: tuple[int, ...]
    log: Path
    listener: socket.socket | None = None
    armed: str = ""
    bug: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where a gateway listens."""
        assert self.listener is not None
        port: int = self.listener.getsockname()[1]
        return port

    @property
    def pid(self) -> int:
        """The present life's."""
        assert self.process is not None
        return self.process.pid

    def start(self, armed: str = "") -> None:
        """Begin a life."""
        assert self.process is None or self.process.poll() is not None
        self.armed = armed
        module = ["bench.crash.sabotage", self.bug] if self.bug else ["taximeter.cli"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own program
                processes.python(module[0], *module[1:], *self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=processes.ROOT,
                env={**self.environ, "TAXIMETER_FAULT_POINT": armed},
                pass_fds=self.fds,
                start_new_session=True,
            )

    def is_listening(self) -> bool:
        """Whether a gateway has begun to listen."""
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def is_dead(self) -> bool:
        """Whether this life is over."""
        return self.process is None or self.process.poll() is not None

    def is_frozen(self) -> bool:
        """Whether it has stopped itself."""
        if self.is_dead():
            return False
        stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        return stat.rpartition(")")[2].split()[0] == "T"

    def is_struck(self) -> bool:
        """Whether its fault point was reached."""
        if self.process is not None and self.process.poll() is not None:
            return self.process.returncode == -signal.SIGKILL
        return self.is_frozen()

    def ended_by_itself(self) -> int | None:
        """The exit code of a process that nobody has killed."""
        code = None if self.process is None else self.process.poll()
        return None if code == -signal.SIGKILL else code

    def kill(self) -> None:
        """SIGKILL, frozen or not."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send something else."""
        if not self.is_dead():
            os.kill(self.pid, number)


@dataclass(frozen=True)
class Tenant:
    """A project with a wallet that it cannot empty."""

    lane: int
    project_id: str
    key: str


@dataclass
class System:
    """All of it.  Used as: make, ``await open()``, ``close()``.

    Attributes:
        home: TAXIMETER_HOME.
        logs: where the processes' output goes.
        options: of PostgreSQL, on top of the embedded server's own.
        bug: what ``sabotage`` does to the gateways.
        ends: processes that ended by themselves, and their exit codes.
    """

    home: Path
    logs: Path
    outside: engines.Engines
    options: Mapping[str, str] = field(default_factory=dict)
    bug: str = ""
    url: str = ""
    tenants: list[Tenant] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    ends: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Prepare what outlives each process."""
        self.postgres = EmbeddedPostgres(self.home, options=self.options)
        self._lifeline = os.pipe()

    async def open(self) -> None:
        """Database, catalog, tenants, processes."""
        self.url = self.postgres.start()
        await migrate(self.url)
        owner = await connect_owner(self.url)
        try:
            await apply_dir(owner, CATALOG, METERS)
        finally:
            await owner.close()
        await self._settle_tenants()
        # Whatever is lost later on, it is not the beginning.
        await self.query("checkpoint")
        for name in (*GATEWAYS, WORKER):
            self.members[name] = self._member(name)
            self.members[name].start()
        await until(lambda: all(gateway.is_listening() for gateway in self.gateways()), "the gateways listen")

    def close(self) -> None:
        """Kill what lives, stop the database."""
        for member in self.members.values():
            member.kill()
            if member.listener is not None:
                member.listener.close()
        self.postgres.stop()
        for end in self._lifeline:
            os.close(end)

    def supervise(self) -> None:
        """Start again what has ended by itself, as the supervisor does; like it, give up on what says that its set-up is wrong.

        Raises CrashError then.
        """
        for member in self.members.values():
            code = member.ended_by_itself()
            if code == EXIT_CONFIG:
                message = f"{member.name} gave up: {member.log.read_text(errors='replace')[-1000:]}"
                raise CrashError(message)
            if code is not None:
                self.ends.append(f"{member.name} with {code}")
                member.start(member.armed)

    def gateways(self) -> list[Member]:
        """Both."""
        return [self.members[name] for name in GATEWAYS]

    async def query(self, statement: str, *values: Any) -> list[asyncpg.Record]:  # noqa: ANN401 - SQL values
        """Rows, as the owner, on a connection of its own.  Tries again while the database is away."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                connection = await asyncpg.connect(self.url, timeout=QUERY_TIMEOUT_S, command_timeout=QUERY_TIMEOUT_S)
                try:
                    rows: list[asyncpg.Record] = await connection.fetch(statement, *values)
                finally:
                    connection.terminate()
            except DATABASE_ERRORS:
                if time.monotonic() > deadline_s:
                    raise
                await asyncio.sleep(POLL_S)
            else:
                return rows

    def spooled(self) -> int:
        """Settlements that wait on the disk."""
        return survey(spool_folder(self.home))[0]

    def database_pids(self) -> list[int]:
        """The postmaster first, then all its children."""
        return processes.children_of(self.postgres.pid)

    def kill_database(self) -> None:
        """SIGKILL to the postmaster and all its children; stopped first, so that it cannot tidy up."""
        os.kill(self.postgres.pid, signal.SIGSTOP)
        first, *children = self.database_pids()
        for pid in (*children, first):
            kill(pid)

    def revive_database(self) -> None:
        """Start it again; returns when it answers, crash recovery included.  Blocks for some tenths of a second."""
        self.postgres.stop()
        self.postgres.start()

    def _member(self, name: str) -> Member:
        environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TAXIMETER_")},
            **{f"TAXIMETER_{name}": value for name, value in SETTINGS.items()},
            "PYTHONPATH": f"{processes.ROOT / 'src'}{os.pathsep}{processes.ROOT}",
            "TAXIMETER_HOME": str(self.home),
            "TAXIMETER_DATABASE_URL": self.url,
            "TAXIMETER_ADMIN_KEY": engines.SECRET,
            "TAXIMETER_UPSTREAMS_FILE": str(self._upstreams()),
            "TAXIMETER_ENGINE_HOSTS": json.dumps(self.outside.hosts),
            "TAXIMETER_HOST_SECRET": engines.SECRET,
            "TAXIMETER_LIFELINE_FD": str(self._lifeline[0]),
        }
        log = self.logs / f"{name}.log"
        if name == WORKER:
            return Member(name, ("worker",), environ, (self._lifeline[0],), log)
        listener = processes.listen()
        number = listener.fileno()
        return Member(name, ("gateway-process", "--fd", str(number)), environ, (self._lifeline[0], number), log, listener, bug=self.bug)

    def _upstreams(self) -> Path:
        path = self.home / "upstreams.yaml"
        path.write_text(json.dumps({"upstreams": [{"name": "crash-upstream", "base_url": self.outside.upstream_url}]}), encoding="utf-8")
        return path

    async def _settle_tenants(self) -> None:
        """One in each lane.  A project's lane follows from its id, so some are made in vain."""
        settings = Settings(home=self.home, database_url=self.url, lanes=LANES)
        found: dict[int, Tenant] = {}
        async with open_office(settings, {}, "set-up", SystemClock()) as office:
            identity = Identity(office.identity_store, office.desk.ids, office.desk.clock, settings)
            while len(found) < LANES:
                project = await office.tenancy.create_project(None, "crash")
                if project.lane not in found:
                    await office.tenancy.top_up(project.id, WALLET_TOKENS * UTOK_PER_TOKEN, "")
                    key = (await identity.issue_key(project.id, "crash")).text
                    found[project.lane] = Tenant(project.lane, str(project.id), key)
        self.tenants = [found[lane] for lane in range(LANES)]


def kill(pid: int) -> None:
    """SIGKILL, if it is still there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
