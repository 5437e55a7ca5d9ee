"""Negative controls: systems that do lose or double.  A harness that does not find it is blind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg

from bench.crash import moments, plan, power
from bench.crash.campaign import Campaign
from bench.crash.clients import Crowd
from bench.crash.plan import Cell
from bench.crash.run import Options, Result, conclude, under_load
from bench.crash.system import GATEWAYS, PATIENCE_S, CrashError, until

AHEAD_MIN = 12
ANSWERS = 60
BEHIND_S = 2.0
TRIES = 10


@dataclass(frozen=True)
class Control:
    """A system that is wrong, and what the audit must say of it.

    Attributes:
        about: what is wrong with it.
        must: the column that must not be 0.
        strike: what is done to it under load.
    """

    about: str
    must: str
    strike: Callable[[Campaign], Awaitable[None]]
    postgres: Mapping[str, str]
    bug: str = ""

    async def run(self, out: Path, seed: int) -> Result:
        """Run it."""
        options = Options(out=out, seed=seed, postgres=self.postgres, bug=self.bug)
        async with under_load(options) as campaign:
            await self.strike(replace(campaign, kills=1))
            return await conclude(campaign, out)

    def is_caught(self, result: Result) -> bool:
        """Whether the audit has found it."""
        column = result.books.lost if self.must == "lost" else result.books.doubled
        return column.total() > 0


async def _cut_when_ahead(campaign: Campaign) -> None:
    """Cut the power when some answers are ahead of what is fsynced."""
    connection = await asyncpg.connect(campaign.system.url)
    flushed, answers = 0, campaign.crowd.answers
    while campaign.crowd.answers < answers + AHEAD_MIN:
        now = (await power.position(connection)).flushed
        if now != flushed:
            flushed, answers = now, campaign.crowd.answers
        await asyncio.sleep(0.01)
    connection.terminate()
    await campaign.cut_power(Cell(plan.POWER, plan.MACHINE))


async def _kill_gateways(campaign: Campaign) -> None:
    """What a gateway has forgotten comes to light when its holds are released: at once when it is dead."""
    await until(lambda: campaign.crowd.answers >= ANSWERS, "answers")
    for gateway in campaign.system.gateways():
        gateway.kill()
        gateway.start()


async def _kill_behind_answers(campaign: Campaign) -> None:
    """Everything dies while settlements stand in the database that have been acknowledged."""
    crowd = campaign.crowd
    for _ in range(TRIES):
        async with moments.barrier(campaign.system, "metering.receipts") as barrier:
            await barrier.until_waiting()
            # From here on no settlement is committed.
            enough = crowd.answers + 1
            if await _is_answered(crowd, enough, BEHIND_S):
                await campaign.cut_power(Cell(plan.POWER, plan.MACHINE))
                return
        await _is_answered(crowd, enough + AHEAD_MIN, PATIENCE_S)


async def _is_answered(crowd: Crowd, answers: int, patience_s: float) -> bool:
    """Whether there are so many answers within the time."""
    with suppress(CrashError):
        await until(lambda: crowd.answers >= answers, "answers", patience_s)
    return crowd.answers >= answers


async def _kill_before_answer(campaign: Campaign) -> None:
    """A request with a key has been charged and kept, and its answer does not arrive."""
    await campaign.strike_armed(Cell("metering.answer.kept", plan.PROCESS, GATEWAYS[0]), "")


CONTROLS: Mapping[str, Control] = {
    "commits-unsynced": Control(
        "synchronous_commit = off, and a power cut",
        "lost",
        _cut_when_ahead,
        {"synchronous_commit": "off", "wal_writer_delay": "10s"},
    ),
    "acknowledges-early": Control("answers do not wait for the commit", "lost", _kill_behind_answers, {}, "acknowledges-early"),
    "drops-settlements": Control("every tenth settlement is forgotten", "lost", _kill_gateways, {}, "drops-settlements"),
    "forgets-keys": Control("idempotency keys are ignored", "doubled", _kill_before_answer, {}, "forgets-keys"),
}
