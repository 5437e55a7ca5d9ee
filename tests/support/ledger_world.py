"""A world of fresh accounts that exists twice, in PostgreSQL and in the model, and hears the same history in both.

A history speaks of numbers (the third account, the seventh request), so that the same one can be told to several worlds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID, uuid4

import asyncpg

from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import IdFactory
from taximeter.ledger import AccountCode, Kind, Leg, Operation, Outcome, Status, operator_account, store
from tests.support.ledger_model import Account, Held, LedgerModel, Row

LANES = 3
CODES = (AccountCode.ALLOWANCE, AccountCode.PREPAID, AccountCode.BUDGET, AccountCode.POSTPAID)
ACCOUNTS = LANES * len(CODES)
TTL_S = 100
Step = tuple[Any, ...]
LegStep = tuple[int, int, int | None]
"""Debit, credit, and the exact amount; None: the leg shares the group's amount."""

_SIGNATURE = "smallint, uuid[], smallint[], bigint[], int[], int[], bytea[], int[], bigint[], bigint[], bigint[], boolean[]"
_IDS = IdFactory(SystemClock())


async def posting_functions(connection: asyncpg.Connection) -> list[str]:
    """Every function of the ledger that takes what ``ledger.post`` takes: they must all decide alike."""
    rows = await connection.fetch(
        "select proname from pg_proc where pronamespace = 'ledger'::regnamespace and proname like 'post%'"
        " and proargtypes = (select proargtypes from pg_proc where oid = $1::text::regprocedure) order by proname",
        f"ledger.post({_SIGNATURE})",
    )
    return [f"ledger.{row['proname']}" for row in rows]


