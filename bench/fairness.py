"""Who waits how long when one tenant wants everything: the fair queue against plain FIFO and strict priority.

The first part runs the very rule of the product on a virtual clock; the second runs the product's queue in PostgreSQL, with callers in
four processes.  Usage: ``python -m bench.fairness [--quick]``; pictures and figures go to ``bench/out/``.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench import fair_run
from bench.fair_disciplines import Engine, Served, Tenant, alone, jain, percentile, queue_named
from bench.figures import Table, publish, spread, verdict
from bench.pictures import Line, Panel, svg

NAME = "fairness"
DISCIPLINES = ("fair queue", "plain FIFO", "strict priority")
DRAWN = (*DISCIPLINES, "an engine of their own")
SLOTS = 4
LIGHT = 20
# Tokens, four a second: chats of 1 to 10 s, speech of 10 s to a minute, films of ten minutes to an hour.
CHAT, SPEECH, FILM = (4, 40), (40, 240), (2400, 14400)
HEAVY = Tenant("heavy", ((0.6, *CHAT), (0.3, *SPEECH), (0.1, *FILM)), backlog=200)
LIGHT_SIZES = ((0.9, *CHAT), (0.1, *SPEECH))
LIGHT_PER_S = 0.0035
GOAL_JAIN, GOAL_WAIT = 0.95, 2.0


@dataclass(frozen=True)
class Plan:
    """How much is simulated."""

    hours: int
    seeds: int
    real_s: float


FULL, QUICK = Plan(12, 5, 12.0), Plan(6, 2, 5.0)


def everybody_wants_more() -> list[Tenant]:
    """All are backlogged; the heavy one has forty times as much waiting, and some have more weight."""
    light = [Tenant(f"light {number}", LIGHT_SIZES, backlog=5, weight=(1, 1, 2)[number % 3]) for number in range(LIGHT)]
    return [HEAVY, *light]


def one_wants_everything(rank: int = 1) -> list[Tenant]:
    """The heavy one is backlogged; the others ask now and then, for less than their share."""
    light = [Tenant(f"light {number}", LIGHT_SIZES, per_s=LIGHT_PER_S) for number in range(LIGHT)]
    return [replace(HEAVY, rank=rank), *light]


@dataclass(frozen=True)
class Shares:
    """How Tokens were divided."""

    index: float
    heavy: float
    curve: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Waits:
    """How long light tenants waited, and what would have been fair: seconds."""

    median_s: float
    p99_s: float
    most_s: float
    fair_median_s: float
    fair_p99_s: float
    all_s: Sequence[float]
    fair_s: Sequence[float]
    busy: float


def simulate(tenants: Sequence[Tenant], discipline: str, seed: int, hours: float) -> Engine:
    """One run of virtual time."""
    engine = Engine(queue_named(discipline, SLOTS), tenants, seed)
    engine.run(hours)
    return engine


def shares(discipline: str, seed: int, hours: float) -> Shares:
    """How Tokens are divided, by weight, while everybody wants more."""
    tenants = everybody_wants_more()
    engine = simulate(tenants, discipline, seed, hours)
    weighted = [engine.served[tenant.name].used_utok / tenant.weight for tenant in tenants]
    total = sum(one.used_utok for one in engine.served.values())
    return Shares(jain(weighted), engine.served["heavy"].used_utok / total, engine.curve)


def waits(discipline: str, seed: int, hours: float, rank: int = 1) -> Waits:
    """How long those wait who ask for less than their share."""
    tenants = one_wants_everything(rank)
    engine = simulate(tenants, discipline, seed, hours)
    light: list[Served] = [engine.served[tenant.name] for tenant in tenants if tenant is not tenants[0]]
    all_s = [wait for one in light for wait in one.waits_s]
    # The same requests, whatever the discipline: those that were never run would only make what is fair look longer.
    fair_s = [late for one in light for late in alone(one.done, SLOTS / len(tenants))]
    used_s = sum(one.used_utok for one in engine.served.values()) / 4_000_000
    return Waits(
        percentile(all_s, 0.5),
        percentile(all_s, 0.99),
        max(all_s),
        percentile(fair_s, 0.5),
        percentile(fair_s, 0.99),
        all_s,
        fair_s,
        used_s / (SLOTS * hours * 3600),
    )


def table_of_shares(found: dict[str, list[Shares]], plan: Plan) -> Table:
    """Medians over seeds; least and most in brackets."""
    made = Table(
        f"Everybody wants more: 1 heavy and {LIGHT} light tenants, {SLOTS} slots, {plan.hours} hours, {plan.seeds} seeds",
        ("discipline", "Jain's index", "heavy tenant's part"),
    )
    for name in DISCIPLINES:
        index, heavy = spread(one.index for one in found[name]), spread(100 * one.heavy for one in found[name])
        made.rows.append((name, index.show(3), f"{heavy.show(1)} %"))
    least = min(one.index for one in found["fair queue"])
    made.notes = (
        verdict(f"Jain's index by weighted Tokens at least {GOAL_JAIN}, in every run", least, met=least >= GOAL_JAIN, digits=3),
        "every third light tenant has twice the weight; all ask in one class, so strict priority is FIFO here",
    )
    return made


def table_of_waits(title: str, found: dict[str, list[Waits]], *, with_goal: bool) -> Table:
    """Medians over seeds; least and most in brackets."""
    made = Table(title, ("discipline", "median wait s", "of a fair share", "p99 wait s", "of a fair share", "longest s", "slots busy"))
    for name in DISCIPLINES:
        runs = found[name]
        told = ((one.median_s, one.fair_median_s, one.p99_s, one.fair_p99_s, one.most_s) for one in runs)
        columns = [spread(values) for values in zip(*told, strict=True)]
        busy = statistics.median(100 * one.busy for one in runs)
        made.rows.append((name, *(column.show(0) for column in columns), f"{busy:.0f} %"))
    if with_goal:
        worst = max(one.p99_s / one.fair_p99_s for one in found["fair queue"])
        made.notes = (verdict(f"light tenants' p99 wait, x of their fair share, at most {GOAL_WAIT}", worst, met=worst <= GOAL_WAIT, digits=2),)
    return made


def curve_of(values: Sequence[float]) -> list[tuple[float, float]]:
    """The wait that each per cent of the requests did not exceed."""
    return [(part, percentile(values, part / 100)) for part in range(1, 100)]


def _line(name: str, points: Sequence[tuple[float, float]]) -> Line:
    """With one colour for a discipline in all panels."""
    return Line(name, points, DRAWN.index(name))


def picture(divided: dict[str, list[Shares]], waited: dict[str, list[Waits]]) -> str:
    """Who gets what, and who waits how long: of the first seed."""
    fair = 100 / sum(tenant.weight for tenant in everybody_wants_more())
    first = {name: runs[0] for name, runs in waited.items()}
    return svg(
        [
            Panel(
                "Part of the engine that the heavy tenant gets while all want more, %",
                "hours",
                [_line(name, divided[name][0].curve) for name in DISCIPLINES[:2]],
                [("its share", fair)],
            ),
            Panel(
                "Light tenants' wait, seconds: fair queue",
                "per cent of their requests that waited no longer",
                [_line("fair queue", curve_of(first["fair queue"].all_s)), _line("an engine of their own", curve_of(first["fair queue"].fair_s))],
            ),
            Panel(
                "The same on plain FIFO",
                "per cent of their requests that waited no longer",
                [_line("plain FIFO", curve_of(first["plain FIFO"].all_s)), _line("fair queue", curve_of(first["fair queue"].all_s))],
            ),
        ]
    )


def main() -> int:
    """Run, print, keep; exit code 1 when the real queue lost somebody or granted more than there was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less time, fewer seeds")
    plan = QUICK if parser.parse_args().quick else FULL
    seeds = range(1, plan.seeds + 1)
    divided = {name: [shares(name, seed, plan.hours) for seed in seeds] for name in DISCIPLINES}
    waited = {name: [waits(name, seed, plan.hours) for seed in seeds] for name in DISCIPLINES}
    bought = {name: [waits(name, seed, plan.hours, rank=0) for seed in seeds] for name in DISCIPLINES}
    real, wrong = asyncio.run(fair_run.run(plan.real_s))
    tables = [
        table_of_shares(divided, plan),
        table_of_waits("One wants everything, the others ask for less than their share", waited, with_goal=True),
        table_of_waits("The same, and the heavy tenant pays for priority", bought, with_goal=False),
        real,
    ]
    kept = {
        "plan": plan,
        "jain": {name: [one.index for one in runs] for name, runs in divided.items()},
        "median_s": {name: [(one.median_s, one.fair_median_s) for one in runs] for name, runs in waited.items()},
        "p99_s": {name: [(one.p99_s, one.fair_p99_s) for one in runs] for name, runs in waited.items()},
    }
    publish(NAME, tables, kept, picture(divided, waited))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
