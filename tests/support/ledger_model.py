"""What ``ledger.post`` promises, in plain dictionaries and written apart from it: the oracle of random histories.

Nothing here knows SQL, batches of rows, or why it is fast.  It decides one operation after the other, as a person with
paper would, and writes the same log.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from uuid import UUID

from taximeter.ledger import Kind, Operation, Outcome, SettleCode, Status

OVERRUN, SHORTFALL, LATE = 6, 7, 8


@dataclass
class Account:
    """Four sums; ``limited`` ones spend no more than they have, ``shut`` ones take nothing new."""

    limited: bool = False
    shut: bool = False
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0

    @property
    def free(self) -> int:
        return self.credits_posted - self.debits_posted - self.debits_pending

    def affords(self, amount: int) -> int:
        """As much of the amount as may be spent."""
        return min(amount, max(self.free, 0)) if self.limited else amount

    def sums(self) -> tuple[int, int, int, int]:
        return self.debits_pending, self.debits_posted, self.credits_pending, self.credits_posted


class Row(NamedTuple):
    """One row of the log, without what only the database knows (lane, batch, position, time)."""

    id: UUID
    leg: int
    phase: int
    kind: int
    status: int
    debit: int
    credit: int
    amount: int
    hold_amount: int | None
    cascade: bool
    requested: int | None
    total: int | None
    code: int
    digest: bytes


class Held(NamedTuple):
    """One leg of an open hold."""

    debit: int
    credit: int
    amount: int
    cascade: bool


@dataclass
class LedgerModel:
    """Accounts, the log, open holds, and when each of them is overdue on a clock that tests move."""

    accounts: dict[int, Account] = field(default_factory=dict)
    log: dict[tuple[UUID, int, int], Row] = field(default_factory=dict)
    holds: dict[UUID, dict[int, Held]] = field(default_factory=dict)
    expires: dict[UUID, float] = field(default_factory=dict)
    now_s: float = 0.0

    def post(self, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        """Decide a batch in its order."""
        return [self._decide(lane, operation) for operation in operations]

    def copy(self) -> "LedgerModel":
        """Another one that goes on by itself; rows and legs never change."""
        accounts = {number: replace(account) for number, account in self.accounts.items()}
        return LedgerModel(accounts, dict(self.log), dict(self.holds), dict(self.expires), self.now_s)

    def overdue(self) -> set[UUID]:
        return {id_ for id_, moment in self.expires.items() if moment < self.now_s}

    def _decide(self, lane: int, operation: Operation) -> Outcome:
        if operation.kind in (Kind.HOLD, Kind.DIRECT):
            status, total = self._open(operation)
            legs = [(leg.debit, leg.cascade) for leg in operation.legs]
        else:
            legs = [(leg.debit, leg.cascade) for _, leg in self._legs(operation)]
            status, total = self._end(lane, operation)
        available = sum(self.accounts[debit].free for debit, cascade in legs if cascade and debit in self.accounts)
        return Outcome(status, total, available)

    def _open(self, operation: Operation) -> tuple[Status, int]:
        first = self.log.get((operation.id, 0, 0))
        if first is not None:
            if first.digest != operation.digest():
                return Status.DIFFERENT_BODY, 0
            return (Status.REPLAYED, first.total or 0) if first.status == 0 else (Status.REPLAYED_REFUSED, 0)
        sides = [self.accounts.get(side) for leg in operation.legs for side in (leg.debit, leg.credit)]
        if None in sides:
            return Status.NO_SUCH_ACCOUNT, 0
        if any(side is not None and side.shut for side in sides):
            return Status.ACCOUNT_CLOSED, 0
        pending = operation.kind is Kind.HOLD
        taken: list[Held] = []
        rest, enough = operation.amount_utok, True
        for leg in operation.legs:
            take = self.accounts[leg.debit].affords(rest if leg.cascade else leg.amount_utok)
            enough = enough and (leg.cascade or take == leg.amount_utok)
            rest -= take if leg.cascade else 0
            self._move(leg.debit, leg.credit, take, pending=pending)
            taken.append(Held(leg.debit, leg.credit, take, leg.cascade))
        cascades = any(leg.cascade for leg in operation.legs)
        if not enough or (cascades and rest > 0):
            for held in taken:
                self._move(held.debit, held.credit, -held.amount, pending=pending)
            self._write(operation, 0, 0, operation.kind, taken[0]._replace(amount=0), None, 0, refused=True)
            return Status.REFUSED, 0
        total = sum(held.amount for held in taken if held.cascade) if cascades else operation.amount_utok
        for number, held in enumerate(taken):
            self._write(operation, number, 0, operation.kind, held, None, total)
        if pending:
            self.holds[operation.id] = dict(enumerate(taken))
            self.expires[operation.id] = self.now_s + operation.ttl_s
        return Status.APPLIED, total

    def _end(self, lane: int, operation: Operation) -> tuple[Status, int]:  # noqa: PLR0911 - one line a promise
        hold, end = self.log.get((operation.id, 0, 0)), self.log.get((operation.id, 0, 1))
        if hold is None or hold.kind != Kind.HOLD or hold.status != 0:
            return Status.NO_SUCH_HOLD, 0
        if operation.kind is not Kind.SETTLE:
            if end is not None:
                return (Status.REPLAYED if end.kind == operation.kind else Status.ALREADY_RESOLVED), 0
            return self._release(operation)
        if end is None:
            return self._settle(lane, operation, 1)
        if end.kind == Kind.SETTLE:
            return (Status.REPLAYED if end.digest == operation.digest() else Status.ALREADY_RESOLVED), end.total or 0
        voided = end.kind == Kind.VOID
        if (voided and operation.code != SettleCode.LATE_ALWAYS) or (not voided and operation.code == SettleCode.NEVER_LATE):
            return Status.ALREADY_RESOLVED, 0
        late = self.log.get((operation.id, 0, 2))
        if late is not None:
            return (Status.REPLAYED if late.digest == operation.digest() else Status.ALREADY_RESOLVED), late.total or 0
        return self._settle(lane, operation, 2)

    def _release(self, operation: Operation) -> tuple[Status, int]:
        for number, held in self._legs(operation):
            self._move(held.debit, held.credit, -held.amount, pending=True)
            self._write(operation, number, 1, operation.kind, held._replace(amount=0), held.amount, 0)
        self._forget(operation.id)
        return Status.APPLIED, 0

    def _settle(self, lane: int, operation: Operation, phase: int) -> tuple[Status, int]:
        rest, rows = operation.amount_utok, []
        legs = list(self._legs(operation))
        for number, held in legs:
            self._move(held.debit, held.credit, -held.amount, pending=True)
            account = self.accounts[held.debit]
            if not held.cascade:
                take = account.affords(operation.amount_utok)
            else:
                take = min(rest, held.amount) if phase == 1 else account.affords(rest)
                rest -= take
            self._move(held.debit, held.credit, take)
            rows.append((number, Kind.SETTLE if phase == 1 else LATE, held._replace(amount=take), held.amount))
        for number, held in legs if phase == 1 else []:
            take = self.accounts[held.debit].affords(rest) if held.cascade else 0
            if take:
                rest -= take
                self._move(held.debit, held.credit, take)
                rows.append((16 + number, OVERRUN, held._replace(amount=take), 0))
        total = sum(held.amount for _, _, held, _ in rows if held.cascade)
        if rest:
            borne = Held(1300 + lane, legs[0][1].credit, rest, cascade=False)
            self._move(borne.debit, borne.credit, rest)
            rows.append((31 + phase, SHORTFALL, borne, 0))
        for number, kind, moved, released in rows:
            self._write(operation, number, phase, kind, moved, released, total)
        self._forget(operation.id)
        return (Status.APPLIED if phase == 1 else Status.SETTLED_LATE), total

    def _legs(self, operation: Operation) -> Iterator[tuple[int, Held]]:
        """The legs that a resolution acts on: open ones, or for a late settlement those of the hold that was released."""
        if operation.id in self.holds:
            yield from sorted(self.holds[operation.id].items())
            return
        end = self.log.get((operation.id, 0, 1))
        if operation.kind is Kind.SETTLE and end is not None and end.kind != Kind.SETTLE:
            number = 0
            while (row := self.log.get((operation.id, number, 0))) is not None:
                yield number, Held(row.debit, row.credit, 0, row.cascade)
                number += 1

    def _move(self, debit: int, credit: int, amount: int, *, pending: bool = False) -> None:
        if pending:
            self.accounts[debit].debits_pending += amount
            self.accounts[credit].credits_pending += amount
        else:
            self.accounts[debit].debits_posted += amount
            self.accounts[credit].credits_posted += amount

    def _write(  # noqa: PLR0913, PLR0917 - a row has so many columns
        self, operation: Operation, leg: int, phase: int, kind: int, held: Held, released: int | None, total: int, *, refused: bool = False
    ) -> None:
        key = (operation.id, leg, phase)
        assert key not in self.log, "the log is append-only"
        asked, sum_ = (operation.amount_utok, total) if leg == 0 else (None, None)
        code, digest = operation.code, operation.digest()
        ends, amount = (held.debit, held.credit), held.amount
        self.log[key] = Row(*key, kind, int(refused), *ends, amount, released, held.cascade, asked, sum_, code, digest)

    def _forget(self, id_: UUID) -> None:
        self.holds.pop(id_, None)
        self.expires.pop(id_, None)
