"""The gateway before a fast mock upstream: bare pass-through, our gateway without books, our gateway with durable books.

All contenders run at the same time, each in processes of its own, and take turns within every round, in another
order each round; only the one whose turn it is gets requests.  Ratios are taken within a round.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import uvloop

from bench import load, mock_upstream
from bench.contenders import MODES, Contender, Field, started
from bench.figures import Spread, Table, publish, spread
from bench.processes import cpu_s
from bench.product import Audit, audit

NAME = "gateway"
MOCK, YARDSTICK = "mock", "pass-through"
GOALS = (
    "goals at 32 connections, plain: taximeter >= 0.50 of the pass-through's requests/s;"
    " added p50 <= 2 ms and added p99 <= 10 ms (added: within a round, taximeter minus pass-through)"
)


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    connections: tuple[int, ...] = (1, 8, 32)


FULL = Plan(rounds=5, seconds=0.8)
QUICK = Plan(rounds=2, seconds=0.2, connections=(1, 32))


@dataclass(frozen=True)
class Cell:
    """One contender in one round.

    Attributes:
        rate: answers a second.
        cpu_us: CPU microseconds its own processes used for an answer; None where the system does not tell.
        book_cpu_us: the same for its database.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float | None
    book_cpu_us: float | None


@dataclass
class Race:
    """All rounds.

    Attributes:
        cells: by mode, connections and contender, one a round.
        answers: by contender, all of them, warm-ups included.
    """

    cells: dict[tuple[str, int, str], list[Cell]] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)

    async def warm_up(self, contender: Contender) -> None:
        """See that it answers what the mock said, and let it settle down."""
        for mode in MODES:
            said = _text(await load.ask_once(contender.target(mode)), mode)
            assert said == mock_upstream.TEXT, f"{contender.name} answers {said!r}"
            self._count(contender, 1)
            self._count(contender, (await load.measure(contender.target(mode), 4, 0.2)).answers)

    async def turn(self, contender: Contender, mode: str, connections: int, seconds: float) -> None:
        """Measure one cell."""
        before = [cpu_s(pids) for pids in (contender.pids, contender.book_pids)]
        sample = await load.measure(contender.target(mode), connections, seconds)
        after = [cpu_s(pids) for pids in (contender.pids, contender.book_pids)]
        self._count(contender, sample.answers)
        # CPU is read around the whole run, so it is divided by all answers, those of the warm-up included.
        own, book = (None if then is None or now is None else (now - then) / sample.answers * 1e6 for then, now in zip(before, after, strict=True))
        cell = Cell(sample.rate, sample.quantile_ms(0.5), sample.quantile_ms(0.99), own, book)
        self.cells.setdefault((mode, connections, contender.name), []).append(cell)

    def spread(self, key: tuple[str, int, str], read: Callable[[Cell], float]) -> Spread:
        """One figure over the rounds."""
        return spread(read(cell) for cell in self.cells[key])

    def against(self, key: tuple[str, int, str], compare: Callable[[Cell, Cell], float]) -> Spread:
        """A comparison with the yardstick, round by round."""
        mode, connections, _ = key
        pairs = zip(self.cells[key], self.cells[mode, connections, YARDSTICK], strict=True)
        return spread(compare(cell, yardstick) for cell, yardstick in pairs)

    def _count(self, contender: Contender, answers: int) -> None:
        self.answers[contender.name] = self.answers.get(contender.name, 0) + answers


async def run(entered: Field, plan: Plan) -> Race:
    """Every contender, in every mode, at every number of connections, in every round."""
    race = Race()
    for contender in entered.contenders:
        await race.warm_up(contender)
    for number in range(plan.rounds):
        first = number % len(entered.contenders)
        order = [*entered.contenders[first:], *entered.contenders[:first]]
        for mode in MODES:
            for connections in plan.connections:
                for contender in order:
                    await race.turn(contender, mode, connections, plan.seconds)
        print(f"  gateway: round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
    return race


def _text(answer: bytes, mode: str) -> str:
    """The text of an answer, to see that everybody passes on the same."""
    body = answer.partition(b"\r\n\r\n")[2]
    if mode == "plain":
        return str(json.loads(body)["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


def tables(entered: Field, plan: Plan, race: Race) -> list[Table]:
    """Requests a second, latency, and CPU: medians over rounds; least and most in brackets where a ratio is at stake."""
    made = []
    for mode in MODES:
        title = {"plain": "plain answers", "stream": f"streamed answers ({len(mock_upstream.STREAM) + 2} events each)"}[mode]
        rates = Table(
            f"Gateway, {title}: {plan.rounds} rounds of {plan.seconds} s",
            ("conns contender", "requests/s", "of pass-through", "p50 ms", "p99 ms", "added p50 ms", "added p99 ms", "CPU us", "database us"),
        )
        for connections in plan.connections:
            rates.rows += [_row(race, (mode, connections, contender.name)) for contender in entered.contenders]
        made.append(rates)
    made[0].notes = (GOALS, *(f"{contender.name}: {contender.about}" for contender in entered.contenders))
    made[-1].notes = (f"CPU us: CPU time that the contender's own processes, and its database, used for one answer, on {os.cpu_count()} cores",)
    return made


def _row(race: Race, key: tuple[str, int, str]) -> Sequence[str]:
    _, connections, name = key
    compared = name not in {MOCK, YARDSTICK}
    added = [
        race.against(key, lambda cell, bare: cell.p50_ms - bare.p50_ms).show(2),
        race.against(key, lambda cell, bare: cell.p99_ms - bare.p99_ms).show(2),
    ]
    return (
        f"{connections:>5} {name}",
        race.spread(key, lambda cell: cell.rate).show(),
        race.against(key, lambda cell, bare: cell.rate / bare.rate).show(2) if name != YARDSTICK else "1",
        f"{race.spread(key, lambda cell: cell.p50_ms).median:.2f}",
        f"{race.spread(key, lambda cell: cell.p99_ms).median:.2f}",
        *(added if compared else ("", "")),
        _cpu([cell.cpu_us for cell in race.cells[key]]),
        _cpu([cell.book_cpu_us for cell in race.cells[key]]),
    )


def _cpu(values: Sequence[float | None]) -> str:
    known = [value for value in values if value]
    return f"{spread(known).median:,.0f}" if known else ""


def main() -> int:
    """Run, print, keep; exit code 1 when the books do not agree with what was answered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    plan = QUICK if parser.parse_args().quick else FULL
    with started() as entered:
        race = uvloop.run(run(entered, plan))
        found = {name: audit(books, race.answers[name]) for name, books in entered.products.items()}
    made = tables(entered, plan, race)
    durability = sorted({_durability(each) for each in found.values()})
    made[-1].notes = (*made[-1].notes, *durability, *(f"books of {name}: {each.sentence()}" for name, each in found.items()))
    cells = [
        {"mode": mode, "connections": connections, "contender": name, "rounds": cells} for (mode, connections, name), cells in race.cells.items()
    ]
    publish(NAME, made, {"plan": plan, "cells": cells, "audit": found})
    return 0 if all(each.agrees for each in found.values()) else 1


def _durability(found: Audit) -> str:
    server = found.server
    kept = ", ".join(f"{name} {server[name]}" for name in ("fsync", "synchronous_commit", "full_page_writes"))
    return f"database: PostgreSQL {server['server_version']}, {kept}"


if __name__ == "__main__":
    sys.exit(main())
