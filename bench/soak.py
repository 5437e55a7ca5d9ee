"""Minutes of holds and settlements through the books, with the rows of requests and receipts that the gateway writes with them.

What is looked for is change: does the last third of the run do as much as the first, do tables grow beyond their rows, does
autovacuum keep up.  In the middle of the run it becomes midnight for the ids, so that the log goes on in another partition.
"""

import argparse
import asyncio
import json
import random
import re
import statistics
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from uuid import uuid4

import asyncpg
import uvloop

from bench.figures import Table, publish, verdict
from bench.ledger import CHARGED_UTOK, HELD_UTOK, WALLETS, open_wallets
from bench.pictures import Line, Panel, svg
from bench.product import folder
from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from taximeter.db.pool import connect_app, connect_owner
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.kernel.settings import Settings
from taximeter.ledger import Books, Kind, Operation, Wallet
from taximeter.metering.store import post

NAME = "soak"
SECONDS, QUICK_SECONDS = 600.0, 30.0
WINDOW_S = 30.0
WINDOWS_MIN = 10
CALLERS = 50
DAY_MS = 86_400_000
RATE_DRIFT_MIN, P99_DRIFT_MAX, HOT_MIN = 0.9, 1.5, 0.95
# Names of the tables whose dead rows are drawn.
WATCHED = ("ledger.accounts", "ledger.holds")
OTHER_DAYS = "ledger.transfers_other"
MB = 1e6

_TEXT = (Path(__file__).parent / "soak.sql").read_text(encoding="utf-8")
SQL = {name: body.strip() for name, body in re.findall(r"-- name: (\w+)\n(.*?)(?=\n-- name: |\Z)", _TEXT, re.DOTALL)}


