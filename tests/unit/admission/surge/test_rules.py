"""The controller of a surge price."""

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.admission.surge.model import DEFAULT_CURVE, LOAD_BP_MAX, ONE_PCT, QUANTUM_PCT, Point, Policy, Sample, State
from taximeter.admission.surge.policy_file import check_policy
from taximeter.admission.surge.rules import brought_in_utok, interpolate, next_change_ms, step, target_pct, wait_s
from taximeter.pricing import Buyer, Factors
from taximeter.pricing.tariffs import Multiplier

S = 1_000
LOADS = st.integers(0, 20_000)
UNKNOWN = Sample(None, "gone")
POLICIES = st.builds(
    Policy,
    smoothing_s=st.integers(0, 120),
    deadband_bp=st.integers(0, 1_000),
    step_s=st.integers(1, 60),
    rise_pct=st.sampled_from([15, 25, 100]),
    fall_pct=st.sampled_from([5, 10]),
)
DISCOUNT = (Point(3_000, 80), Point(6_000, 100))
CURVE = (Point(8_500, 100), Point(10_000, 175), Point(15_000, 250))


def quick(**changes: Any) -> Policy:  # noqa: ANN401 - fields of a policy
    """A policy whose every step shows."""
    return Policy(**{"curve": CURVE, "smoothing_s": 0, "deadband_bp": 400, "step_s": 5, "rise_pct": 25, "fall_pct": 10, **changes})


def played(policy: Policy, loads: list[int | None], every_s: int = 5, surplus_utok: int = 0, state: State | None = None) -> list[State]:
    states = [state or State()]
    start_ms = states[0].decided_ms
    for number, load in enumerate(loads, start=1):
        sample = UNKNOWN if load is None else Sample(load)
        states.append(step(policy, states[-1], sample, start_ms + number * every_s * S, surplus_utok))
    return states[1:]


@given(POLICIES, st.lists(st.one_of(LOADS, st.none()), max_size=60), st.integers(1, 40))
def test_a_price_is_a_twentieth_never_above_the_cap_and_moves_by_bounded_steps_once_a_period(
    policy: Policy, loads: list[int | None], every_s: int
) -> None:
    check_policy(policy)
    before, moved_in = State(), -1
    for number, after in enumerate(played(policy, loads, every_s), start=1):
        assert ONE_PCT <= after.factor_pct <= policy.cap_pct
        assert after.factor_pct % QUANTUM_PCT == 0
        assert -policy.fall_pct <= after.factor_pct - before.factor_pct <= policy.rise_pct
        if after.factor_pct != before.factor_pct:
            period = number * every_s // policy.step_s
            assert period > moved_in, "twice in one period"
            assert after.since_ms == number * every_s * S
            moved_in = period
        before = after


@given(POLICIES, st.lists(st.tuples(LOADS, st.integers(0, 5_000)), max_size=60), st.integers(1, 40))
def test_had_the_load_been_higher_all_the_time_the_price_would_never_have_been_lower(
    policy: Policy, loads: list[tuple[int, int]], every_s: int
) -> None:
    lower = played(policy, [load for load, _ in loads], every_s)
    higher = played(policy, [load + more for load, more in loads], every_s)
    for one, other in zip(lower, higher, strict=True):
        assert one.factor_pct <= other.factor_pct


@given(POLICIES, st.integers(0, 20_000), st.lists(st.integers(0, 1_000), max_size=40))
def test_noise_within_the_deadband_does_not_move_the_price(policy: Policy, level_bp: int, noise: list[int]) -> None:
    """Once the price has followed the upper end, nothing that stays within the band below it moves the price."""
    settled = State(smoothed_ppm=level_bp * 100, followed_ppm=level_bp * 100, factor_pct=target_pct(policy, level_bp * 100), known_ms=1, decided_ms=1)
    loads: list[int | None] = [max(0, level_bp - min(each, policy.deadband_bp)) for each in noise]
    assert {state.factor_pct for state in played(policy, loads, state=settled)} <= {settled.factor_pct}


@given(st.integers(0, 40_000), st.integers(0, 40_000))
def test_the_curve_never_falls_and_a_price_is_never_above_it(one: int, other: int) -> None:
    low, high = sorted((one, other))
    policy = Policy(discount=DISCOUNT)
    assert target_pct(policy, low * 100) <= target_pct(policy, high * 100)
    if high >= DEFAULT_CURVE[0].load_bp:
        assert target_pct(policy, high * 100) <= interpolate(DEFAULT_CURVE, Fraction(high))


@pytest.mark.parametrize(
    ("load_bp", "factor_pct"),
    [(0, 100), (8_499, 100), (8_500, 100), (8_599, 100), (8_600, 105), (9_000, 125), (10_000, 175), (12_500, 210), (15_000, 250), (40_000, 250)],
)
def test_the_published_curve_at_its_corners_and_between(load_bp: int, factor_pct: int) -> None:
    assert target_pct(quick(), load_bp * 100) == factor_pct


