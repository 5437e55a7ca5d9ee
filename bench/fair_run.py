"""The product's queue in PostgreSQL: callers in four processes, one engine with slots, one tenant who wants everything."""

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

from bench.fair_disciplines import jain, percentile
from bench.figures import Table
from bench.processes import ROOT
from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from taximeter.db.pool import connect_owner
from taximeter.engines import Chunk, Done, Event, Job, Modality
from taximeter.identity import Caller
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.settings import Settings
from taximeter.kernel.units import UTOK_PER_TOKEN
from taximeter.metering import Metering, Office, Order, Receipt, open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir, builtin_dir

PROCESSES, SLOTS, LIGHT = 4, 4, 20
HEAVY_AT_ONCE, LIGHT_AT_ONCE = 30, 1
"""Requests of each tenant that are always there, in each process."""
RUN_S = 0.02
WORDS = 20
MODEL = "smollm2-135m"
ONE, AHEAD, MANY = "fair queue, a tenant each", "the same, one in hand", "the same, one tenant for all (plain FIFO)"
RUNS = ((ONE, LIGHT + 1, 0), (AHEAD, LIGHT + 1, 1), (MANY, 1, 0))
"""Tenants, and ``TAXIMETER_QUEUE_AHEAD``."""


class Floor:
    """What all processes ask: it works on as many as it has slots, in the order in which they came."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(SLOTS)
        self._working: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Each line is a request, and is sent back when that is done."""
        while line := await reader.readline():
            task = asyncio.create_task(self._work(line, writer))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _work(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        async with self._slots:
            await asyncio.sleep(RUN_S)
        writer.write(line)


class Sleeper:
    """The engine as one process sees it: it remembers how long each request was there."""

    name = "demo-text"
    modalities: frozenset[Modality] = frozenset({"chat"})
    slots: int | None = SLOTS

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.busy: list[tuple[float, float]] = []
        self._writer = writer
        self._asked: dict[bytes, asyncio.Future[None]] = {}
        self._hearing = asyncio.create_task(self._hear(reader))

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        while line := await reader.readline():
            self._asked.pop(line).set_result(None)

    async def run(self, job: Job) -> AsyncGenerator[Event]:
        """Ask, wait, answer."""
        began = monotonic()
        line = f"{job.id}\n".encode()
        self._asked[line] = asyncio.get_running_loop().create_future()
        self._writer.write(line)
        await self._asked[line]
        self.busy.append((began, monotonic()))
        tokens = min(WORDS, job.bound["output_tokens"])
        yield Chunk(choices=[{"index": 0, "delta": {"content": "so"}, "finish_reason": "stop"}], output_tokens=tokens)
        yield Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": tokens, "reasoning_tokens": 0})

    async def check(self) -> Mapping[str, Any]:
        """Always well."""
        return {}

    async def close(self) -> None:
        """Hang up."""
        self._hearing.cancel()
        self._writer.close()


@dataclass(frozen=True, kw_only=True)
class Orders:
    """What one process is to do."""

    database_url: str
    home: str
    callers: list[dict[str, Any]]
    seconds: float
    ahead: int
    port: int


async def run(seconds: float) -> tuple[Table, bool]:
    """The table, and whether a slot was given twice or somebody was lost."""
    made = Table(
        f"The queue in PostgreSQL: {PROCESSES} processes, {SLOTS} slots of {RUN_S * 1000:.0f} ms, {seconds:.0f} s",
        ("callers", "answers/s", "empty between two ms", "heavy's part", "Jain's index", "light p50 ms", "light p99 ms", "heavy p50 ms", "at once"),
    )
    wrong = False
    for name, tenants, ahead in RUNS:
        found = await _measure(seconds, tenants, ahead)
        heavy, light = found["0"], [wait for number, waits in found.items() if number.isdecimal() and number != "0" for wait in waits]
        parts = [len(waits) for number, waits in found.items() if number.isdecimal()]
        at_once = _most_at_once(found["busy"])
        made.rows.append(
            (
                name,
                f"{sum(parts) / seconds:,.0f}",
                f"{1000 * _empty_s(found['busy'], seconds, SLOTS + ahead):.1f}",
                f"{100 * len(heavy) / sum(parts):.1f} %",
                f"{jain(parts):.3f}",
                *(f"{percentile(waits, part):,.0f}" for waits, part in ((light, 0.5), (light, 0.99), (heavy, 0.5))),
                str(at_once),
            )
        )
        wrong = wrong or at_once > SLOTS + ahead or found["left"] != [0, 0, 0]
        made.notes = (*made.notes, f"{name}: holds, running and waiting places left at the end: {found['left']}")
    made.notes = (
        *made.notes,
        f"heavy: {HEAVY_AT_ONCE} requests at once in each process; light: {LIGHT_AT_ONCE}; all of one size; waits in the queue",
    )
    return made, wrong


async def _measure(seconds: float, tenants: int, ahead: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="taximeter-bench-") as name:
        home = Path(name)
        home.chmod(0o755)  # noqa: ASYNC240 - nobody else waits yet
        server = EmbeddedPostgres(home / "database")
        try:
            url = server.start()
            await migrate(url)
            callers = await _set_up(url, home, tenants)
            async with await asyncio.start_server(Floor().serve, "127.0.0.1", 0) as engine:
                port = engine.sockets[0].getsockname()[1]
                homes = [str(home / f"home-{number}") for number in range(PROCESSES)]
                orders = [Orders(database_url=url, home=each, callers=callers, seconds=seconds, ahead=ahead, port=port) for each in homes]
                parts = await asyncio.gather(*(_process(each) for each in orders))
            owner = await connect_owner(url)
            left = [await owner.fetchval(f"select {what}") for what in LEFT]
            await owner.close()
        finally:
            server.stop()
    whole: dict[str, Any] = {key: [value for part in parts for value in part[key]] for key in parts[0]}
    return {**whole, "left": left}


LEFT = (
    "count(*) from ledger.holds",
    "coalesce(sum(running), 0)::int from admission.pools",
    "coalesce(sum(waiting), 0)::int from admission.pools",
)


async def _set_up(url: str, home: Path, tenants: int) -> list[dict[str, Any]]:
    """Projects with Tokens; with one of them, everybody is its caller."""
    owner = await connect_owner(url)
    await apply_dir(owner, builtin_dir(), METERS)
    await owner.close()
    async with open_office(_settings(url, home / "set-up"), {}, "bench", SystemClock()) as office:
        made = []
        for number in range(tenants):
            project = await office.tenancy.create_project(None, f"tenant {number}")
            await office.tenancy.top_up(project.id, 10**6 * UTOK_PER_TOKEN, "")
            caller = Caller(
                organisation_id=project.organisation_id,
                project_id=project.id,
                key_id=office.desk.ids.new(),
                key_name="bench",
                lane=project.lane,
                allowance_account=project.allowance_account,
                prepaid_account=project.prepaid_account,
            )
            made.append({name: str(value) if isinstance(value, UUID) else value for name, value in asdict(caller).items() if name in NAMED})
    return made if len(made) > 1 else made * (LIGHT + 1)


NAMED = ("organisation_id", "project_id", "key_id", "key_name", "lane", "allowance_account", "prepaid_account")


def _settings(url: str, home: Path, ahead: int = 0) -> Settings:
    home.mkdir(exist_ok=True)
    return Settings(home=home, database_url=url, demo=False, queue_ahead=ahead)


async def _process(orders: Orders) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.fair_run", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    output, _ = await process.communicate(json.dumps(asdict(orders)).encode())
    found: dict[str, Any] = json.loads(output)
    return found


def _caller(written: Mapping[str, Any]) -> Caller:
    read: dict[str, Any] = {name: UUID(value) if name.endswith("_id") else value for name, value in written.items() if name != "terms"}
    return Caller(**read)


async def _callers(orders: Orders) -> dict[str, Any]:
    engine = Sleeper(*await asyncio.open_connection("127.0.0.1", orders.port))
    settings = _settings(orders.database_url, Path(orders.home), orders.ahead)
    async with open_office(settings, {engine.name: engine}, "bench", SystemClock()) as office:
        callers = [_caller(each) for each in orders.callers]
        waits: dict[str, list[int]] = {str(number): [] for number in range(len(callers))}
        until_s = asyncio.get_running_loop().time() + orders.seconds
        await asyncio.gather(
            *(
                _ask(office, caller, waits[str(number)], until_s)
                for number, caller in enumerate(callers)
                for _ in range(LIGHT_AT_ONCE if number else HEAVY_AT_ONCE)
            )
        )
    return {**waits, "busy": engine.busy}


async def _ask(office: Office, caller: Caller, waits: list[int], until_s: float) -> None:
    metering = Metering(office.desk, office.store)
    loop = asyncio.get_running_loop()
    while loop.time() < until_s:
        request = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": WORDS}
        ride = await metering.open(Order(caller=caller, model=MODEL, modality="chat", request=request))
        async for event in ride.events():
            # Those who wait at the end were held up to the end of the queue: they count for nobody.
            if isinstance(event, Receipt) and loop.time() < until_s:
                waits.append(int(event.waited["taximeter-queue-wait-ms"]))  # noqa: PERF401 - a list that others read meanwhile


def _empty_s(busy: list[list[float]], seconds: float, places: int) -> float:
    """For how long a place at the engine was empty after each request, on average, while it was asked."""
    began_s = min(began for began, _ in busy)
    inside = [(began, ended) for began, ended in busy if ended < began_s + seconds]
    span_s = max(ended for _, ended in inside) - began_s
    return (places * span_s - sum(ended - began for began, ended in inside)) / len(inside)


def _most_at_once(busy: list[list[float]]) -> int:
    """How many of these spans overlap at most."""
    edges = sorted([(began, 1) for began, _ in busy] + [(ended, -1) for _, ended in busy])
    now = most = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_callers(Orders(**json.loads(sys.stdin.read()))))))