@dataclass
class World:
    """The accounts, what was posted, and one of the posting functions."""

    connection: asyncpg.Connection
    function: str
    model: LedgerModel
    accounts: list[int]
    posted: list[Operation] = field(default_factory=list)
    answers: list[list[Outcome]] = field(default_factory=list)
    reordered: bool = False
    """A batch was decided in another order than that of its arrays."""

    @classmethod
    async def open(cls, connection: asyncpg.Connection, function: str) -> "World":
        """New accounts for three lanes: two wallets' worth, a budget, and one that may be overdrawn, each."""
        model = LedgerModel()
        accounts = []
        for lane in range(LANES):
            owner = uuid4()
            for code in CODES:
                limited = code is not AccountCode.POSTPAID
                account = await connection.fetchval("select ledger.open_account($1, $2, $3, $4)", code, lane, int(limited), owner)
                model.accounts[account] = Account(limited=limited)
                accounts.append(account)
        for row in await connection.fetch("select * from ledger.accounts where code >= 11 and lane < $1", LANES):
            sums = {name: row[name] for name in ("debits_pending", "debits_posted", "credits_pending", "credits_posted")}
            model.accounts[row["id"]] = Account(**sums)
        return cls(connection, function, model, accounts)

    def operation(self, lane: int, step: Step) -> Operation | None:
        """What a step asks for; None when it speaks of a request and there is none yet."""
        match step:
            case ("hold" | "direct" as verb, amount, legs):
                kind = Kind.HOLD if verb == "hold" else Kind.DIRECT
                return Operation(
                    id=_IDS.new(), kind=kind, lane=lane, amount_utok=amount, legs=self._legs(lane, legs), ttl_s=TTL_S if kind is Kind.HOLD else 0
                )
            case ("top_up", account, amount):
                leg = Leg(operator_account(AccountCode.TREASURY, lane), self.accounts[account], amount, cascade=False)
                return Operation(id=_IDS.new(), kind=Kind.DIRECT, lane=lane, amount_utok=amount, legs=(leg,))
            case (verb, number, *rest) if self.posted:
                return self._second(lane, self.posted[number % len(self.posted)], verb, rest)
        return None

    def _second(self, lane: int, first: Operation, verb: str, rest: list[Any]) -> Operation:
        """Something about an operation that was posted before."""
        if verb == "again":
            return replace(first, lane=lane)
        if verb == "mutated":
            return replace(first, lane=lane, amount_utok=first.amount_utok + rest[0], code=first.code + rest[1])
        if verb == "settle":
            amount = max(0, first.amount_utok + rest[0])
            return Operation(id=first.id, kind=Kind.SETTLE, lane=lane, amount_utok=amount, code=rest[1])
        return Operation(id=first.id, kind=Kind.VOID if verb == "void" else Kind.EXPIRE, lane=lane)

    def _legs(self, lane: int, legs: Sequence[LegStep]) -> tuple[Leg, ...]:
        """A leg from an account to itself goes to the operator."""
        revenue = operator_account(AccountCode.REVENUE, lane)
        ends = [*self.accounts, revenue]
        made = []
        for debit, credit, exact in legs:
            to = ends[credit % len(ends)]
            made.append(Leg(self.accounts[debit], to if to != self.accounts[debit] else revenue, exact or 0, cascade=exact is None))
        return tuple(made)

    async def post(self, lane: int, steps: Sequence[Step]) -> list[Outcome]:
        """One batch; an id stands in it once.

        Operations of one batch come from callers that do not wait for each other, so the database may decide them in any order:
        there must be one in which the model gives the same answers.  ``ledger.post_exact`` keeps that of the arrays.
        """
        batch: dict[UUID, Operation] = {}
        for step in steps:
            operation = self.operation(lane, step)
            if operation is not None:
                batch.setdefault(operation.id, operation)
        operations = list(batch.values())
        query = f"select status, total, available from {self.function}($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) order by pos"  # noqa: S608
        answered = store.outcomes(await self.connection.fetch(query, *store.columns(lane, operations)))
        for order in self.orders(operations, answered):
            model = self.model.copy()
            expected = dict(zip(order, model.post(lane, [operations[place] for place in order]), strict=True))
            if [expected[place] for place in range(len(operations))] == answered:
                self.model = model
                self.reordered = self.reordered or order != sorted(order)
                break
        else:
            expected_in_order = self.model.copy().post(lane, operations)
            pairs = zip(operations, answered, expected_in_order, strict=True)
            message = f"{self.function} answers as in no order: {[(one, got, wanted) for one, got, wanted in pairs if got != wanted]}"
            raise AssertionError(message)
        self.posted += operations
        self.answers.append(answered)
        return answered

    def orders(self, operations: list[Operation], answers: list[Outcome]) -> Iterator[list[int]]:
        """The order of the arrays; then those that begin with what was simple: applied, and within its hold."""
        places = list(range(len(operations)))
        yield places
        if self.function.endswith("exact"):
            return
        held = {id_: sum(leg.amount for leg in legs.values() if leg.cascade) for id_, legs in self.model.holds.items()}

        def is_above(place: int) -> bool:
            operation = operations[place]
            return operation.kind is Kind.SETTLE and operation.amount_utok > held.get(operation.id, 0)

        yield sorted(places, key=lambda place: answers[place].status is not Status.APPLIED)
        yield sorted(places, key=lambda place: answers[place].status is not Status.APPLIED or is_above(place))
        yield sorted(places, key=lambda place: answers[place].status not in (Status.APPLIED, Status.REFUSED) or is_above(place))

    async def close(self, account: int, *, shut: bool) -> None:
        await self.connection.execute("select ledger.set_account_closed($1, $2)", self.accounts[account], shut)
        self.model.accounts[self.accounts[account]].shut = shut

    async def step_clock(self, seconds: int) -> None:
        """Time passes for this world's holds.  Only someone with all rights can do that: the clock is the database's own."""
        self.model.now_s += seconds
        async with self.connection.transaction():
            await self.connection.execute("set local session_replication_role = replica")
            for table in ("holds", "transfers"):
                statement = f"update ledger.{table} set expires_at = expires_at - make_interval(secs => $2) where id = any ($1)"  # noqa: S608 - names of ours
                await self.connection.execute(statement, self.ids(), seconds)

    async def sweep(self, lane: int) -> None:
        """What the sweeper does: find what is overdue, post its expiry."""
        rows = await self.connection.fetch("select distinct id from ledger.holds where id = any ($1) and expires_at < clock_timestamp()", self.ids())
        found = {row["id"] for row in rows}
        assert found == self.model.overdue()
        numbers = {operation.id: number for number, operation in enumerate(self.posted)}
        await self.post(lane, [("expire", numbers[id_]) for id_ in sorted(found)])

    def ids(self) -> list[UUID]:
        return list({operation.id for operation in self.posted})

    async def check(self) -> None:
        """Balances, the log and the open holds are the model's."""
        balances = {
            row["id"]: (row["debits_pending"], row["debits_posted"], row["credits_pending"], row["credits_posted"])
            for row in await self.connection.fetch("select * from ledger.accounts where id = any ($1)", self.accounts)
        }
        assert balances == {account: self.model.accounts[account].sums() for account in self.accounts}
        columns = ", ".join(Row._fields)
        rows = await self.connection.fetch(f"select {columns} from ledger.transfers where id = any ($1)", self.ids())  # noqa: S608
        assert {Row(*row.values()) for row in rows} == set(self.model.log.values())
        held = await self.connection.fetch("select id, leg, debit, credit, amount, cascade from ledger.holds where id = any ($1)", self.ids())
        assert {(row["id"], row["leg"]): Held(*list(row.values())[2:]) for row in held} == {
            (id_, leg): legs[leg] for id_, legs in self.model.holds.items() for leg in legs
        }

    def told(self) -> tuple[Any, ...]:
        """What this world has come to, in numbers instead of ids, so that two worlds can be compared."""
        numbers = {account: f"account {number}" for number, account in enumerate(self.accounts)}
        requests = {id_: number for number, id_ in enumerate(dict.fromkeys(operation.id for operation in self.posted))}
        log = {
            row._replace(id=requests[row.id], debit=numbers.get(row.debit, row.debit), credit=numbers.get(row.credit, row.credit), digest=b"")  # type: ignore[arg-type]
            for row in self.model.log.values()
        }
        holds = {(requests[id_], leg, held.amount) for id_, legs in self.model.holds.items() for leg, held in legs.items()}
        return self.answers, log, holds, [self.model.accounts[account].sums() for account in self.accounts]