@pytest.mark.parametrize(("load_bp", "factor_pct"), [(0, 80), (3_000, 80), (3_001, 85), (4_500, 90), (5_999, 100), (6_000, 100), (8_500, 100)])
def test_the_discount_at_its_corners_is_never_more_than_the_curve_says(load_bp: int, factor_pct: int) -> None:
    assert target_pct(Policy(discount=DISCOUNT), load_bp * 100) == factor_pct


def test_at_85_percent_nothing_is_dearer_and_above_it_is() -> None:
    policy = quick()
    assert played(policy, [8_500] * 20)[-1].factor_pct == ONE_PCT
    assert played(policy, [9_000] * 20)[-1].factor_pct == 125


def test_a_price_falls_slower_than_it_rises_and_only_below_the_deadband() -> None:
    policy = quick()
    up = played(policy, [10_000] * 3)
    assert [state.factor_pct for state in up] == [125, 150, 175]
    # Within the deadband it stays; then it goes by its own steps to where the curve is.
    assert {state.factor_pct for state in played(policy, [9_600] * 10, state=up[-1])} == {175}
    down = played(policy, [5_000] * 9, state=up[-1])
    assert [state.factor_pct for state in down] == [165, 155, 145, 135, 125, 115, 105, 100, 100]


def test_an_unknown_load_lets_a_price_come_down_slowly_and_nothing_rise() -> None:
    policy = quick()
    high = played(policy, [15_000] * 10)[-1]
    assert high.factor_pct == 250
    fallen = played(policy, [None] * 20, state=high)
    assert [state.factor_pct for state in fallen[:4]] == [240, 230, 220, 210]
    assert fallen[-1].factor_pct == ONE_PCT
    assert played(policy, [None] * 20)[-1] == msgspec.structs.replace(State(), decided_ms=20 * 5 * S)


def test_a_discount_is_given_while_there_is_something_to_pay_it_from() -> None:
    policy = quick(discount=DISCOUNT)
    assert played(policy, [1_000] * 9, surplus_utok=0)[-1].factor_pct == ONE_PCT
    given_away = played(policy, [1_000] * 9, surplus_utok=1)[-1]
    assert given_away.factor_pct == 80
    # Nobody knows the load: what is given goes on, and ends with the account.
    assert played(policy, [None], surplus_utok=1, state=given_away)[-1].factor_pct == 80
    assert played(policy, [None], surplus_utok=0, state=given_away)[-1].factor_pct == ONE_PCT


def test_a_load_is_smoothed_and_a_gap_counts_as_the_time_that_it_was() -> None:
    policy = Policy(smoothing_s=30)
    begun = step(policy, State(), Sample(5_000), 100 * S)
    assert begun.smoothed_ppm == 500_000
    assert step(policy, begun, Sample(10_000), 100 * S).smoothed_ppm == 500_000
    assert step(policy, begun, Sample(10_000), 130 * S).smoothed_ppm == 750_000
    # A clock that goes back changes nothing.
    assert step(policy, begun, Sample(10_000), 90 * S).smoothed_ppm == 500_000
    assert step(policy, begun, Sample(10**9), 10**9 * S).smoothed_ppm == pytest.approx(LOAD_BP_MAX * 100, rel=0.01)


def test_the_next_change_and_the_wait_for_a_lower_price() -> None:
    policy = quick(step_s=30)
    assert next_change_ms(policy, 60 * S) == 90 * S
    assert wait_s(policy, 150, 100, 70 * S) == 20 + 4 * 30
    assert wait_s(policy, 105, 100, 89_999) == 1


@given(st.integers(0, 10**12), st.sampled_from([80, 85, 105, 175, 250]), st.sampled_from([None, "2", "1"]), st.sampled_from([50, 100, 150]))
def test_what_a_surge_has_brought_in_is_what_the_charge_would_have_been_without(consumed_utok: int, pct: int, cap: str | None, tier_pct: int) -> None:
    buyer = Buyer().with_factor("surge", "Surge", str(Fraction(pct, 100)))
    tier = Multiplier("service_tier", "Service tier", str(Fraction(tier_pct, 100)))
    factors = Factors((tier, *buyer.extra), (), cap)
    charged, plain = factors.charge(consumed_utok, {}), Factors((tier,), (), cap).charge(consumed_utok, {})
    brought = brought_in_utok(factors, consumed_utok, {}, 10**15)
    assert brought == charged - plain
    assert brought >= 0 if pct > 100 else brought <= 0


def test_a_policy_is_named_by_what_it_says() -> None:
    assert Policy().id == Policy().id == Policy(curve=DEFAULT_CURVE).id
    assert len({Policy().id, Policy(step_s=31).id, Policy(discount=DISCOUNT).id}) == 3
