"""Which grants pay for a request and in what order, what a part of a month is worth, and what a change of plan does.  Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeVar

from taximeter.admission.plans.model import Grant, GrantOrder, Subscription, When
from taximeter.identity import terms
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import divide_half_even
from taximeter.pricing import Plan

GRANTS_MAX = 7
"""Of the ten accounts that pay for one request: the others are the allowance, what was bought, and the credit line.  Beside them a hold
has a leg for each of its budgets, six at most, and the ledger takes sixteen."""
MODALITIES = ("chat", "embeddings", "speech", "video", "images", "classification", "other")
PRIORITY_MAX = 100
YEARS = range(1971, 9999)
"""Far enough from the ends of the calendar that no time zone and no subtraction leaves it."""
AnyGrant = TypeVar("AnyGrant", terms.Grant, Grant)
_TICK = timedelta(microseconds=1)


class Change(Enum):
    """What a change of plan does, and when."""

    NOTHING = "nothing"
    RAISE = "raise"
    """Now, in the same period: what is then due for it and was not given is given."""
    RESTART = "restart"
    """Now: a period begins, with all of its allowance."""
    SWITCH = "switch"
    """Now, in the same period: the rest of the old allowance is taken back as far as it is there, then as with ``RAISE``."""
    WAIT = "wait"
    """When the period ends."""


def usable(grants: Iterable[terms.Grant], modality: str, now_ms: int) -> list[terms.Grant]:
    """Those that a request may be paid from, in the given order, as many as there is room for."""
    fitting = [
        grant
        for grant in grants
        if grant.starts_ms <= now_ms and (grant.expires_ms is None or now_ms < grant.expires_ms) and grant.modality in (None, modality)
    ]
    return paying_ones(fitting)


def paying_ones(grants: list[AnyGrant]) -> list[AnyGrant]:
    """As many as pay for one request; of those that come too late, the fullest has the last place: many small ones do not keep a large one away."""
    if len(grants) <= GRANTS_MAX:
        return grants
    chosen = list(grants[: GRANTS_MAX - 1])
    chosen.append(max(grants[GRANTS_MAX - 1 :], key=lambda grant: grant.free_utok))
    return chosen


def spending_order(grant: Grant) -> tuple[bool, float, int, bool, str, datetime, int]:
    """The key to sort grants by: what expires first, then the lowest priority, then what fits less, then what was given first."""
    ends_s = 0.0 if grant.expires_at is None else grant.expires_at.timestamp()
    return grant.expires_at is None, ends_s, grant.priority, grant.modality is None, grant.modality or "", grant.created_at, grant.id.int


def prorated(amount_utok: int, start: datetime, now: datetime, end: datetime) -> int:
    """The part of an amount that falls on the rest of a period: exact, and rounded once, half-even."""
    whole = (end - start) // _TICK
    left = min(max((end - now) // _TICK, 0), whole)
    return divide_half_even(amount_utok * left, whole)


def due_after(subscription: Subscription, allowance_utok: int, now: datetime) -> int:
    """What is due for the whole period when the rest of it has another allowance a month; rounded once, half-even."""
    difference_utok = prorated(allowance_utok - subscription.allowance_utok, subscription.period_start, now, subscription.period_end)
    return max(subscription.due_utok + difference_utok, 0)


def to_give(due_utok: int, given_utok: int) -> int:
    """What a change grants: what is due and was not given.  What was given above that, and spent, is not given again."""
    return max(due_utok - given_utok, 0)


def to_take_back(subscription: Subscription, now: datetime) -> int:
    """What was given above what is due up to now; some of it may be spent."""
    return max(subscription.given_utok - due_after(subscription, 0, now), 0)


def monthly(plan: Plan) -> int:
    """What a plan gives each month."""
    return plan.allowance_utok if plan.allowance_period == "month" else 0


def change_of(subscription: Subscription, plan: Plan, when: When | None) -> Change:
    """What becomes of a subscription whose project is to have this plan.

    Unless somebody says ``when``: more of the same, or a credit line, begins now; less, or something else, at the end of the period.
    """
    if plan.name == subscription.plan:
        # It may be a change of mind about the next period.
        return Change.NOTHING if subscription.next_plan is None else Change.RAISE
    if when == "period_end":
        return Change.WAIT
    if subscription.allowance_utok == 0:
        # What was granted for this period counts in it: leaving a plan and coming back begins no month of its own.
        return Change.RESTART if subscription.given_utok == 0 else Change.RAISE
    same_kind = monthly(plan) >= subscription.allowance_utok and plan.allowance_modality == subscription.allowance_modality
    if same_kind or (plan.postpaid and when is None):
        return Change.RAISE
    return Change.SWITCH if when == "now" else Change.WAIT


def check_terms(order: GrantOrder) -> None:
    """Raises InvalidRequest for terms that no grant can have."""
    if not 0 <= order.priority <= PRIORITY_MAX:
        message = f"'priority' must be a whole number from 0 to {PRIORITY_MAX}; the lowest is spent first"
        raise InvalidRequest(message, param="priority")
    if order.modality is not None and order.modality not in MODALITIES:
        message = f"'modality' must be one of {', '.join(MODALITIES)}"
        raise InvalidRequest(message, param="modality")
    for name, moment in (("starts_at", order.starts_at), ("expires_at", order.expires_at)):
        if moment is not None and moment.tzinfo is None:
            message = f"'{name}' needs a time zone, as in 2026-12-31T23:00:00Z"
            raise InvalidRequest(message, param=name)
        if moment is not None and moment.year not in YEARS:
            message = f"'{name}' must lie in the years {YEARS[0]} to {YEARS[-1]}; leave it out for {'now' if name == 'starts_at' else 'never'}"
            raise InvalidRequest(message, param=name)
