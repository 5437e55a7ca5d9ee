"""Carries the kills out, one after the other, and waits after each until the system answers again."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass, field

from bench.crash import moments, plan, power
from bench.crash.clients import Crowd
from bench.crash.engines import VideoEngine
from bench.crash.plan import Cell
from bench.crash.system import GATEWAYS, PATIENCE_S, WORKER, CrashError, Member, System, kill, until
from taximeter.metering.spool import spool_files, spool_folder
from taximeter.metering.spool_format import decode

# At least so many answers between two kills: a kill without a load proves little.
ANSWERS_MIN = 4
PAUSE_S_MAX = 0.15
# A sweeper finds dead processes' holds after PROCESS_DEAD_S; if there were none, more are made.
ORPHAN_PATIENCE_S = 6.0
LEFT_OVER_S = 1.0
STRIKE_PATIENCE_S = 40.0
OUTAGE_S = 3.0
OUTAGES_MAX = 10


@dataclass(frozen=True, slots=True)
class Strike:
    """A kill that was carried out.

    Attributes:
        recovery_s: until a request that was sent after it was answered and settled; for a worker, until a video was made.
            None when it was not waited for, because the next kill came first.
    """

    moment: str
    victim: str
    recovery_s: float | None


@dataclass
class Campaign:
    """The kills of one run.

    Args:
        cells: what to strike, in order.
        kills: how many; cells that need a process armed for them kill it first, and that counts.
        report: called after each kill.
    """

    system: System
    crowd: Crowd
    video: VideoEngine
    rng: random.Random
    cells: Iterator[Cell]
    kills: int
    report: Callable[[Sequence[Strike]], None] = lambda _strikes: None
    strikes: list[Strike] = field(default_factory=list)

    async def run(self) -> None:
        """Strike until there are enough kills or no more cells; leaves everything running and unarmed."""
        cell = next(self.cells, None)
        while cell is not None and len(self.strikes) < self.kills:
            following = next(self.cells, None)
            self.crowd.check()
            await self._strike(cell, following)
            cell = following
        for member in self.system.members.values():
            if member.armed:
                await self._arm(member, "")

    async def _until(self, condition: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait, and be the supervisor meanwhile."""

        def look() -> bool:
            self.system.supervise()
            return condition()

        await until(look, what, patience_s)

    async def _strike(self, cell: Cell, following: Cell | None) -> None:
        if cell.spec:
            chained = following is not None and following.member == cell.member and len(self.strikes) + 1 < self.kills
            await self.strike_armed(cell, following.spec if following is not None and chained else "")
        elif cell.moment == plan.ANY:
            await self._strike_anywhere(cell)
        elif cell.moment in (plan.BEFORE_JOB, plan.BEFORE_RECEIPT):
            await self._strike_posting(cell)
        elif cell.moment == plan.BEFORE_JOB_END:
            await self._strike_video(cell)
        elif cell.moment == plan.CHECKPOINT:
            async with moments.checkpoint(self.system):
                await self._strike_database(cell)
        else:
            assert cell.moment == plan.POWER
            await self._load()
            await self.cut_power(cell)

    async def strike_armed(self, cell: Cell, following: str) -> None:
        """A fault point: the process kills itself there, or freezes there and the database dies."""
        member = self.system.members[cell.member]
        if member.armed != cell.spec:
            await self._arm(member, cell.spec)
        async with self._stimulus(cell, member):
            await self._until(member.is_struck, f"{member.name} reaches {cell.moment}", STRIKE_PATIENCE_S)
            struck_s = time.monotonic()
            if cell.victim == plan.PROCESS:
                member.kill()
                member.start(following)
            else:
                self.system.kill_database()
                self.system.revive_database()
                member.armed = ""
                member.signal(signal.SIGCONT)
        await self._recover(cell, struck_s, [member] if cell.victim == plan.PROCESS else [])

    def _stimulus(self, cell: Cell, member: Member) -> AbstractAsyncContextManager[object]:
        """What makes a process come to a point that it does not pass every day."""
        if cell.moment.startswith("metering.spool."):
            return self._outage(member.is_struck)
        if cell.moment.startswith("metering.adoption."):
            return self._orphaned_spools()
        if cell.moment.startswith("metering.sweeper."):
            return self._orphaned_holds(member)
        return nullcontext()

    @asynccontextmanager
    async def _outage(self, enough: Callable[[], bool]) -> AsyncIterator[None]:
        """The database takes no settlement; the block runs when there is enough of that, and ends it.

        Nothing new is held meanwhile either: a gateway that had no request under way gets another chance.
        """
        for _ in range(OUTAGES_MAX):
            async with moments.barrier(self.system, "metering.receipts"):
                with suppress(CrashError):
                    await self._until(enough, "settlements are spooled", OUTAGE_S)
                if enough():
                    yield
                    return
            await self._load()
        message = "no settlement was spooled"
        raise CrashError(message)

    @asynccontextmanager
    async def _orphaned_spools(self) -> AsyncIterator[None]:
        """Both gateways die while settlements of theirs are in the spool, and stay dead until the worker has found them."""
        gateways = self.system.gateways()
        rows = await self.system.query("select id from metering.processes where kind = 'gateway'")
        names = {str(row["id"]) for row in rows}
        async with self._outage(lambda: bool(names & self._spools())):
            for gateway in gateways:
                gateway.kill()
            self._note(plan.SPOOLED, plan.BOTH, None)
        try:
            yield
        finally:
            for gateway in gateways:
                gateway.start()

    @asynccontextmanager
    async def _orphaned_holds(self, member: Member) -> AsyncIterator[None]:
        """A gateway dies while requests run.  What an earlier one has left may do as well."""
        gateway = self.system.members[GATEWAYS[1]]
        patience_s = LEFT_OVER_S
        for _ in range(OUTAGES_MAX):
            with suppress(CrashError):
                await self._until(member.is_struck, f"{member.name} finds holds of the dead", patience_s)
            if member.is_struck():
                break
            await self._load()
            gateway.kill()
            gateway.start()
            self._note(plan.ANY, "gateway", None)
            patience_s = ORPHAN_PATIENCE_S
        yield

    def _spools(self) -> set[str]:
        """The processes that have entries in their spools."""
        found = set()
        for path in spool_files(spool_folder(self.system.home)):
            with suppress(FileNotFoundError):
                if decode(path.read_bytes()).entries:
                    found.add(path.stem)
        return found

    async def _strike_anywhere(self, cell: Cell) -> None:
        await self._load()
        if cell.victim == plan.PROCESS:
            await self._arm(self.system.members[cell.member], "")
            return
        if cell.victim == plan.BACKEND:
            struck_s = time.monotonic()
            kill(self.rng.choice(await moments.backends(self.system)))
            await self._recover(cell, struck_s, [])
            return
        await self._strike_database(cell)

    async def _strike_database(self, cell: Cell) -> None:
        struck_s = time.monotonic()
        self.system.kill_database()
        self.system.revive_database()
        await self._recover(cell, struck_s, [])

    async def _strike_posting(self, cell: Cell) -> None:
        """Sent and not answered: a posting stands in the middle of its transaction, with its locks and its first rows."""
        table = "jobs.jobs" if cell.moment == plan.BEFORE_JOB else "metering.receipts"
        await self._load()
        async with moments.barrier(self.system, table) as barrier:
            if cell.moment == plan.BEFORE_JOB:
                self.crowd.order_another()
            pids = await barrier.until_waiting()
            struck_s = time.monotonic()
            members = await self._end_posting(cell, pids)
        await self._recover(cell, struck_s, members)

    async def _end_posting(self, cell: Cell, pids: Sequence[int]) -> list[Member]:
        """Kill the victim; returns who has to come back."""
        if cell.victim == plan.DATABASE:
            self.system.kill_database()
            self.system.revive_database()
        elif cell.victim == plan.BACKEND:
            kill(pids[0])
        elif cell.victim == plan.TERMINATED:
            await self.system.query("select pg_terminate_backend(pid) from unnest($1::int[]) pid", list(pids))
        else:
            assert cell.victim in (plan.BOTH, plan.PROCESS)
            members = self.system.gateways() if cell.victim == plan.BOTH else [self.system.members[cell.member]]
            for member in members:
                member.kill()
            for member in members:
                member.start()
            return members
        return []

    async def _strike_video(self, cell: Cell) -> None:
        """A video is made and its settlement stands in the posting: charged there, and its job still runs."""
        self.video.gate.clear()
        try:
            await self._until(lambda: self.video.waiting > 0, "a video is about to end")
            self.crowd.videos_wanted.clear()
            await self._until(lambda: self.crowd.ordering == 0, "orders of videos are answered")
            ended = len(self.video.ended)
            async with moments.barrier(self.system, "metering.receipts") as barrier:
                self.video.gate.set()
                # In the spool means: sent, and not answered in time.
                await self._until(lambda: bool(self._spooled_ids() & set(self.video.ended[ended:])), "a video's settlement waits")
                pids = await barrier.until_waiting()
                struck_s = time.monotonic()
                members = await self._end_posting(cell, pids)
        finally:
            self.video.gate.set()
            self.crowd.videos_wanted.set()
        await self._recover(cell, struck_s, members)

    def _spooled_ids(self) -> set[object]:
        found: set[object] = set()
        for path in spool_files(spool_folder(self.system.home)):
            with suppress(FileNotFoundError):
                found |= {entry.id for entry in decode(path.read_bytes()).entries.values()}
        return found

    async def cut_power(self, cell: Cell) -> None:
        """Everything dies, and what was not fsynced of the log is gone."""
        struck_s = time.monotonic()
        await power.cut(self.system)
        self.system.revive_database()
        for member in self.system.members.values():
            member.start()
        await self._recover(cell, struck_s, self.system.gateways())

    async def _arm(self, member: Member, spec: str) -> None:
        """Kill a process at any moment and start it again, armed or not."""
        await self._load()
        struck_s = time.monotonic()
        member.kill()
        member.start(spec)
        await self._recover(Cell(plan.ANY, plan.PROCESS, member.name), struck_s, [member])

    async def _load(self) -> None:
        """Some answers, then some time."""
        before = self.crowd.answers
        await self._until(lambda: self.crowd.answers >= before + ANSWERS_MIN, "the system answers")
        await asyncio.sleep(self.rng.uniform(0, PAUSE_S_MAX))

    async def _recover(self, cell: Cell, struck_s: float, members: Sequence[Member]) -> None:
        """Wait until the system serves again, through each of these gateways or this worker."""
        made = len(self.video.ended)
        is_worker = [member.name for member in members] == [WORKER]
        ports = [0] if is_worker else [member.port for member in members or self.system.gateways()]

        def serves() -> bool:
            served = [self.crowd.served.get(port, 0.0) > struck_s for port in ports]
            return all(served) and (len(self.video.ended) > made or not is_worker) if members else any(served)

        armed = [member for member in members if member.armed]
        await self._until(lambda: serves() or any(member.is_struck() for member in armed), f"recovery from {cell.victim} {cell.moment}")
        victim = cell.victim if cell.victim != plan.PROCESS else "gateway" if cell.member in GATEWAYS else "worker"
        self._note(cell.moment, victim, time.monotonic() - struck_s if serves() else None)

    def _note(self, moment: str, victim: str, recovery_s: float | None) -> None:
        self.strikes.append(Strike(moment, victim, recovery_s))
        self.crowd.window = len(self.strikes)
        self.report(self.strikes)
