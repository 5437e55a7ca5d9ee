"""What is told when a hold was refused, and which legs budgets add to it."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from taximeter.admission.budgets import BudgetState, budget_legs
from taximeter.admission.budgets.rules import check_thresholds, refusal
from taximeter.identity.terms import Budget
from taximeter.kernel.errors import InvalidRequest
from taximeter.ledger import Leg

TOKEN = 1_000_000
STATE = BudgetState(
    id=UUID(int=1),
    scope="key",
    organisation_id=UUID(int=2),
    project_id=UUID(int=3),
    key_id=UUID(int=4),
    end_user=None,
    default_id=None,
    window="month",
    window_s=None,
    limit_utok=100 * TOKEN,
    hard=True,
    thresholds=(50,),
    lane=0,
    operator="admin",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    removed_at=None,
    used_utok=70 * TOKEN,
    held_utok=25 * TOKEN,
    left_utok=5 * TOKEN,
    since=datetime(2026, 1, 1, tzinfo=UTC),
    resets_at=datetime(2026, 2, 1, tzinfo=UTC),
)
WIDE = replace(STATE, scope="project", left_utok=50 * TOKEN)


def test_the_tightest_budget_is_named_with_its_window_and_what_is_left() -> None:
    hourly = replace(STATE, scope="end_user", end_user="ada", window="rolling", window_s=3600, left_utok=4 * TOKEN)
    told = refusal([WIDE, STATE, hourly], 60 * TOKEN, 1000 * TOKEN)
    assert told is not None
    assert told.message.startswith("this request may cost up to 60 Tokens and the budget of the end user 'ada' has 4 left of 100 in 3,600 s;")
    assert "comes back at 2026-02-01T00:00:00+00:00" in told.message
    assert (told.code, told.status, told.openai_type) == ("budget_exceeded", 402, "insufficient_quota")


def test_a_budget_that_just_affords_the_request_did_not_refuse_it() -> None:
    assert refusal([STATE], 5 * TOKEN, 4 * TOKEN) is None
    told = refusal([STATE], 5 * TOKEN + 1, 4 * TOKEN)
    assert told is not None


def test_when_the_wallet_had_enough_it_was_a_budget_whatever_was_given_back_since() -> None:
    told = refusal([WIDE, STATE], 5 * TOKEN, 5 * TOKEN)
    assert told is not None
    assert "the budget of this key" in told.message
    assert refusal([], 5 * TOKEN, 0) is None


def test_each_budget_is_a_leg_for_the_whole_maximum_on_the_callers_lane() -> None:
    bounds = [Budget(id="a", account=7, scope="key"), Budget(id="b", account=8, scope="project", hard=False)]
    assert budget_legs(bounds, 3, 12) == (Leg(7, 1503, 12, cascade=False), Leg(8, 1503, 12, cascade=False))


@pytest.mark.parametrize("thresholds", [(0,), (80, 50), (50, 50), (1001,), tuple(range(1, 12))])
def test_thresholds_that_cannot_be_are_refused(thresholds: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequest):
        check_thresholds(thresholds)
    check_thresholds(())
