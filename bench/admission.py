"""How long a hold waits with no limits, and with all limits on: 50 callers, one server, one run.

Each caller holds 1,000 micro-Tokens with a request's fact and settles 600 of them with a receipt's, again and again, through
``metering.post`` as a gateway does.  Limits are wide: what is measured is that they are kept, not that they refuse.
"""

import argparse
import asyncio
import json
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import uvloop

from bench.figures import Table, publish, spread, verdict
from bench.ledger import CHARGED_UTOK, HELD_UTOK, SETTLE_DOWN_S, Clerk, open_wallets
from bench.pictures import Line, Panel, svg
from bench.product import folder
from taximeter.admission import limits
from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from taximeter.db.pool import connect_app, connect_owner
from taximeter.identity.terms import Limit
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings
from taximeter.ledger import Books, Kind, Operation, Wallet
from taximeter.ledger.replay import replay
from taximeter.metering.store import post

NAME = "admission"
CALLERS = 50
GOAL_P99_MS = 10.0
ONE, MANY = "one project", f"{CALLERS} projects"
PROJECTS = {ONE: 1, MANY: CALLERS}
NOTHING, KEY, ALL = "no limits", "a key's three", "all: key, project, model"
WIDE = {"requests": 10**9, "tokens": 10**15, "concurrency": 10**6}
MODEL_BUCKETS = {kind: str(uuid4()) for kind in WIDE}
PERCENTILES = (*range(2, 99, 2), 99)
REQUEST: dict[str, Any] = {
    "project_id": str(uuid4()),
    "key_id": str(uuid4()),
    "process_id": None,
    "model": "m",
    "modality": "chat",
    "rate_card": "c@1",
    "tariff": "t@1",
    "multiplier": "1",
    "fare": {},
    "end_user": None,
}
FACT = json.dumps({"request": REQUEST})
RECEIPT = json.dumps(
    {
        "receipt": {
            "outcome": "completed",
            "reason": None,
            "work": {"output_tokens": 20},
            "measured": True,
            "consumed_utok": CHARGED_UTOK,
            "lines": [],
            "detail": {},
            "engine_ms": 1,
        }
    }
)


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float


FULL = Plan(rounds=5, seconds=3.0)
QUICK = Plan(rounds=1, seconds=0.8)


def limits_of(project: int, which: str) -> tuple[Limit, ...]:
    """Wide limits of every kind: none, those of a key, or those of its project and of its model as well."""
    owners = {NOTHING: [], KEY: ["key"], ALL: ["key", "project", "model"]}[which]
    return tuple(
        Limit(
            bucket=MODEL_BUCKETS[kind] if scope == "model" else str(UUID(int=(project + 1) * 1000 + number * 10 + place)),
            scope=scope,  # type: ignore[arg-type]
            kind=kind,  # type: ignore[arg-type]
            most=most,
            window_s=0 if kind == "concurrency" else 60,
        )
        for number, scope in enumerate(owners)
        for place, (kind, most) in enumerate(WIDE.items())
    )


class Gate:
    """Holds that meet limits, as ``bench.ledger`` measures ledgers."""

    def __init__(self, books: Books, wallets: Sequence[Wallet], which: str) -> None:
        self._books = books
        self._wallets = wallets
        self._takes = [limits.take(limits_of(number, which)) for number in range(CALLERS)]
        self._shared = which == ALL

    async def hold(self, transfer: UUID, wallet: int) -> bool:
        """Reserve on a wallet."""
        paid = self._wallets[wallet]
        held = await self._books.submit(
            Operation(
                id=transfer,
                kind=Kind.HOLD,
                lane=paid.lane,
                amount_utok=HELD_UTOK,
                legs=paid.legs(),
                ttl_s=600,
                fact=FACT,
                take=self._takes[wallet],
                shared=self._shared,
            )
        )
        assert held.applied, held
        return True

    async def settle(self, transfer: UUID, wallet: int) -> None:
        """Charge a part of it and release the rest."""
        lane = self._wallets[wallet].lane
        settled = await self._books.submit(Operation(id=transfer, kind=Kind.SETTLE, lane=lane, amount_utok=CHARGED_UTOK, fact=RECEIPT))
        assert settled.applied, settled


@dataclass(frozen=True)
class Cell:
    """One contender in one round; latencies of holds."""

    operations_per_s: float
    percentiles_ms: tuple[float, ...]

    def at(self, percentile: int) -> float:
        """A percentile in milliseconds."""
        return self.percentiles_ms[PERCENTILES.index(percentile)]


