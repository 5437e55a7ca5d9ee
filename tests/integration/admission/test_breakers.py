"""What processes tell each other of their breakers: at once, once, and no longer than they live."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import pytest

from taximeter.admission.breakers import BreakerRules, Breakers, BreakerStore, BreakerWatch, Publisher
from taximeter.db.pool import connect_owner
from taximeter.identity import Identity
from taximeter.kernel.clock import ManualClock, SystemClock
from taximeter.kernel.settings import Settings
from taximeter.metering import open_office
from taximeter.metering.fares import METERS
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, per_character
from tests.support.asking import ask_chat
from tests.support.gateways import gateway_processes
from tests.support.raw_upstream import RawUpstream
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

DEAD_S = 15.0
ONE, OTHER = UUID(int=1), UUID(int=2)


class Process:
    """The breakers of one process, and how it tells them."""

    def __init__(self, pool: asyncpg.Pool, process_id: UUID, dead_s: float = DEAD_S, open_ms: int = 1_000) -> None:
        self.clock = ManualClock()
        self.breakers = Breakers(BreakerRules(failures=2, open_ms=open_ms), self.clock, lambda: 0)
        self.store = BreakerStore(pool, dead_s)
        self.watch = BreakerWatch(self.breakers, self.store, Publisher(process_id, "gateway"), 0.05)

    def fail(self, times: int = 2, engine: str = "e", model: str = "m@1") -> None:
        for _ in range(times):
            self.breakers.admit(engine, model, 60).failed("engine_failed")

    def state(self) -> str:
        return {view.engine: view.state for view in self.breakers.views()}["e"]


async def events(pool: asyncpg.Pool) -> list[tuple[str, str]]:
    rows = await pool.fetch("select data ->> 'from' as before, data ->> 'to' as after from admission.events order by id")
    return [(row["before"], row["after"]) for row in rows]


async def test_a_change_is_told_once_with_its_event(pool: asyncpg.Pool) -> None:
    process = Process(pool, ONE)
    process.fail()
    changes = process.breakers.changes()
    await process.watch.tell()
    # An answer that is lost makes it tell the same again.
    await process.store.publish(Publisher(ONE, "gateway"), process.breakers.views(), changes, None)
    assert await events(pool) == [("closed", "open")]
    process.clock.advance(1.0)
    await process.watch.tell()
    call = process.breakers.admit("e", "m@1", 60)
    call.succeeded()
    call.failed("engine_failed")
    await process.watch.tell()
    assert await events(pool) == [("closed", "open"), ("open", "half_open"), ("half_open", "closed")]
    [row] = await process.store.list_all()
    assert (row["process_id"], row["engine"], row["model"], row["state"], row["failures"], row["reason"]) == (ONE, "e", "m@1", "closed", 0, None)


async def test_a_pause_that_is_over_is_over_before_its_process_says_so(pool: asyncpg.Pool, database_url: str) -> None:
    process = Process(pool, ONE, open_ms=600_000)
    process.fail()
    await process.watch.tell()

    async def told() -> list[str]:
        return [row["state"] for row in (*await process.store.summary(), *await process.store.list_all())]

    assert await told() == ["open", "open"]
    owner = await connect_owner(database_url)
    await owner.execute("update admission.breakers set retry_at = retry_at - interval '10 minutes'")
    await owner.close()
    assert await told() == ["half_open", "half_open"]
    # Its own clock stands still.
    assert process.state() == "open"


async def test_a_reset_reaches_every_process_and_none_that_came_later(pool: asyncpg.Pool) -> None:
    one, other = Process(pool, ONE), Process(pool, OTHER)
    for process in (one, other):
        process.fail()
        await process.watch.tell()
    assert await one.store.reset("e", "m@1", "admin")
    assert not await one.store.reset("e", "m@2", "admin")
    for process in (one, other):
        await process.watch.tell()
        assert process.state() == "closed"
    late = Process(pool, UUID(int=3))
    late.fail()
    await late.watch.tell()
    await late.watch.tell()
    assert late.state() == "open"
    assert await pool.fetch("select operator from admission.breaker_resets") == [("admin",)]


async def test_resets_at_once_are_all_heard(pool: asyncpg.Pool) -> None:
    process = Process(pool, ONE)
    names = [f"m@{number}" for number in range(1, 13)]
    for name in names:
        process.fail(model=name)
    await process.watch.tell()

    async def listen() -> None:
        while any(view.state != "closed" for view in process.breakers.views()):
            await process.watch.tell()
            await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await asyncio.gather(listen(), *(process.store.reset("e", name, "admin") for name in names))


async def test_a_process_that_says_nothing_is_forgotten_and_one_that_comes_back_is_there_again(pool: asyncpg.Pool) -> None:
    quiet, living = Process(pool, ONE, 0.2), Process(pool, OTHER, 0.2)
    quiet.fail()
    await quiet.watch.tell()
    assert len(await living.store.list_all()) == 1

    async def is_gone() -> bool:
        return not await living.store.list_all()

    await until(is_gone)
    living.fail()
    await living.watch.tell()
    assert await pool.fetchval("select count(*) from admission.breakers") == 1, "whoever comes first buries the dead"
    await quiet.watch.tell()
    assert len(await living.store.list_all()) == 2
    await quiet.watch.say_goodbye()
    assert [row["process_id"] for row in await living.store.list_all()] == [OTHER]


async def test_a_process_tells_by_itself_and_goes_on_after_an_outage(pool: asyncpg.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(pool, ONE)
    publish = process.store.publish
    away = True

    async def sometimes(*arguments: Any) -> Any:  # noqa: ANN401 - whatever it answers
        if away:
            raise ConnectionError
        return await publish(*arguments)

    monkeypatch.setattr(process.store, "publish", sometimes)
    running = asyncio.create_task(process.watch.run())
    process.fail()
    await asyncio.sleep(0)
    away = False

    async def is_told() -> bool:
        return await events(pool) == [("closed", "open")]

    await until(is_told)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def key(database_url: str, tmp_path: Path) -> AsyncIterator[str]:
    """A key of a project with Tokens, for gateways of their own."""
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "catalog", METERS)
    await owner.close()
    settings = Settings(home=tmp_path / "desk", database_url=database_url)
    async with open_office(settings, {}, "test", SystemClock()) as office:
        project = await office.tenancy.create_project(None, "Research")
        await office.tenancy.top_up(project.id, 10_000_000_000, "")
        identity = Identity(office.identity_store, office.desk.ids, office.desk.clock, settings)
        yield (await identity.issue_key(project.id, "ci", None)).text


async def test_the_breakers_of_a_killed_process_vanish(database_url: str, tmp_path: Path, key: str, pool: asyncpg.Pool) -> None:
    store = BreakerStore(pool, 1.0)
    settings: dict[str, Any] = {"TAXIMETER_PROCESS_DEAD_S": "1.0", "TAXIMETER_BREAKER_OPEN_S": "60"}
    async with RawUpstream() as upstream, aiohttp.ClientSession() as http:
        upstream.script = [b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"]
        async with gateway_processes(1, tmp_path, database_url, upstream.url, **settings) as [url]:
            told = [await ask_chat(http, url, key) for _ in range(6)]
            assert [one.error["code"] for one in told] == ["engine_failed"] * 5 + ["engine_circuit_open"]

            def states(expected: list[str]) -> Callable[[], Any]:
                async def are() -> bool:
                    return [row["state"] for row in await store.list_all()] == expected

                return are

            await until(states(["open"]))
            os.kill(_gateway_pid(tmp_path), signal.SIGKILL)
            await until(states([]))


def _gateway_pid(home: Path) -> int:
    """The process whose spool lies there and is open: the gateway's."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
                environ = (process / "environ").read_bytes()
            except OSError:
                continue
            if b"gateway-process" in command and f"TAXIMETER_HOME={home}\0".encode() in environ:
                return int(process.name)
    message = "no gateway runs there"
    raise AssertionError(message)
