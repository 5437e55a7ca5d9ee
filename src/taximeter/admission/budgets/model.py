"""Budgets as they are wanted, and as they stand."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens

BUDGET_PREFIX = "bud"
BUDGETS_MAX = 6
"""On so many budgets a request may be held beside its wallet."""
DEFAULT_THRESHOLDS = (50, 80, 100)

Scope = Literal["organisation", "project", "key", "end_user"]
Window = Literal["day", "month", "rolling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewBudget:
    """What is needed to make a budget.

    Attributes:
        scope: whom it bounds; the id of that one, and no other, is given.
        project_id: with ``end_user`` too: whose end users.
        end_user: with ``end_user``; None: each one that has no budget of his own with this window.
        window_s: of a rolling window, and of no other.
        hard: refuse what does not fit; a soft one only tells.
        thresholds: percent of the limit at which an event tells.
        operator: who makes it.
    """

    scope: Scope
    limit_utok: int
    window: Window
    organisation_id: UUID | None = None
    project_id: UUID | None = None
    key_id: UUID | None = None
    end_user: str | None = None
    window_s: int | None = None
    hard: bool = True
    thresholds: tuple[int, ...] = DEFAULT_THRESHOLDS
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """A budget and what of it is used now.

    Attributes:
        default_id: of the default that opened it for its end user.
        used_utok: what was charged in its window.
        held_utok: what requests that run hold on it.
        left_utok: what new requests may hold.
        since: from when on it counts.
        resets_at: when something comes back; None: nothing is used of a rolling one.
    """

    id: UUID
    scope: Scope
    organisation_id: UUID
    project_id: UUID | None
    key_id: UUID | None
    end_user: str | None
    default_id: UUID | None
    window: Window
    window_s: int | None
    limit_utok: int
    hard: bool
    thresholds: tuple[int, ...]
    lane: int
    operator: str
    created_at: datetime
    removed_at: datetime | None
    used_utok: int
    held_utok: int
    left_utok: int
    since: datetime
    resets_at: datetime | None

    @property
    def public_id(self) -> str:
        """``bud_...``."""
        return encode_id(BUDGET_PREFIX, self.id)

    def to_api(self) -> dict[str, Any]:
        """As a caller sees it that is bounded by it."""
        return {
            "id": self.public_id,
            "object": "budget",
            "scope": self.scope,
            "organisation_id": encode_id("org", self.organisation_id),
            "project_id": _id("prj", self.project_id),
            "key_id": _id("key", self.key_id),
            "end_user": self.end_user,
            "window": self.window,
            "window_s": self.window_s,
            "tokens": format_tokens(self.limit_utok),
            "hard": self.hard,
            "thresholds": list(self.thresholds),
            "used": format_tokens(self.used_utok),
            "held": format_tokens(self.held_utok),
            "left": format_tokens(self.left_utok),
            "since": self.since.isoformat(),
            "resets_at": None if self.resets_at is None else self.resets_at.isoformat(),
        }

    def to_admin(self) -> dict[str, Any]:
        """As operators see it."""
        return {
            **self.to_api(),
            "default_id": _id(BUDGET_PREFIX, self.default_id),
            "operator": self.operator,
            "created_at": self.created_at.isoformat(),
            "removed_at": None if self.removed_at is None else self.removed_at.isoformat(),
        }


def _id(prefix: str, value: UUID | None) -> str | None:
    return None if value is None else encode_id(prefix, value)
