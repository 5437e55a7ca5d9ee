"""The controller of a surge price.  Pure, in whole numbers: the same steps in a worker, in the simulation and in a replay of the audit.

load -> smoothed -> followed, with a deadband below it -> the published curve -> limited steps

Each of the four is monotone, so the whole is: had the load been higher all the time, the price would not have been lower at any
time (but for discounts, which depend on what there is to pay them from).
"""

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from taximeter.admission.surge.model import LOAD_BP_MAX, NAME, ONE_PCT, PPM_PER_BP, QUANTUM_PCT, Point, Policy, Sample, State
from taximeter.kernel.units import divide_half_even
from taximeter.pricing import Factors

_MS = 1000
SPREAD_STEPS, SPREAD_S_MAX = 6, 3_600
"""Those who wait for one price are told times that lie so many of its periods apart, an hour at most (``bench/surge.py``)."""


def step(policy: Policy, state: State, sample: Sample, now_ms: int, surplus_utok: int = 0) -> State:
    """The state after a sample.

    Args:
        policy: how the price follows the load.
        state: of the last step.
        sample: how busy the engine is now.
        now_ms: Unix time.
        surplus_utok: what discounts may be paid out of; not above 0: there are none.

    An unknown load lets the price come down to 1, step by step, and lets nothing rise but a discount that cannot be paid any more.
    """
    if sample.load_bp is not None:
        state = _seen(policy, state, min(sample.load_bp, LOAD_BP_MAX), now_ms)
    period_ms = policy.step_s * _MS
    if now_ms // period_ms <= state.decided_ms // period_ms:
        return state
    target = ONE_PCT if sample.load_bp is None else target_pct(policy, state.followed_ppm)
    if target < ONE_PCT and surplus_utok <= 0:
        target = ONE_PCT
    if sample.load_bp is None and surplus_utok > 0:
        target = min(target, state.factor_pct)
    factor = min(max(target, state.factor_pct - policy.fall_pct), state.factor_pct + policy.rise_pct)
    since_ms = state.since_ms if factor == state.factor_pct else now_ms
    return msgspec.structs.replace(state, factor_pct=factor, decided_ms=now_ms, since_ms=since_ms)


def _seen(policy: Policy, state: State, load_bp: int, now_ms: int) -> State:
    load_ppm = load_bp * PPM_PER_BP
    if state.smoothed_ppm is None:
        smoothed = load_ppm
    else:
        passed_ms, memory_ms = max(0, now_ms - state.known_ms), policy.smoothing_s * _MS
        smoothed = state.smoothed_ppm
        if passed_ms:
            smoothed = divide_half_even(smoothed * memory_ms + load_ppm * passed_ms, memory_ms + passed_ms)
    followed = min(max(state.followed_ppm, smoothed), smoothed + policy.deadband_bp * PPM_PER_BP)
    return msgspec.structs.replace(state, smoothed_ppm=smoothed, followed_ppm=followed, known_ms=max(now_ms, state.known_ms))


def target_pct(policy: Policy, load_ppm: int) -> int:
    """The factor that the curve gives for a load, in whole twentieths: what lies between two is the lower one above 1, the higher one below."""
    load = Fraction(load_ppm, PPM_PER_BP)
    if policy.discount and load < policy.discount[-1].load_bp:
        below = interpolate(policy.discount, load)
        return -(-below.numerator // (below.denominator * QUANTUM_PCT)) * QUANTUM_PCT
    if load < policy.curve[0].load_bp:
        return ONE_PCT
    above = interpolate(policy.curve, load)
    return above.numerator // (above.denominator * QUANTUM_PCT) * QUANTUM_PCT


def interpolate(points: Sequence[Point], load_bp: Fraction) -> Fraction:
    """A curve at a load, in hundredths: straight between its corners, level outside."""
    if load_bp <= points[0].load_bp:
        return Fraction(points[0].factor_pct)
    for left, right in itertools.pairwise(points):
        if load_bp <= right.load_bp:
            share = (load_bp - left.load_bp) / (right.load_bp - left.load_bp)
            return left.factor_pct + share * (right.factor_pct - left.factor_pct)
    return Fraction(points[-1].factor_pct)


def next_change_ms(policy: Policy, now_ms: int) -> int:
    """When the price may move next: the beginning of the next period."""
    period_ms = policy.step_s * _MS
    return (now_ms // period_ms + 1) * period_ms


def wait_s(policy: Policy, factor_pct: int, wanted_pct: int, now_ms: int) -> int:
    """The soonest that a factor can have come down to a wanted one, in whole seconds, at least 1."""
    steps = max(1, -(-(factor_pct - wanted_pct) // policy.fall_pct))
    left_ms = next_change_ms(policy, now_ms) - now_ms + (steps - 1) * policy.step_s * _MS
    return max(1, -(-left_ms // _MS))


def spread_s(policy: Policy, permille: int) -> int:
    """How much later than at the soonest one of those who wait for a price is told to come back, by a chance of 0 to 1000."""
    return min(SPREAD_S_MAX, SPREAD_STEPS * policy.step_s) * permille // 1000


def brought_in_utok(factors: Factors, consumed_utok: int, work: Mapping[str, int], maximum_utok: int) -> int:
    """What the surge has changed in a charge, below 0 for a discount: the charge less what it would have been without.  Exact.

    The caps of the tariff and of the hold count in both.
    """
    return factors.charge(consumed_utok, work, maximum_utok) - factors.without(NAME).charge(consumed_utok, work, maximum_utok)
