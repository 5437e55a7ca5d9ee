"""One schedule: callers, programs and misfortune for some seconds, then calm until everything has come to its end."""

import asyncio
import contextvars
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from taximeter.engines import Modality
from taximeter.identity import Caller
from taximeter.ledger import AccountCode, Kind, Leg, Operation, operator_account
from taximeter.metering import spool
from taximeter.metering.spool_format import decode
from tests.support.ledger_model import Account
from tests.support.simulator.callers import Callers, Deal
from tests.support.simulator.checks import violations
from tests.support.simulator.database import Server
from tests.support.simulator.dice import Dice
from tests.support.simulator.disk import Disk
from tests.support.simulator.loop import PROCESS, Process, SimLoop, Stalled
from tests.support.simulator.machine import Ground, Ids, LoopClock, Program
from tests.support.simulator.stores import Objects

STORM_S = 16.0
CALM_S = 90.0
"""As long after the storm everything must have ended."""
ECHO_S = 4.0
LANES = 2
TOKENS_PER_MINUTE_UTOK = (100_000, 300_000, 1_000_000, 15_000_000)
"""Too little for a chat; enough for two; for some; for two videos."""
Bug = Callable[["World", ExitStack], None]


@dataclass
class Outcome:
    """How a schedule went.

    Attributes:
        problems: sentences; empty when everything that was promised was kept.
        told: how many callers were told what.
    """

    seed: int
    problems: list[str]
    hits: Counter[str]
    told: Counter[str]
    handles: int
    trace: list[str]


