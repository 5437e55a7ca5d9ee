"""Quotes over HTTP: priced, signed and durable before they are answered; one by one, and a thousand in one call.

The product as it is: one gateway process, its worker and the embedded PostgreSQL on the same machine as the load generator.
After the run every answer must be on record, and a quote of each kind must pass the check that needs no server.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import uvloop

from bench import load, processes, product
from bench.figures import Table, publish, spread, verdict
from taximeter.db.pool import connect_owner
from taximeter.kernel.signatures import PublicKey
from taximeter.metering.fares import METERS
from taximeter.metering.quotes import read_quote, verify_quote
from taximeter.pricing import apply_dir, builtin_dir

NAME = "quotes"
PATH = "/v1/quotes"
ITEMS = 1000
BATCH = "batch"
GOAL_RATE = 1000.0
# No two requests are the same.
REQUESTS: Mapping[str, dict[str, Any]] = {
    "chat": {
        "model": "smollm2-135m",
        "request": {"messages": [{"role": "user", "content": f"What did trip {load.NUMBER} cost, and who can check it?"}], "max_tokens": 64},
    },
    "speech": {"model": "kokoro-82m", "request": {"input": f"Trip number {load.NUMBER} is over, and here is your receipt.", "voice": "alloy"}},
    "video": {"model": "wan2.2-t2v-a14b", "request": {"prompt": f"trip {load.NUMBER} at night", "size": "1280x720", "seconds": "5"}},
}


@dataclass(frozen=True)
class Plan:
    """How long and how often."""

    rounds: int
    seconds: float
    connections: tuple[int, ...] = (1, 8, 32)


FULL = Plan(rounds=5, seconds=1.0)
QUICK = Plan(rounds=2, seconds=0.3, connections=(1, 32))


@dataclass(frozen=True)
class Cell:
    """One kind of quote in one round; CPU microseconds for one quote, of the gateway and of the database."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: float | None
    book_cpu_us: float | None


@dataclass
class Run:
    """All rounds, by kind and connections; and how many quotes were given in all."""

    cells: dict[tuple[str, int], list[Cell]] = field(default_factory=dict)
    quotes: int = 0


def targets(server: product.Product) -> dict[str, load.Target]:
    """What is asked, by its name."""
    bodies = {kind: json.dumps(body).encode() for kind, body in REQUESTS.items()}
    # Of a batch, one item has the number: its body is prepared once, as the others are.
    items = [REQUESTS["chat"], *([REQUESTS["speech"], REQUESTS["video"], REQUESTS["chat"]] * ITEMS)][:ITEMS]
    plain = json.dumps({"items": items}).replace(load.NUMBER, "00000000").replace("00000000", load.NUMBER, 1)
    bodies[BATCH] = plain.encode()
    return {kind: load.Target(server.port, load.post(PATH, body, server.key)) for kind, body in bodies.items()}


async def run(server: product.Product, plan: Plan) -> Run:
    """Every kind, at every number of connections, in every round."""
    made = Run()
    asked = targets(server)
    for kind in REQUESTS:
        made.quotes += (await load.measure(asked[kind], 4, 0.3)).answers
    for number in range(plan.rounds):
        for connections in plan.connections:
            for kind in REQUESTS:
                await _turn(made, server, (kind, connections), asked[kind], plan.seconds)
        await _turn(made, server, (BATCH, 1), asked[BATCH], plan.seconds)
        print(f"  quotes: round {number + 1} of {plan.rounds}", file=sys.stderr, flush=True)
    return made


async def _turn(made: Run, server: product.Product, key: tuple[str, int], target: load.Target, seconds: float) -> None:
    of_each = ITEMS if key[0] == BATCH else 1
    pids = (server.gateway_pids(), server.database_pids())
    before = [processes.cpu_s(each) for each in pids]
    sample = await load.measure(target, key[1], seconds)
    after = [processes.cpu_s(each) for each in pids]
    quotes = sample.answers * of_each
    cpu = [None if then is None or now is None else (now - then) / quotes * 1e6 for then, now in zip(before, after, strict=True)]
    made.quotes += quotes
    made.cells.setdefault(key, []).append(Cell(sample.rate * of_each, sample.quantile_ms(0.5), sample.quantile_ms(0.99), cpu[0], cpu[1]))