async def measure(gate: Gate, projects: int, seconds: float) -> Cell:
    """So many callers on so many projects, for so long."""
    clerk, ids, draw = Clerk(), IdFactory(SystemClock()), random.Random(20_260_101)  # noqa: S311 - which project is no secret
    tasks = [asyncio.create_task(clerk.work(gate, ids, projects, draw)) for _ in range(CALLERS)]
    await asyncio.sleep(SETTLE_DOWN_S)
    clerk.measuring = True
    await asyncio.sleep(seconds)
    clerk.measuring = clerk.running = False
    await asyncio.gather(*tasks)
    ordered = sorted(clerk.holds_s)
    assert ordered, f"not one hold in {seconds} s"
    percentiles = tuple(ordered[len(ordered) * percentile // 100] * 1000 for percentile in PERCENTILES)
    return Cell((len(ordered) + clerk.settled) / seconds, percentiles)


Cells = dict[tuple[str, str], list[Cell]]


async def run(url: str, plan: Plan) -> tuple[Cells, str, bool]:
    """All contenders in turn, in every round; then whether the books are right and no slot is left."""
    clock = SystemClock()
    await migrate(url)
    books = Books(lambda: connect_app(url), post, clock)
    wallets = await open_wallets(url, books, IdFactory(clock), Settings().lanes)
    gates = {which: Gate(books, wallets, which) for which in (NOTHING, KEY, ALL)}
    cells: Cells = {}
    for gate in gates.values():
        await measure(gate, CALLERS, 0.3)
    try:
        for number in range(plan.rounds):
            for projects, count in PROJECTS.items():
                for which, gate in list(gates.items())[:: -1 if number % 2 else 1]:
                    cells.setdefault((projects, which), []).append(await measure(gate, count, plan.seconds))
            print(f"  admission: round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
    finally:
        await books.close()
    return cells, *await _check(url)


async def _check(url: str) -> tuple[str, bool]:
    connection = await connect_owner(url)
    try:
        report = await replay(connection)
        left = await connection.fetchval("select (select count(*) from admission.running) + (select count(*) from admission.taken)")
    finally:
        await connection.close()
    agrees = report.agrees and left == 0
    verdict_text = "everything agrees" if agrees else f"DIFFERENCES: {report.differences[:3]}, {left} slots and reservations left"
    return f"replay of {report.rows:,} log rows, {report.open_holds} open holds, {left} slots left: {verdict_text}", agrees


def table(cells: Cells, plan: Plan, checked: str) -> Table:
    """Latencies, and how many times those without limits."""
    made = Table(
        f"Admission: {CALLERS} callers, {plan.rounds} rounds of {plan.seconds} s",
        ("projects, limits", "operations/s", "hold p50 ms", "x no limits", "hold p99 ms", "x no limits"),
        notes=(
            *(
                verdict(f"hold p99 <= {GOAL_P99_MS:g} ms with all limits on, {projects}", p99, met=p99 <= GOAL_P99_MS)
                for projects in PROJECTS
                for p99 in [spread(cell.at(99) for cell in cells[projects, ALL]).median]
            ),
            "all: requests, Tokens and requests at once of the key, of the project and of the model, whose buckets all lanes share",
            checked,
        ),
    )
    for (projects, which), found in sorted(cells.items(), key=lambda item: (item[0][0] != ONE, (NOTHING, KEY, ALL).index(item[0][1]))):
        row = [f"{projects}, {which}", spread(cell.operations_per_s for cell in found).show()]
        for percentile in (50, 99):
            pairs = zip(found, cells[projects, NOTHING], strict=True)
            ratio = spread(cell.at(percentile) / plain.at(percentile) for cell, plain in pairs).show(2)
            row += [spread(cell.at(percentile) for cell in found).show(1), "1" if which == NOTHING else ratio]
        made.rows.append(row)
    return made


def picture(cells: Cells) -> str:
    """How many of a hundred holds are answered within which time."""
    panels = []
    for projects in PROJECTS:
        lines = [
            Line(which, [(percentile, spread(cell.at(percentile) for cell in cells[projects, which]).median) for percentile in PERCENTILES])
            for which in (NOTHING, KEY, ALL)
        ]
        title = f"Latency of a hold in ms, {CALLERS} callers, {projects}"
        panels.append(Panel(title, "holds that are faster, of a hundred", lines, limits=(("goal of p99", GOAL_P99_MS),)))
    return svg(panels)


def main() -> int:
    """Run, print, keep; exit code 1 when the books are wrong or a slot is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round")
    plan = QUICK if parser.parse_args().quick else FULL
    with folder() as home:
        server = EmbeddedPostgres(home)
        try:
            cells, checked, agrees = uvloop.run(run(server.start(), plan))
        finally:
            server.stop()
    raw = [{"projects": projects, "limits": which, "rounds": found} for (projects, which), found in cells.items()]
    publish(NAME, [table(cells, plan, checked)], {"plan": plan, "cells": raw}, picture(cells))
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