class MidnightClock(SystemClock):
    """The machine's clock, moved so that a UTC day ends in the middle of the run."""

    def __init__(self, seconds: float) -> None:
        now_ms = super().now_ms()
        middle_ms = now_ms + int(seconds * 500)
        self.moved_ms = (now_ms // DAY_MS + 1) * DAY_MS - middle_ms

    def now_ms(self) -> int:
        """Unix time in milliseconds, moved."""
        return super().now_ms() + self.moved_ms


class Pace:
    """Lets so many callers a second through; 0 lets all through at once."""

    def __init__(self, rate: float) -> None:
        self._gap_s = 1 / rate if rate else 0.0
        self._next = perf_counter()

    async def turn(self) -> None:
        """Wait for one's turn."""
        if self._gap_s:
            now = perf_counter()
            at, self._next = self._next, max(self._next + self._gap_s, now - 1)
            if at > now:
                await asyncio.sleep(at - now)


@dataclass
class Clerk:
    """Callers that hold and settle, and what they have done since the last window ended."""

    books: Books
    wallets: Sequence[Wallet]
    ids: IdFactory
    pace: Pace
    running: bool = True
    pairs: int = 0
    operations: int = 0
    holds_s: "array[float]" = field(default_factory=lambda: array("d"))

    def __post_init__(self) -> None:
        """Write what is the same for all operations of a wallet."""
        self._facts = [request_fact() for _ in self.wallets]
        self._receipt = receipt_fact()

    async def work(self, draw: random.Random) -> None:
        """One caller: hold and settle on random wallets until told to stop."""
        while self.running:
            await self.pace.turn()
            number = draw.randrange(len(self.wallets))
            transfer, wallet = self.ids.new(), self.wallets[number]
            begin = perf_counter()
            held = await self.books.submit(
                Operation(
                    id=transfer,
                    kind=Kind.HOLD,
                    lane=wallet.lane,
                    amount_utok=HELD_UTOK,
                    legs=wallet.legs(),
                    ttl_s=600,
                    fact=self._facts[number],
                )
            )
            self.holds_s.append(perf_counter() - begin)
            self.operations += 1
            settled = await self.books.submit(
                Operation(id=transfer, kind=Kind.SETTLE, lane=wallet.lane, amount_utok=CHARGED_UTOK, fact=self._receipt)
            )
            assert held.applied, held
            assert settled.applied, settled
            self.operations += 1
            self.pairs += 1

    def cut(self) -> "tuple[int, array[float]]":
        """Operations and latencies since the last cut."""
        operations, holds_s = self.operations, self.holds_s
        self.operations, self.holds_s = 0, array("d")
        return operations, holds_s


def request_fact() -> str:
    """What the gateway writes with the hold of a chat request, of a project of its own."""
    work = {"fresh_prompt_tokens": 31, "cached_prompt_tokens": 0, "output_tokens": 64, "reasoning_tokens": 0}
    row = {
        "project_id": str(uuid4()),
        "key_id": str(uuid4()),
        "process_id": str(uuid4()),
        "model": "bench-chat",
        "modality": "chat",
        "rate_card": "bench-chat@1",
        "tariff": "bench@1",
        "multiplier": "1",
        "fare": {"work_expected": work, "work_max": work, "expected_utok": CHARGED_UTOK, "maximum_utok": HELD_UTOK},
        "end_user": None,
    }
    return json.dumps({"request": row})


def receipt_fact() -> str:
    """What the gateway writes with the settlement of a chat request."""
    lines = [
        {"label": "Prompt", "quantity": "fresh_prompt_tokens", "count": 31, "rate": "0.00107", "utok": 33},
        {"label": "Answer", "quantity": "output_tokens", "count": 31, "rate": "0.00533", "utok": 165},
    ]
    row = {
        "outcome": "completed",
        "reason": None,
        "work": {"prompt_tokens": 31, "fresh_prompt_tokens": 31, "cached_prompt_tokens": 0, "output_tokens": 31, "reasoning_tokens": 0},
        "measured": True,
        "consumed_utok": CHARGED_UTOK,
        "lines": lines,
        "detail": {"finish_reason": "stop"},
        "engine_ms": 3,
    }
    return json.dumps({"receipt": row})


@dataclass(frozen=True)
class State:
    """A table at one time, as the database counts."""

    bytes: int
    rows: int
    dead: int
    updated: int
    updated_hot: int
    vacuums: int


@dataclass(frozen=True)
class Window:
    """A part of the run.

    Attributes:
        end_s: since the start.
        tables: by name, at its end.
    """

    end_s: float
    ops_per_s: float
    p50_ms: float
    p99_ms: float
    wal_bytes: int
    operations: int
    tables: dict[str, State]


@dataclass(frozen=True)
class Check:
    """What the tables say after the run.

    Attributes:
        days: rows of the log by partition.
        wrong_accounts: whose balances are not what the log gives.
    """

    pairs: int
    days: dict[str, int]
    wrong_accounts: int
    open_holds: int
    requests: int
    receipts: int
    charged_utok: int

    @property
    def agrees(self) -> bool:
        """Everything is there once, in the partition of its day, and the balances are those of the log."""
        whole = self.pairs == self.requests == self.receipts and self.charged_utok == self.pairs * CHARGED_UTOK
        # The wallets' first Tokens came before midnight, like the first half of the run.
        return whole and not self.open_holds and not self.wrong_accounts and OTHER_DAYS not in self.days and len(self.days) == 2

    def sentence(self) -> str:
        """For people."""
        days = ", ".join(f"{name.removeprefix('ledger.')} {rows:,}" for name, rows in self.days.items())
        return (
            f"{self.pairs:,} holds settled, {self.requests:,} requests, {self.receipts:,} receipts, {self.open_holds} open holds,"
            f" {self.wrong_accounts} balances that are not those of the log; rows by partition: {days}:"
            f" {'everything agrees' if self.agrees else 'DIFFERENCES'}"
        )


async def look(connection: asyncpg.Connection) -> tuple[dict[str, State], int]:
    """All tables, and how many bytes of log the server has written in its life."""
    rows = await connection.fetch(SQL["tables"])
    states = {row["name"]: State(**{name: value for name, value in row.items() if name != "name"}) for row in rows}
    return states, await connection.fetchval(SQL["wal"])


async def check(connection: asyncpg.Connection, pairs: int) -> Check:
    """Compare what was done, the log, the balances, requests and receipts."""
    totals = await connection.fetchrow(SQL["totals"])
    assert totals is not None
    days = {row["name"]: row["rows"] for row in await connection.fetch(SQL["days"])}
    return Check(pairs=pairs, days=days, wrong_accounts=await connection.fetchval(SQL["wrong_accounts"]), **dict(totals))


async def run(url: str, seconds: float, rate: float) -> tuple[dict[str, State], list[Window], Check]:
    """The state before, every window, and the comparison at the end."""
    clock = MidnightClock(seconds)
    await migrate(url)
    books = Books(lambda: connect_app(url), post, clock)
    connection = await connect_owner(url)
    try:
        ids = IdFactory(clock)
        clerk = Clerk(books, await open_wallets(url, books, ids, Settings().lanes), ids, Pace(rate / 2))
        before, wal = await look(connection)
        windows = await observe(connection, clerk, seconds, wal)
        print("  soak: comparing log, balances, requests and receipts", file=sys.stderr, flush=True)
        return before, windows, await check(connection, clerk.pairs)
    finally:
        await books.close()
        await connection.close()


async def observe(connection: asyncpg.Connection, clerk: Clerk, seconds: float, wal: int) -> list[Window]:
    """Let the callers work, and look at the database at the end of each window."""
    draw = random.Random(20_260_101)  # noqa: S311 - which wallet is no secret
    tasks = [asyncio.create_task(clerk.work(draw)) for _ in range(CALLERS)]
    window_s = min(WINDOW_S, seconds / WINDOWS_MIN)
    windows: list[Window] = []
    start = begin = perf_counter()
    while begin - start < seconds - window_s / 2:
        failed, _ = await asyncio.wait(
            tasks, timeout=max(0.0, start + window_s * (len(windows) + 1) - perf_counter()), return_when=asyncio.FIRST_EXCEPTION
        )
        for task in failed:
            task.result()
        end = perf_counter()
        (operations, holds_s), elapsed = clerk.cut(), end - begin
        states, now = await look(connection)
        ordered = sorted(holds_s)
        assert ordered, f"not one hold in {elapsed:.1f} s"
        p50_ms, p99_ms = (ordered[int(len(ordered) * share)] * 1000 for share in (0.5, 0.99))
        windows.append(Window(end - start, operations / elapsed, p50_ms, p99_ms, now - wal, operations, states))
        begin, wal = end, now
        print(
            f"  soak: {end - start:.0f} of {seconds:.0f} s, {operations / elapsed:,.0f} operations/s, hold p99 {p99_ms:.1f} ms",
            file=sys.stderr,
            flush=True,
        )
    clerk.running = False
    await asyncio.gather(*tasks)
    return windows


def drift(values: Sequence[float]) -> float:
    """The mean of the last third against that of the first: 1 when nothing changes."""
    third = max(1, len(values) // 3)
    return statistics.fmean(values[-third:]) / statistics.fmean(values[:third])


def over_time(windows: Sequence[Window]) -> Table:
    """What was done in each window."""
    made = Table(
        f"Soak: {CALLERS} callers, {WALLETS:,} wallets, {windows[-1].end_s:.0f} s",
        ("until s", "operations/s", "hold p50 ms", "hold p99 ms", "WAL bytes/op", *(f"dead in {name.partition('.')[2]}" for name in WATCHED)),
    )
    for window in windows:
        dead = [f"{window.tables[name].dead:,}" for name in WATCHED]
        wal = f"{window.wal_bytes / window.operations:,.0f}"
        made.rows.append((f"{window.end_s:.0f}", f"{window.ops_per_s:,.0f}", f"{window.p50_ms:.1f}", f"{window.p99_ms:.1f}", wal, *dead))
    rates, p99s = drift([window.ops_per_s for window in windows]), drift([window.p99_ms for window in windows])
    made.notes = (
        "an operation: one hold or one settlement, with the request's or the receipt's row; drift: last third against first third",
        verdict(f"operations/s drift >= {RATE_DRIFT_MIN:g}", rates, met=rates >= RATE_DRIFT_MIN, digits=2),
        verdict(f"hold p99 drift <= {P99_DRIFT_MAX:g}", p99s, met=p99s <= P99_DRIFT_MAX, digits=2),
    )
    return made


def by_table(before: dict[str, State], windows: Sequence[Window]) -> Table:
    """Sizes and dead rows."""
    after, operations = windows[-1].tables, sum(window.operations for window in windows)
    made = Table("Soak: tables", ("table", "rows", "MB before", "MB after", "dead", "dead at most", "HOT updates", "autovacuums"))
    for name, state in after.items():
        if state.bytes == before[name].bytes and not state.rows:
            continue  # Partitions of other days, and what a chat request does not touch.
        most = max(window.tables[name].dead for window in windows)
        hot = f"{hot_share(before[name], state):.2%}" if state.updated > before[name].updated else ""
        sizes = [f"{one.bytes / MB:,.1f}" for one in (before[name], state)]
        made.rows.append((name, f"{state.rows:,}", *sizes, f"{state.dead:,}", f"{most:,}", hot, f"{state.vacuums - before[name].vacuums}"))
    hot_accounts = hot_share(before["ledger.accounts"], after["ledger.accounts"])
    grown = sum(state.bytes - before[name].bytes for name, state in after.items())
    made.notes = (
        verdict(f"HOT updates of ledger.accounts >= {HOT_MIN:.0%}, in %", hot_accounts * 100, met=hot_accounts >= HOT_MIN, digits=2),
        f"WAL: {sum(window.wal_bytes for window in windows) / operations:,.0f} bytes an operation; tables and indexes: {grown / operations:,.0f}",
    )
    return made


def hot_share(before: State, after: State) -> float:
    """Updates between two looks that stayed within their page and touched no index; 1 when there were none."""
    updated = after.updated - before.updated
    return (after.updated_hot - before.updated_hot) / updated if updated else 1.0


def picture(windows: Sequence[Window]) -> str:
    """Speed, latency and dead rows against time."""

    def line(name: str, values: Sequence[float]) -> Line:
        return Line(name, list(zip((window.end_s for window in windows), values, strict=True)))

    dead = [line(name, [window.tables[name].dead for window in windows]) for name in WATCHED]
    return svg(
        [
            Panel("Operations a second", "seconds", [line("operations/s", [window.ops_per_s for window in windows])]),
            Panel(
                "Latency of a hold, ms",
                "seconds",
                [line("p99", [window.p99_ms for window in windows]), line("p50", [window.p50_ms for window in windows])],
            ),
            Panel("Dead rows that wait for autovacuum", "seconds", dead),
        ]
    )


def main() -> int:
    """Run, print, keep; exit code 1 when the tables do not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SECONDS:.0f} s")
    parser.add_argument("--seconds", type=float, help=f"how long ({SECONDS:.0f})")
    parser.add_argument("--rate", type=float, default=0.0, help="operations a second; 0: as many as it can (0)")
    args = parser.parse_args()
    seconds: float = args.seconds or (QUICK_SECONDS if args.quick else SECONDS)
    with folder() as home:
        server = EmbeddedPostgres(home)
        try:
            before, windows, found = uvloop.run(run(server.start(), seconds, args.rate))
        finally:
            server.stop()
    made = [over_time(windows), by_table(before, windows)]
    made[-1].notes = (*made[-1].notes, f"books: {found.sentence()}")
    publish(NAME, made, {"seconds": seconds, "rate": args.rate, "before": before, "windows": windows, "check": found}, picture(windows))
    return 0 if found.agrees else 1


if __name__ == "__main__":
    sys.exit(main())
