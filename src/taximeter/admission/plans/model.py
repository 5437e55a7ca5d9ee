"""Grants, subscriptions and credit lines."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

GrantKind = Literal["renewal", "once", "proration", "promotional", "manual"]
When = Literal["now", "period_end"]
PRIORITY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class By:
    """Who does something to a wallet, and why.

    Attributes:
        operator: a person, or the worker that keeps plans up.
        reason: for whoever reads it later.
        reference: the operator's name for it; the same one is booked once.
    """

    operator: str
    reason: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrantOrder:
    """Tokens that are to be given on terms.

    Attributes:
        amount_utok: above 0.
        starts_at: from when on they may be spent; None: now.
        expires_at: from when on they may not; None: never.
        priority: of two that expire together, the lower one is spent first; 0 to 100.
        modality: what alone they may be spent on; None: anything.
        plan: that gives them; None: a person does.
    """

    amount_utok: int
    kind: GrantKind = "manual"
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    priority: int = PRIORITY
    modality: str | None = None
    plan: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One that was given.

    Attributes:
        account: the ledger's, its own.
        free_utok: what is left of it, without what running requests hold.
        held_utok: what they hold.
        closed_at: when it had expired and nothing was left of it.
    """

    id: UUID
    project_id: UUID
    account: int
    amount_utok: int
    starts_at: datetime
    expires_at: datetime | None
    priority: int
    modality: str | None
    kind: GrantKind
    plan: str | None
    reason: str | None
    operator: str
    reference: str | None
    created_at: datetime
    closed_at: datetime | None
    free_utok: int
    held_utok: int

    def in_force(self, at: datetime) -> bool:
        """Whether it may be spent at this time."""
        return self.starts_at <= at and (self.expires_at is None or at < self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A plan that a project has, and the period that it is in.

    Attributes:
        next_plan: that it will have from the next period on; None: the same.
        anchor: the day, where the customer is, that months are counted from.
        month: how many there were before this one.
        allowance_utok: of a whole month, by the version of the plan that the period began with; 0: none.
        allowance_modality: what alone it may be spent on.
        started_at: when it was subscribed to first.
        due_utok: what plans owe for this period: each its month, for the part of the period that the project has it, the present one to the end.
        given_utok: what was granted for this period, less what was taken back.
    """

    project_id: UUID
    plan: str
    next_plan: str | None
    anchor: date
    month: int
    period_start: datetime
    period_end: datetime
    allowance_utok: int
    allowance_modality: str | None
    started_at: datetime
    due_utok: int
    given_utok: int

    def to_api(self) -> dict[str, Any]:
        """The plan and its period, as wallets and projects show it."""
        return {
            "plan": self.plan,
            "next_plan": self.next_plan,
            "started_at": self.started_at.isoformat(),
            "anchor": self.anchor.isoformat(),
            "period_start": self.period_start.isoformat(),
            "period_end": self.period_end.isoformat(),
            "renews_at": self.period_end.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditLine:
    """How far a wallet may go below nothing.

    Attributes:
        account: the ledger's, that new requests are held on.
        line_utok: what was agreed; None: no bound.
        active: whether more is lent.
    """

    project_id: UUID
    account: int
    line_utok: int | None
    active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditAccount:
    """An account that a line stands on, or has.

    Attributes:
        lent_utok: what stands on it of the line.
        owed_utok: what was used and not paid for.
        free_utok: what may be used now; below 0, as much as is owed, where there is no bound.
    """

    account: int
    lent_utok: int
    owed_utok: int
    free_utok: int
