"""What a budget may be, the legs it adds to a hold, and what is told when it refuses.  Pure."""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from taximeter.admission.budgets.errors import BudgetExceeded
from taximeter.admission.budgets.model import BudgetState, NewBudget
from taximeter.identity import terms
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import AMOUNT_UTOK_MAX, format_tokens
from taximeter.ledger import AccountCode, Leg, operator_account

WINDOW_S_MIN = 60
WINDOW_S_MAX = 366 * 86_400
THRESHOLDS_MAX = 10
THRESHOLD_PERCENT_MAX = 1000
END_USER_LENGTH_MAX = 256


def check_new(new: NewBudget) -> None:
    """Raises InvalidRequest, naming the field, for a budget that cannot be."""
    check_limit(new.limit_utok)
    check_thresholds(new.thresholds)
    if new.window == "rolling" and not (new.window_s is not None and WINDOW_S_MIN <= new.window_s <= WINDOW_S_MAX):
        message = f"A rolling window needs 'window_s', a whole number of seconds from {WINDOW_S_MIN} to {WINDOW_S_MAX:,}."
        raise InvalidRequest(message, param="window_s")
    if new.window != "rolling" and new.window_s is not None:
        message = f"'window_s' goes with the window 'rolling' alone; a {new.window} is as long as the calendar says."
        raise InvalidRequest(message, param="window_s")
    for scope, name in (("organisation", "organisation_id"), ("project", "project_id"), ("key", "key_id")):
        wanted = new.scope == scope or (new.scope == "end_user" and scope == "project")
        if wanted != (getattr(new, name) is not None):
            message = f"A budget of scope '{new.scope}' {'needs' if wanted else 'has no'} '{name}'."
            raise InvalidRequest(message, param=name)
    if new.end_user is not None:
        if new.scope != "end_user":
            message = f"A budget of scope '{new.scope}' has no 'end_user'."
            raise InvalidRequest(message, param="end_user")
        check_end_user(new.end_user, "end_user")


def check_limit(limit_utok: int) -> None:
    """Raises InvalidRequest unless a budget may be so large."""
    if not 0 < limit_utok <= AMOUNT_UTOK_MAX:
        message = f"'tokens' must be more than 0 and at most {format_tokens(AMOUNT_UTOK_MAX)}."
        raise InvalidRequest(message, param="tokens")


def check_thresholds(thresholds: Sequence[int]) -> None:
    """Raises InvalidRequest unless they are few, rising, and percentages."""
    rising = all(lower < higher for lower, higher in pairwise(thresholds))
    if len(thresholds) > THRESHOLDS_MAX or not rising or not all(1 <= one <= THRESHOLD_PERCENT_MAX for one in thresholds):
        message = (
            f"'thresholds' must be at most {THRESHOLDS_MAX} rising whole numbers of percent from 1 to {THRESHOLD_PERCENT_MAX}, such as [50, 80]."
        )
        raise InvalidRequest(message, param="thresholds")


def check_end_user(end_user: str, param: str) -> None:
    """Raises InvalidRequest for a name that no budget can be kept under: what is counted must not depend on where a name is cut off."""
    if not 0 < len(end_user) <= END_USER_LENGTH_MAX:
        message = f"'{param}' must be 1 to {END_USER_LENGTH_MAX} characters: this project has budgets for its end users."
        raise InvalidRequest(message, param=param)


def budget_legs(bounds: Iterable[terms.Budget], lane: int, maximum_utok: int) -> tuple[Leg, ...]:
    """The legs of a hold on the budgets that bound it: each for the whole maximum, and all of them or none."""
    other = operator_account(AccountCode.BUDGETS, lane)
    return tuple(Leg(bound.account, other, maximum_utok, cascade=False) for bound in bounds)


def refusal(states: Sequence[BudgetState], maximum_utok: int, available_utok: int) -> BudgetExceeded | None:
    """What is told when a hold was refused; None when it was the wallet that did not have enough.

    Args:
        states: of the hard budgets, a moment later.
        maximum_utok: what the request may cost at most.
        available_utok: what the wallet had at the moment of the refusal.
    """
    short = [state for state in states if state.left_utok < maximum_utok]
    if not short and available_utok >= maximum_utok:
        # Something was given back to it since.
        short = list(states)
    if not short:
        return None
    tightest = min(short, key=lambda state: state.left_utok)
    when = "" if tightest.resets_at is None else f" some of it comes back at {tightest.resets_at.isoformat()};"
    message = (
        f"this request may cost up to {format_tokens(maximum_utok)} Tokens and {whose(tightest)} has"
        f" {format_tokens(tightest.left_utok)} left of {format_tokens(tightest.limit_utok)} {stretch(tightest)};{when}"
        " nothing was run or charged: ask for less, or have it raised"
    )
    return BudgetExceeded(message)


def whose(state: BudgetState) -> str:
    """The budget of ..., for people."""
    if state.end_user is not None:
        return f"the budget of the end user {state.end_user!r}"
    return f"the budget of this {state.scope}"


def stretch(state: BudgetState) -> str:
    """The window, for people."""
    return f"in {state.window_s:,} s" if state.window == "rolling" else f"a {state.window}"
