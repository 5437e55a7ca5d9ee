"""Plays a season to its end: its steps by the seed, then everything ends, and the product's own auditors are asked."""

import random
import traceback
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taximeter.db.pool import connect_owner
from tests.support.seasons import checks
from tests.support.seasons.acts import ACTS, keep_house
from tests.support.seasons.books import Books
from tests.support.seasons.bugs import patch_of
from tests.support.seasons.season import Season
from tests.support.seasons.stage import open_stage

STEPS = 120
LANES = 2
STARTS = (
    datetime(2026, 12, 30, 21, tzinfo=UTC),
    datetime(2027, 1, 30, 22, 30, tzinfo=UTC),
    datetime(2027, 3, 27, 20, tzinfo=UTC),
    datetime(2027, 10, 30, 12, tzinfo=UTC),
    datetime(2028, 2, 28, 23, tzinfo=UTC),
    datetime(2027, 6, 15, 9, 17, tzinfo=UTC),
)
"""Before the ends of a year and of months short and long, of summer time, and on a day like any other."""


@dataclass
class Played:
    """How a season went.

    Attributes:
        problem: the first difference between the product and the paper; empty: there was none.
        lost: batches, and answers to them, that did not arrive.
    """

    seed: int
    problem: str
    told: Counter[str]
    trace: list[str]
    lost: int


async def play(seed: int, database_url: str, home: Path, steps: int = STEPS, bug: str | None = None) -> Played:
    """One season on a fresh database, which is of no use to anybody else afterwards; perhaps with a mistake of ``bugs`` in it."""
    rng = random.Random(seed)  # noqa: S311 - the point is that it is the same again
    start: datetime = rng.choice(STARTS)
    owner = await connect_owner(database_url)
    try:
        if bug is not None:
            await owner.execute(patch_of(bug))
        async with open_stage(owner, database_url, home, rng, start) as stage:
            season = Season(rng, stage, Books(stage.clock, LANES, stage.engine.slots))
            problem = await _difference(_run(season, steps), season)
        # The office is closed: what it has counted is told.
        problem = problem or await _difference(checks.auditors_agree(season), season)
    finally:
        await owner.close()
    return Played(seed, problem, season.told, season.trace, stage.wire.lost)


async def _difference(work: Coroutine[Any, Any, None], season: Season) -> str:
    """What went wrong in a piece of work; empty: nothing."""
    try:
        await work
    except Exception as error:  # noqa: BLE001 - whatever it is, the season tells how it came to it
        season.trace += traceback.format_exception(error)
        return repr(error)
    return ""


async def _run(season: Season, steps: int) -> None:
    await season.move_in()
    await checks.compare(season)
    acts, weights = zip(*ACTS, strict=True)
    for _ in range(steps):
        (act,) = season.rng.choices(acts, weights)
        await act(season)
        await checks.compare(season)
    await end(season)


async def end(season: Season) -> None:
    """Everything that is open runs out of time; then nothing may be left behind."""
    await season.stage.quiet()
    await season.stage.clock.advance(3_000_000)
    await season.sweep()
    await season.keep_up()
    await season.sweep()
    await keep_house(season)
    await checks.compare(season)
    await checks.nothing_is_left(season)