async def publish_catalog(server: product.Product) -> None:
    """The built-in models, which a server without the demo does not have."""
    connection = await connect_owner(server.state.database_url)
    try:
        await apply_dir(connection, builtin_dir(), METERS)
    finally:
        await connection.close()
    await asyncio.sleep(product.CATALOG_REFRESH_S)


async def audit(server: product.Product, quotes: int) -> list[str]:
    """What is wrong with the books after the run."""
    connection = await connect_owner(server.state.database_url)
    try:
        kept = await connection.fetchval("select count(*) from metering.quotes")
        texts = await connection.fetch("select distinct on (document::json ->> 'modality') document from metering.quotes")
    finally:
        await connection.close()
    public = [PublicKey.from_jwk(each) for each in (await asyncio.to_thread(processes.call_json, server.port, "GET", "/v1/keys"))["keys"]]
    for row in texts:
        verify_quote(read_quote(row["document"]), public)
    wrong = [] if kept == quotes else [f"{quotes} quotes were answered and {kept} are on record"]
    return wrong + ([] if len(texts) == len(REQUESTS) else ["a kind of quote was not checked"])


def table(made: Run, plan: Plan) -> Table:
    """Quotes a second, latency and CPU: medians over rounds; least and most in brackets."""
    shown = Table(
        f"Quotes, signed and durable: {plan.rounds} rounds of {plan.seconds} s",
        ("conns kind", "quotes/s", "p50 ms", "p99 ms", "CPU us", "database us"),
    )
    for (kind, connections), cells in made.cells.items():
        shown.rows.append(
            (
                f"{connections:>5} {f'{ITEMS:,} items a call' if kind == BATCH else kind}",
                spread(cell.rate for cell in cells).show(),
                f"{spread(cell.p50_ms for cell in cells).median:.2f}",
                f"{spread(cell.p99_ms for cell in cells).median:.2f}",
                *(f"{spread(each).median:,.0f}" if (each := [value for value in column if value]) else "" for column in _cpu(cells)),
            )
        )
    most = max(plan.connections)
    reached = min(spread(cell.rate for cell in made.cells[kind, most]).median for kind in REQUESTS)
    shown.notes = (
        verdict(f"quotes a second at {most} connections, the slowest kind, at least {GOAL_RATE:,.0f}", reached, met=reached >= GOAL_RATE, digits=0),
        f"CPU us: for one quote, of the gateway process and of PostgreSQL, on {os.cpu_count()} cores that the load generator shares",
    )
    return shown


def _cpu(cells: list[Cell]) -> tuple[list[float | None], list[float | None]]:
    return [cell.cpu_us for cell in cells], [cell.book_cpu_us for cell in cells]


def main() -> int:
    """Run, print, keep; exit code 1 when an answered quote is not on record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    plan = QUICK if parser.parse_args().quick else FULL
    # Quotes run nothing: the upstream that the product is told of is never asked.
    with product.running(processes.free_port()) as server:
        asyncio.run(publish_catalog(server))
        made = uvloop.run(run(server, plan))
        wrong = asyncio.run(audit(server, made.quotes))
    shown = table(made, plan)
    found = "; ".join(wrong) or "all are on record, and one of each kind was checked"
    shown.notes = (*shown.notes, f"books: {made.quotes:,} quotes answered: {found}")
    cells = [{"kind": kind, "connections": connections, "rounds": cells} for (kind, connections), cells in made.cells.items()]
    publish(NAME, [shown], {"plan": plan, "cells": cells, "quotes": made.quotes})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
