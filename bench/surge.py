"""Surge prices over a simulated day, by the product's own controller, over many seeds: does the price swing, does the peak get lower, who pays.

Nothing is timed: the figures depend on the seeds alone.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from bench.figures import Spread, Table, publish, spread, verdict
from bench.pictures import Line, Panel, svg
from bench.surge_day import PEAK_H, WANTED_BY_HOUR, Day, World, hourly, play
from taximeter.admission.surge.model import Point, Policy
from taximeter.admission.surge.rules import target_pct

NAME = "surge"
SEEDS, QUICK_SEEDS, RETURN_SEEDS = 30, 4, 10
TURNS_GOAL = 24
NEUTRAL_GOAL = 0.03
PICTURE_SEED = 1
WARM_UP_DAYS = 3
# Milder, so that what it brings in can be given back in the calm, and with a discount up to where the surge begins.
_NEUTRAL = Policy(
    curve=(Point(8_500, 100), Point(10_000, 115), Point(20_000, 130)), discount=(Point(8_000, 80), Point(8_500, 100)), deadband_bp=1_500
)
POLICIES: Mapping[str, Policy | None] = {
    "no surge": None,
    # What a price does that follows the last sample: the curve and nothing else.
    "curve alone": Policy(smoothing_s=0, deadband_bp=0, step_s=5, rise_pct=150, fall_pct=145),
    "surge": Policy(),
    "revenue-neutral": _NEUTRAL,
}
ELASTICITIES = (0.0, 0.25, 0.5, 1.0, 2.0)
RETURNS_S = (0.0, 60.0, 1800.0)
COLOURS = {name: place for place, name in enumerate(POLICIES)}
"""A policy has one colour in all panels."""


@dataclass(frozen=True)
class Figures:
    """What is kept of a day."""

    turns: int
    changes: int
    highest: float
    peak_load: float
    wait_p99_s: float
    peak_work_s: float
    work_s: float
    charged_ratio: float


def figures_of(day: Day) -> Figures:
    """A day in numbers."""
    return Figures(
        day.turns,
        day.changes,
        max(day.prices_pct) / 100,
        day.peak_load,
        day.wait_p99_s,
        day.peak_work_s,
        day.work_s,
        day.charged_ratio,
    )


def one(job: tuple[str, float, int]) -> Figures:
    """One day after those that warm up: by which policy, with which elasticity, from which seed."""
    name, elasticity, seed = job
    return figures_of(play(POLICIES[name], World(elasticity=elasticity), seed, days=WARM_UP_DAYS + 1))


def come_back(job: tuple[float, bool, int]) -> Figures:
    """A day under the default policy of callers who come back so late, told one moment or several, from which seed."""
    return_s, spread_out, seed = job
    return figures_of(play(POLICIES["surge"], World(return_s=return_s, spread=spread_out), seed, days=WARM_UP_DAYS + 1))


def main() -> int:
    """Play, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds instead of {SEEDS}")
    seeds = range(1, 1 + (QUICK_SEEDS if parser.parse_args().quick else SEEDS))
    usual = World().elasticity
    jobs = [(name, usual, seed) for name in POLICIES for seed in seeds]
    jobs += [(name, elasticity, seed) for elasticity in ELASTICITIES if elasticity != usual for name in ("no surge", "surge") for seed in seeds]
    returns = [(return_s, spread_out, seed) for return_s in RETURNS_S for spread_out in (False, True) for seed in seeds[:RETURN_SEEDS]]
    with ProcessPoolExecutor() as pool:
        found = dict(zip(jobs, pool.map(one, jobs, chunksize=4), strict=True))
        came_back = dict(zip(returns, pool.map(come_back, returns, chunksize=4), strict=True))
    days = {name: [found[name, usual, seed] for seed in seeds] for name in POLICIES}
    by_elasticity = {value: [[found[name, value, seed] for seed in seeds] for name in ("no surge", "surge")] for value in ELASTICITIES}
    raw = {name: [vars(each) for each in figures] for name, figures in days.items()}
    publish(NAME, [table(days), elasticity_table(by_elasticity), return_table(came_back)], {"days": raw}, picture())
    return 0


