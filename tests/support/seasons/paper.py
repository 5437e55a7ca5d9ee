"""What a person with paper would write down of grants, budgets, credit and quotes: what a request may be paid from, and what is left.

Nothing here asks the product.  Holds, charges and what each account has are kept by ``ledger_model``, limits by
``simulator.limits``, the order of the queue by the rule that is published for it; this says which accounts, how much, and when.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from taximeter.ledger import AccountCode, Leg, operator_account
from tests.support.ledger_model import Account, LedgerModel
from tests.support.seasons.calendar import span_begins

_TICK = timedelta(microseconds=1)

PAYING = 7
UNKNOWN = UUID(int=0)
SLOTS = 24


@dataclass
class Pot:
    """Tokens that were given on terms; the account is known once it was seen."""

    project: UUID
    amount: int
    starts: datetime
    expires: datetime | None
    kind: str
    priority: int = 50
    modality: str | None = None
    plan: str | None = None
    account: int = 0
    id: UUID = UNKNOWN
    created: datetime | None = None
    closed: bool = False

    def same(self, row: Any) -> bool:  # noqa: ANN401 - a row
        """Whether this is the grant that a row of ``admission.grants`` tells of."""
        told = (
            row["project_id"],
            row["amount_utok"],
            row["starts_at"],
            row["expires_at"],
            row["kind"],
            row["priority"],
            row["modality"],
            row["plan"],
        )
        return told == (self.project, self.amount, self.starts, self.expires, self.kind, self.priority, self.modality, self.plan)

    def order(self) -> tuple[Any, ...]:
        """What is spent first: what expires first, then by priority, then what fits less, then the oldest."""
        never = datetime.max.replace(tzinfo=self.starts.tzinfo)
        return self.expires or never, self.priority, self.modality is None, self.modality or "", self.created, self.id


@dataclass
class Line:
    """Credit: what was agreed, what stands of it on the account, and whether anything more is lent."""

    account: int
    agreed: int
    lent: int = 0
    active: bool = True


@dataclass
class SetLimit:
    """A limit that an operator has set."""

    id: str
    scope: str
    owner: UUID | None
    kind: str
    most: int
    window_s: int
    shadow: bool


@dataclass
class Month:
    """A subscription."""

    plan: str
    anchor: Any
    number: int
    ends: datetime
    next_plan: str | None = None


@dataclass
class Period:
    """What plans owe and gave for a month; a plan that is left and taken again goes on with it."""

    anchor: Any
    number: int
    starts: datetime
    ends: datetime
    allowance: int
    due: int
    given: int

    def change(self, allowance: int, now: datetime) -> None:
        """From now on another plan, or none, gives so much a month."""
        rest = Fraction(max(self.ends - now, timedelta()) // _TICK, (self.ends - self.starts) // _TICK)
        self.due = max(self.due + round((allowance - self.allowance) * rest), 0)
        self.allowance = allowance


@dataclass
class Purse:
    """A project and all that it can pay with."""

    id: UUID
    organisation: UUID
    lane: int
    zone: str
    allowance: int
    prepaid: int
    pots: list[Pot] = field(default_factory=list)
    line: Line | None = None
    month: Month | None = None
    period: Period | None = None
    once: set[str] = field(default_factory=set)

    def payers(self, ledger: LedgerModel, now: datetime, modality: str) -> list[int]:
        """The accounts that a request is paid from, in their order."""
        there = [
            pot
            for pot in sorted(self.pots, key=Pot.order)
            if not pot.closed and (pot.expires is None or pot.expires > now) and _has(ledger.accounts[pot.account])
        ]
        fitting = [pot for pot in there if pot.starts <= now and pot.modality in (None, modality)]
        if len(fitting) > PAYING:
            rest = fitting[PAYING - 1 :]
            fitting = [*fitting[: PAYING - 1], max(rest, key=lambda pot: ledger.accounts[pot.account].free)]
        credit = [self.line.account] if self.line is not None and self.line.active else []
        return [*(pot.account for pot in fitting), self.allowance, self.prepaid, *credit]

    def legs(self, ledger: LedgerModel, now: datetime, modality: str) -> tuple[Leg, ...]:
        revenue = operator_account(AccountCode.REVENUE, self.lane)
        return tuple(Leg(account, revenue) for account in self.payers(ledger, now, modality))

    def owed(self, ledger: LedgerModel) -> int:
        if self.line is None:
            return 0
        account = ledger.accounts[self.line.account]
        return account.debits_posted - account.credits_posted + self.line.lent

    def given_back(self, paid: dict[int, int], before: int, amount: int, now: datetime) -> dict[int, int]:
        """Where a refund goes: what was bought first, then credit; then the allowance, then grants, the longest living first.

        What came from a grant that is over goes to the allowance.  ``before`` was given back by earlier refunds.
        """
        pots = {pot.account: pot for pot in self.pots}
        never = datetime.max.replace(tzinfo=now.tzinfo)
        places = [self.prepaid, *([self.line.account] if self.line is not None else []), self.allowance]
        places += sorted(pots, key=lambda account: (pots[account].expires or never, account), reverse=True)
        back: dict[int, int] = {}
        for account in places:
            part = paid.get(account, 0)
            skipped = min(before, part)
            before, part = before - skipped, part - skipped
            part = min(part, amount)
            amount -= part
            if part:
                pot = pots.get(account)
                over = pot is not None and pot.expires is not None and pot.expires <= now
                target = self.allowance if over else account
                back[target] = back.get(target, 0) + part
        assert amount == 0
        return back


def _has(account: Account) -> bool:
    return account.credits_posted > account.debits_posted


@dataclass
class Bound:
    """A budget: its charges with their moments, and what runs on it."""

    id: UUID
    scope: str
    owner: UUID
    span: str
    window_s: int | None
    limit: int
    hard: bool
    zone: str
    created: datetime
    end_user: str | None = None
    default: "Bound | None" = None
    removed: bool = False
    charged: list[tuple[datetime, int]] = field(default_factory=list)
    held: dict[UUID, int] = field(default_factory=dict)
    limits: list[int] = field(default_factory=list)

    def since(self, now: datetime) -> datetime:
        """From when on charges count: of a rolling window the slot at hand and the 24 before it."""
        if self.span != "rolling":
            return span_begins(self.span, now, self.zone)
        slot = timedelta(microseconds=-(-(self.window_s or 0) * 1_000_000 // SLOTS))
        return self.created + ((now - self.created) // slot - SLOTS) * slot

    def used(self, now: datetime) -> int:
        since = self.since(now)
        return sum(amount for moment, amount in self.charged if moment >= since)

    def left(self, now: datetime) -> int:
        return max(self.limit - self.used(now) - sum(self.held.values()), 0)

    def allows(self, amount: int, now: datetime) -> bool:
        return not self.hard or amount <= self.left(now)

    def never_passed(self) -> bool:
        """No window of its length, wherever it begins, has seen more than the highest limit that there was."""
        if not self.hard or self.span != "rolling":
            return True
        length = timedelta(seconds=self.window_s or 0)
        return all(
            sum(amount for moment, amount in self.charged if start <= moment < start + length) <= max(self.limits) for start, _ in self.charged
        )


Asked = tuple[int, str, str | None]
"""The most tokens of an answer, the tier, and the end user."""


@dataclass
class Offer:
    """A quote: for whom, for what, at most how much, until when, and who has used it.

    Attributes:
        approval: of a request above its plan's cap; its state is ``pending``, ``approved`` or ``declined``.
    """

    id: str
    project: UUID
    asked: Asked
    maximum: int
    multiplier: str
    expires: datetime
    used_by: UUID | None = None
    approval: str | None = None
    state: str = ""


@dataclass
class Trip:
    """A request that was let in.

    Attributes:
        ride: the product's.
        legs: that it is paid from.
        bounds: that it counts on.
        position: its number among those who waited when it came; 0: it had not to wait.
        open: whether anybody may still end it but a sweep.
    """

    ride: Any
    purse: Purse
    maximum: int
    legs: tuple[Leg, ...]
    bounds: list[Bound]
    offer: Offer | None
    position: int
    process: UUID
    stream: bool
    ends: datetime
    factor: str
    tokens: int
    open: bool = True
    charged: int = 0
    refunded: int = 0
    refunds: dict[str, tuple[int | None, int]] = field(default_factory=dict)
    settled: bool = False
    expired: bool = False
