"""Budgets that exist twice: in PostgreSQL, and as what a person with paper would write down; both hear the same history.

The database's clock cannot be moved, so time passes by moving the moments that budgets keep.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import AccountCode, Kind, Leg, Operation, Outcome, Status, operator_account
from taximeter.metering import store

SLOTS = 24
SLOT_S = 1000
WINDOW_S = SLOTS * SLOT_S
LANES = 2
PLENTY = 10**12
_IDS = IdFactory(SystemClock())


@dataclass
class Paper:
    """What is known of one budget without a ledger."""

    id: UUID
    account: int
    window: str
    hard: bool
    limits: list[int]
    settled: list[tuple[int, int]] = field(default_factory=list)
    """Moment and amount."""
    since_s: int = 0
    held: dict[UUID, int] = field(default_factory=dict)

    def used(self, now_s: int) -> int:
        """What counts now: of the month, or of the slot at hand and the 24 before it."""
        first_s = self.since_s if self.window == "month" else (now_s // SLOT_S - SLOTS) * SLOT_S
        return sum(amount for moment_s, amount in self.settled if moment_s >= first_s)

    def left(self, now_s: int) -> int:
        return max(self.limits[-1] - self.used(now_s) - sum(self.held.values()), 0)

    def grants(self, amount: int, now_s: int) -> bool:
        return not self.hard or amount <= self.left(now_s)

    def most_in_a_window(self) -> int:
        """The most that was settled within any time as long as the window."""
        starts = [moment_s for moment_s, _ in self.settled]
        return max((sum(amount for at_s, amount in self.settled if start_s <= at_s < start_s + WINDOW_S) for start_s in starts), default=0)


@dataclass
class BudgetWorld:
    """An organisation with a project on each lane, and budgets of the organisation: all of them on both lanes."""

    connection: asyncpg.Connection
    organisation: UUID
    wallets: list[int]
    budgets: list[Paper]
    now_s: int = 100
    """Never near the border of a slot: the real clock goes on meanwhile."""
    holds: dict[UUID, Operation] = field(default_factory=dict)
    open: dict[UUID, int] = field(default_factory=dict)
    expired: dict[UUID, int] = field(default_factory=dict)

    @classmethod
    async def begin(cls, connection: asyncpg.Connection, budgets: list[tuple[str, int, bool]]) -> "BudgetWorld":
        organisation = _IDS.new()
        await connection.execute("insert into identity.organisations (id, name) values ($1, 'o')", organisation)
        wallets = []
        for lane in range(LANES):
            project = _IDS.new()
            accounts = [await connection.fetchval("select ledger.open_account($1, $2, 1::smallint, $3)", code, lane, project) for code in (1, 2)]
            await connection.execute(
                "insert into identity.projects (id, organisation_id, name, lane, allowance_account, prepaid_account)"
                " values ($1, $2, 'p', $3, $4, $5)",
                *(project, organisation, lane, *accounts),
            )
            wallets.append(accounts[1])
        world = cls(connection, organisation, wallets, [])
        for lane, wallet in enumerate(wallets):
            leg = Leg(operator_account(AccountCode.TREASURY, lane), wallet, PLENTY, cascade=False)
            await world.post(lane, [Operation(id=_IDS.new(), kind=Kind.DIRECT, lane=lane, amount_utok=PLENTY, legs=(leg,))])
        for window, limit, hard in budgets:
            row = {
                "id": str(_IDS.new()),
                "scope": "organisation",
                "organisation_id": str(organisation),
                "span": window,
                "window_s": WINDOW_S if window == "rolling" else None,
                "limit_utok": limit,
                "hard": hard,
                "thresholds": [50, 80, 100],
                "operator": "test",
            }
            made = await connection.fetchrow("select outcome, (budget).* from admission.make_budget($1::jsonb, 6)", msgspec.json.encode(row).decode())
            assert made["outcome"] == "made"
            world.budgets.append(Paper(made["id"], made["account"], window, hard, [limit]))
        await world.shift(world.now_s)
        return world

    async def post(self, lane: int, operations: list[Operation]) -> list[Outcome]:
        return await store.post(self.connection, lane, operations)

    async def shift(self, seconds: float) -> None:
        """Time passes for the rolling ones; months end when they are told to."""
        await self.connection.execute(
            "update admission.budgets set rolls_at = rolls_at - make_interval(secs => $2), started_at = started_at - make_interval(secs => $2)"
            " where organisation_id = $1 and span = 'rolling'",
            self.organisation,
            float(seconds),
        )

    async def wait(self, quarters: int) -> None:
        """A quarter of a slot at a time."""
        self.now_s += quarters * SLOT_S // 4
        await self.shift(quarters * SLOT_S / 4)

    async def end_month(self) -> None:
        await self.connection.execute(
            "update admission.budgets set rolls_at = clock_timestamp() where organisation_id = $1 and span = 'month'", self.organisation
        )
        for paper in self.budgets:
            if paper.window == "month":
                # What was settled until now lies before the new month, although the paper's clock stands still.
                paper.settled = [(moment_s - 1 if moment_s == self.now_s else moment_s, amount) for moment_s, amount in paper.settled]
                paper.since_s = self.now_s

    def hold(self, lane: int, amount: int, chosen: list[int]) -> Operation:
        papers = [self.budgets[number] for number in chosen]
        other = operator_account(AccountCode.BUDGETS, lane)
        legs = [
            Leg(self.wallets[lane], operator_account(AccountCode.REVENUE, lane)),
            *(Leg(paper.account, other, amount, cascade=False) for paper in papers),
        ]
        fact = msgspec.json.encode({"budgets": [str(paper.id) for paper in papers]}).decode() if papers else "{}"
        return Operation(id=_IDS.new(), kind=Kind.HOLD, lane=lane, amount_utok=amount, legs=tuple(legs), ttl_s=1000, fact=fact)

    async def try_holds(self, lane: int, wanted: list[tuple[int, list[int]]]) -> None:
        """One batch: each is granted exactly if all of its budgets afford it beside those before it."""
        operations = [self.hold(lane, amount, chosen) for amount, chosen in wanted]
        for operation, (amount, chosen), outcome in zip(operations, wanted, await self.post(lane, operations), strict=True):
            papers = [self.budgets[number] for number in chosen]
            granted = all(paper.grants(amount, self.now_s) for paper in papers)
            assert outcome.status is (Status.APPLIED if granted else Status.REFUSED), (amount, chosen, self)
            self.holds[operation.id] = operation
            if granted:
                self.open[operation.id] = lane
                for paper in papers:
                    paper.held[operation.id] = amount

    async def again(self, number: int) -> None:
        """A hold is sent again because its answer was lost: it takes nothing twice."""
        if self.holds:
            operation = list(self.holds.values())[number % len(self.holds)]
            (outcome,) = await self.post(operation.lane, [operation])
            assert outcome.status in (Status.REPLAYED, Status.REPLAYED_REFUSED)

    async def settle(self, number: int, percent: int) -> None:
        if self.open:
            request = list(self.open)[number % len(self.open)]
            lane = self.open.pop(request)
            fare = self.holds[request].amount_utok * percent // 100
            (outcome,) = await self.post(lane, [Operation(id=request, kind=Kind.SETTLE, lane=lane, amount_utok=fare, fact='{"budgets": true}')])
            assert (outcome.status, outcome.total_utok) == (Status.APPLIED, fare)
            for paper in self.budgets:
                if paper.held.pop(request, None) is not None:
                    paper.settled.append((self.now_s, fare))

    async def release(self, number: int, kind: Kind) -> None:
        if self.open:
            request = list(self.open)[number % len(self.open)]
            lane = self.open.pop(request)
            await self.post(lane, [Operation(id=request, kind=kind, lane=lane, fact="{}")])
            if kind is Kind.EXPIRE:
                self.expired[request] = lane
            for paper in self.budgets:
                paper.held.pop(request, None)

    async def settle_late(self, number: int) -> None:
        """After its expiry: a budget counts it as far as it reaches."""
        if self.expired:
            request = list(self.expired)[number % len(self.expired)]
            lane = self.expired.pop(request)
            operation = self.holds[request]
            fare = operation.amount_utok
            accounts = {leg.debit for leg in operation.legs if not leg.cascade}
            papers = [paper for paper in self.budgets if paper.account in accounts]
            counted = [min(fare, paper.left(self.now_s)) if paper.hard else fare for paper in papers]
            (outcome,) = await self.post(lane, [Operation(id=request, kind=Kind.SETTLE, lane=lane, amount_utok=fare, fact='{"budgets": true}')])
            assert outcome.status is Status.SETTLED_LATE
            for paper, amount in zip(papers, counted, strict=True):
                paper.settled.append((self.now_s, amount))

    async def change_limit(self, number: int, limit: int) -> None:
        paper = self.budgets[number % len(self.budgets)]
        await self.connection.execute("select admission.change_budget($1, $2, null)", paper.id, limit)
        paper.limits.append(limit)

    async def keep(self) -> None:
        """What a worker does."""
        for row in await self.connection.fetch("select * from admission.due_budgets(100)"):
            await self.connection.fetchval("select admission.roll_budgets($1, $2)", row["lane"], row["ids"])
        await self.connection.fetchval("select admission.tell_budgets(100)")

    async def check(self) -> None:
        """The ledger, what is shown, and the paper agree."""
        rows: list[Any] = await self.connection.fetch(
            "select n.used_utok, n.held_utok, n.left_utok, a.* from admission.budgets_now($1) n join ledger.accounts a on a.id = (n.budget).account",
            [paper.id for paper in self.budgets],
        )
        by_account = {row["id"]: row for row in rows}
        for paper in self.budgets:
            row, held = by_account[paper.account], sum(paper.held.values())
            assert (row["used_utok"], row["held_utok"], row["left_utok"]) == (paper.used(self.now_s), held, paper.left(self.now_s)), (row, paper)
            assert row["debits_pending"] == held
            if paper.hard:
                assert row["debits_posted"] + row["debits_pending"] <= row["credits_posted"]
                if paper.window == "rolling":
                    assert paper.most_in_a_window() <= max(paper.limits)
        mirror = await self.connection.fetchrow(
            "select sum(credits_posted - debits_posted) filter (where code = 4)::bigint as budgets,"
            " sum(debits_posted - credits_posted) filter (where code = 15)::bigint as others from ledger.accounts"
        )
        assert mirror["budgets"] == mirror["others"]