def table(days: Mapping[str, Sequence[Figures]]) -> Table:
    """The policies beside each other."""
    plain, world = days["no surge"], World()
    rows: list[Sequence[str]] = []
    for name, figures in days.items():
        moved = [1 - each.peak_work_s / other.peak_work_s for each, other in zip(figures, plain, strict=True)]
        rows.append(
            (
                name,
                _of(figures, lambda each: each.peak_load * 100, 0) + " %",
                spread(value * 100 for value in moved).show(0) + " %",
                _of(figures, lambda each: each.wait_p99_s, 0),
                _of(figures, lambda each: each.highest, 2),
                _of(figures, lambda each: each.changes, 0),
                _of(figures, lambda each: each.turns, 0),
                _of(figures, lambda each: each.charged_ratio, 3),
            )
        )
    surge, neutral = days["surge"], days["revenue-neutral"]
    turns = max(each.turns for each in (*surge, *neutral))
    apart = max(abs(each.charged_ratio - 1) for each in neutral)
    lower = sum(each.peak_load < other.peak_load for each, other in zip(surge, plain, strict=True))
    assumed = (
        f"{len(surge)} seeds; {world.slots} slots, {world.service_s:g} s a request; peak hours {PEAK_H[0]} to {PEAK_H[1]}; elasticity"
        f" {world.elasticity:g}; {world.patient:.0%} take no more than 1 to 1.5 and come back, {world.batch:.0%} wait for the calm"
    )
    notes = (
        verdict(f"direction changes a day, in the worst of {2 * len(surge)} days <= {TURNS_GOAL}", turns, met=turns <= TURNS_GOAL, digits=0),
        verdict(f"days with a lower peak than without, of {len(surge)}", lower, met=lower == len(surge), digits=0),
        verdict(f"revenue-neutral: farthest from 1 <= {NEUTRAL_GOAL}", apart, met=apart <= NEUTRAL_GOAL, digits=3),
        assumed,
    )
    return Table(
        f"Surge: a day with a peak of {max(WANTED_BY_HOUR)} % of what the engine can do",
        ("policy", "busiest 15 min", "work moved off the peak", "p99 wait (s)", "highest", "changes", "turns", "charged / consumed"),
        rows,
        notes,
    )


def elasticity_table(found: Mapping[float, Sequence[Sequence[Figures]]]) -> Table:
    """The same surge before callers who mind more or less."""
    rows: list[Sequence[str]] = []
    for elasticity, (plain, surge) in found.items():
        moved = [1 - each.peak_work_s / other.peak_work_s for each, other in zip(surge, plain, strict=True)]
        rows.append(
            (
                f"{elasticity:g}",
                _of(plain, lambda each: each.peak_load * 100, 0) + " %",
                _of(surge, lambda each: each.peak_load * 100, 0) + " %",
                spread(value * 100 for value in moved).show(0) + " %",
                _of(surge, lambda each: each.highest, 2),
                _of(surge, lambda each: each.turns, 0),
            )
        )
    return Table(
        "Surge: callers who mind the price more or less",
        ("elasticity", "busiest 15 min without", "with", "work moved off the peak", "highest", "turns"),
        rows,
        ("Of the requests that run at once or not at all; the patient ones and batch are the same in each row.",),
    )


def return_table(found: Mapping[tuple[float, bool, int], Figures]) -> Table:
    """Whether those who wait for a price come back all at once."""
    rows: list[Sequence[str]] = []
    for return_s in RETURNS_S:
        by_spread = [
            [figures for (late_s, spread_out, _), figures in found.items() if (late_s, spread_out) == (return_s, told)] for told in (False, True)
        ]
        loads = [_of(figures, lambda each: each.peak_load * 100, 0) + " %" for figures in by_spread]
        waits = [_of(figures, lambda each: each.wait_p99_s, 0) for figures in by_spread]
        rows.append((f"{return_s:g}", *loads, *waits))
    return Table(
        "Surge: callers who come back as they are told",
        ("seconds late in the mean", "busiest 15 min, told one moment", "told several", "p99 wait (s), one moment", "several"),
        rows,
        (f"The default policy, {len(found) // (2 * len(RETURNS_S))} seeds; several: as Retry-After is told, by chance up to an hour apart.",),
    )


def _of(figures: Sequence[Figures], value: Callable[[Figures], float], digits: int) -> str:
    found: Spread = spread(value(each) for each in figures)
    return found.show(digits)


def picture() -> str:
    """One day, how busy the engine was and what the price did; and the default curve, on the way up and, behind the deadband, down."""
    days = {name: play(policy, World(), PICTURE_SEED, days=WARM_UP_DAYS + 1) for name, policy in POLICIES.items() if name != "curve alone"}
    usual, loads = Policy(), range(6_000, 21_000, 20)
    up = [(load / 100, target_pct(usual, load * 100) / 100) for load in loads]
    down = [(load / 100, target_pct(usual, (load + usual.deadband_bp) * 100) / 100) for load in loads]
    return svg(
        [
            Panel(
                "Work at the engine and waiting, in percent of its slots (without surge: the first 400)",
                "hour of the day",
                [Line(name, [(x, min(400.0, y * 100)) for x, y in hourly(day.loads)], COLOURS[name]) for name, day in days.items()],
                limits=(("surge begins", 85.0),),
            ),
            Panel(
                "Multiplier",
                "hour of the day",
                [
                    Line(name, hourly([price / 100 for price in day.prices_pct[::60]]), COLOURS[name])
                    for name, day in days.items()
                    if name != "no surge"
                ],
                limits=(("1", 1.0),),
            ),
            Panel(
                "The default curve", "utilisation, smoothed, in percent", [Line("rising", up, len(COLOURS)), Line("falling", down, len(COLOURS) + 1)]
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