class World:
    """Everything of one schedule."""

    def __init__(self, seed: int, *, traces: bool) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - the point is that it is the same again
        self.lines: list[str] = []
        self.dice = Dice(self.rng, self.rng.choice([0.0, 0.5, 1.0, 1.0, 3.0]), trace=self.note if traces else lambda _line: None)
        self.loop = SimLoop(self.rng, self.die)
        self.disk = Disk(self.dice, self.die)
        self.programs: list[Program] = []
        self.processes: list[Process] = []
        self.deals: list[Deal] = []
        self.problems: list[str] = []
        self.forgetful_server = False
        self.dark = self.rng.random() < 0.4
        """The database is away for long, and programs die while it is: what they promised is on the disk alone."""
        if self.dark:
            self.dice.storm = min(self.dice.storm, 0.3)
        self.fragile = self.rng.random() < 0.6
        self.with_videos = self.rng.random() < 0.4
        self.callers: list[Caller] = []
        self.ground: Ground

    def note(self, line: str) -> None:
        process = PROCESS.get()
        self.lines.append(f"{self.loop.time():9.4f} {'-' if process is None else process.name:10} {line}")

    # Programs and their deaths.

    def start(self, name: str) -> None:
        process = Process(name)
        rng = self.rng
        if self.fragile and not self.dice.calm and self.dice.storm:
            fate = rng.random()
            if fate < (0.15 if self.dark else 0.4):
                process.dies_at_step = rng.randint(1, 400)
            elif fate < 0.6:
                process.dies_at_write = rng.randint(1, 4)
        self.processes.append(process)
        self.dice.trace(f"{name} starts, life {len(self.processes)}")
        program = Program(self.ground, process, works=name == "worker", makes_videos=self.with_videos)
        self.programs = [other for other in self.programs if other.process.name != name] + [program]
        program.running = self.loop.spawn(process, program.run())

    def die(self, process: Process) -> None:
        if not process.alive:
            return
        process.alive = False
        self.dice.happens("killed")
        self.dice.trace(f"{process.name} is dead after {process.steps} steps")
        self.disk.release(process)
        self.lose_callers(process)
        self.restart_later(process.name)

    def lose_callers(self, process: Process) -> None:
        for deal in self.deals:
            if deal.program is not None and deal.program.process is process and deal.answer is not None and not deal.answer.done():
                deal.answer.set_result("lost")

    def restart_later(self, name: str) -> None:
        self.loop.call_later(0.1 + self.rng.random() * 3, self.start, name, context=contextvars.Context())

    def cut_power(self) -> None:
        self.dice.happens("power cut")
        for process in self.processes:
            self.die(process)
        self.disk.lose_power()

    # The course of things.

    async def main(self) -> None:
        self.ground = self.make_ground()
        self.make_callers()
        if self.forgetful_server:
            self.ground.server.forgets_commits()
        for name in ("gateway-1", "gateway-2", "worker")[self.rng.randint(0, 1) :]:
            self.start(name)
        callers = Callers(self)
        calls = [self.loop.spawn(None, callers.run(deal)) for deal in self.deals]
        misfortune = [self.loop.spawn(None, work) for work in self.misfortunes()]
        await asyncio.wait(calls, timeout=STORM_S)
        if self.dark:
            await asyncio.sleep(max(0.0, STORM_S - self.loop.time()))
        for task in misfortune:
            task.cancel()
        self.dice.calm, self.disk.full = True, False
        self.ground.server.come_back()
        self.dice.trace("calm")
        for process in self.processes:
            process.dies_at_step = process.dies_at_write = None
        deadline_s = self.loop.time() + CALM_S
        while self.unfinished(calls) and self.loop.time() < deadline_s:
            await asyncio.sleep(1.0)
        self.problems += [f"stuck: {what}" for what in self.unfinished(calls)]
        await asyncio.sleep(ECHO_S)

    def make_ground(self) -> Ground:
        clock = LoopClock(self.loop)
        return Ground(self.loop, self.dice, self.disk, Server(self.dice), Objects(self.dice), clock, Ids(clock, self.loop))

    def make_callers(self) -> None:
        ledger, rng = self.ground.server.tables.ledger, self.rng
        for lane in range(LANES):
            for code in (AccountCode.REVENUE, AccountCode.TREASURY, AccountCode.SHORTFALL):
                ledger.accounts[operator_account(code, lane)] = Account()
        for number in range(rng.randint(1, 3)):
            lane, new = number % LANES, self.ground.ids.new
            allowance, prepaid = 10_000 + 2 * number, 10_001 + 2 * number
            for account in (allowance, prepaid):
                ledger.accounts[account] = Account(limited=True)
                leg = Leg(
                    operator_account(AccountCode.TREASURY, lane), account, rng.choice([1_000, 1_000_000, 30_000_000, 30_000_000]), cascade=False
                )
                ledger.post(lane, [Operation(id=new(), kind=Kind.DIRECT, lane=lane, amount_utok=leg.amount_utok, legs=(leg,))])
            self.callers.append(
                Caller(
                    organisation_id=new(),
                    project_id=new(),
                    key_id=new(),
                    key_name="key",
                    lane=lane,
                    allowance_account=allowance,
                    prepaid_account=prepaid,
                    **self.make_limits(),
                )
            )
        modalities: list[Modality] = ["chat", "chat", "embeddings", *(["video"] * self.with_videos)]  # type: ignore[list-item]
        for number in range(rng.randint(2, 9)):
            starts_s = rng.random() * (4 if self.dark else 8)
            deal = Deal(number, rng.choice(modalities), rng.random() < 0.6, rng.choice(self.callers), starts_s)
            if rng.random() < 0.4:
                deal.key = f"key-{number}"
            if rng.random() < 0.15:
                deal.leaves_after = rng.randint(1, 3)
            elif rng.random() < 0.1:
                deal.cut_after_s = rng.random() * 3
            self.deals.append(deal)

    def make_limits(self) -> dict[str, Any]:
        """A key's limits: most have none, some have so little that their holders are refused, and let in again soon."""
        rng = self.rng
        limits: dict[str, Any] = {}
        if rng.random() < 0.25:
            limits["requests_per_minute"] = rng.randint(2, 5)
        if rng.random() < 0.25:
            limits["tokens_per_minute_utok"] = rng.choice(TOKENS_PER_MINUTE_UTOK)
        return limits

    def misfortunes(self) -> Iterator[Any]:
        """What happens to the whole machine, or to the database, at its own time."""
        rng = self.rng
        if not self.dice.storm:
            return
        if self.dark:
            begins_s, lasts_s = 1 + rng.random() * 3, 3 + rng.random() * 8
            yield self.outage(begins_s, lasts_s, hangs=rng.random() < 0.2)
            yield self.outage(begins_s + lasts_s + rng.random() * 3, rng.random() * 4, hangs=False)
            for _ in range(rng.randint(1, 4)):
                yield self.after(begins_s + 0.5 + rng.random() * lasts_s, self.kill_one)
        else:
            for _ in range(rng.choice([0, 0, 1, 2])):
                yield self.outage(rng.random() * 9, 0.2 + rng.random() * rng.choice([2, 6, 10]), hangs=rng.random() < 0.3)
        if rng.random() < (0.5 if self.dark else 0.2):
            yield self.after(rng.random() * STORM_S, self.cut_power)
        if rng.random() < 0.3:
            yield self.network_cut(rng.random() * 8, rng.choice([2, 5]) + rng.random() * 2)
        if rng.random() < 0.3:
            yield self.full_disk(2 + rng.random() * 6, rng.random() * 8)
        if rng.random() < 0.3:
            yield self.stop_one(rng.random() * 10)

    def kill_one(self) -> None:
        """Half of the time it is the worker, who looks after what the dead have left."""
        programs = [program for program in self.programs if program.works] if self.rng.random() < 0.5 else self.programs
        self.die(self.rng.choice(programs).process)

    async def after(self, delay_s: float, happening: Callable[[], None]) -> None:
        await asyncio.sleep(delay_s)
        happening()

    async def outage(self, delay_s: float, lasts_s: float, *, hangs: bool) -> None:
        await asyncio.sleep(delay_s)
        self.ground.server.go_down(hangs=hangs)
        await asyncio.sleep(lasts_s)
        self.ground.server.come_back()

    async def network_cut(self, delay_s: float, lasts_s: float) -> None:
        await asyncio.sleep(delay_s)
        self.dice.happens("network cut")
        self.ground.server.cut = True
        await asyncio.sleep(lasts_s)
        self.ground.server.cut = False

    async def full_disk(self, delay_s: float, lasts_s: float) -> None:
        await asyncio.sleep(delay_s)
        self.disk.full = True
        await asyncio.sleep(lasts_s)
        self.disk.full = False

    async def stop_one(self, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        program = self.rng.choice(self.programs)
        if program.process.alive and program.ready:
            self.dice.happens("told to stop")
            program.replacing = self.loop.spawn(None, self.replace(program))

    async def replace(self, program: Program) -> None:
        await asyncio.wait({self.loop.spawn(program.process, program.stop())}, timeout=30)
        if program.process.alive:
            program.process.alive = False
            self.disk.release(program.process)
            self.lose_callers(program.process)
            self.restart_later(program.process.name)

    def unfinished(self, calls: list[Any]) -> list[str]:
        """What has not come to its end."""
        tables = self.ground.server.tables
        found = [f"caller {deal.number} waits" for deal, call in zip(self.deals, calls, strict=True) if not call.done()]
        found += [f"hold {id_} is open" for id_ in tables.ledger.holds]
        found += [f"job {row.id} is {row.state}" for row in tables.jobs.values() if row.state in ("queued", "in_progress")]
        for name, inode in self.disk.names.items():
            found += [f"{entry.id} is in the spool {name}" for entry in decode(bytes(inode.data)).entries.values()]
        for program in self.programs:
            if program.process.alive:
                found += [
                    f"{program.process.name} has {lane.waiting} operations in lane {lane.number}" for lane in program.books.lanes if lane.waiting
                ]
        return found


def run(seed: int, *, bug: Bug | None = None, traces: bool = False) -> Outcome:
    """Play one schedule and check everything that was promised."""
    world = World(seed, traces=traces)
    with ExitStack() as stack:
        stack.enter_context(patch.object(spool, "os", world.disk))
        stack.enter_context(patch.object(spool, "fcntl", world.disk))
        if bug is not None:
            bug(world, stack)
        try:
            world.loop.run_until_complete(world.main())
        except Stalled:
            world.problems.append("everybody waits for somebody else")
        problems = world.problems + violations(world)
        handles = world.loop.handles
        world.loop.bury(world.processes)
    return Outcome(seed, problems, world.dice.hits, Counter(deal.told for deal in world.deals), handles, world.lines)
