"""The estimator against synthetic truth: always the same draws, so that a rate that moves is a change of the estimator."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.gpu.estimator import bootstrap, nnls, plain, relative_huber

# Seconds of a block, of a TFLOP of linear work and of one of attention: about an H200's.
TRUTH = np.array([2e-4, 1 / 500, 1 / 600])
TOKENS = np.array([7800, 14040, 20280, 32760, 46800, 48360, 75600, 111600])


def shapes(tokens: np.ndarray) -> np.ndarray:
    linear = (tokens * 608_174_080 + 53_687_091_200) / 1e12
    return np.column_stack([np.ones(len(tokens)), linear, 20480 * tokens.astype(float) ** 2 / 1e12])


def noisy(repeats: int, seed: int, outliers: float = 0.03) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(seed)
    columns = np.repeat(shapes(TOKENS[[0, 2, 3, 6, 7]]), repeats, axis=0)
    times = columns @ TRUTH * chance.lognormal(0, 0.04, len(columns))
    wild = chance.random(len(columns)) < outliers
    return columns, np.where(wild, times * chance.uniform(1.5, 4, len(columns)), times)


def holdout_mape(rates: np.ndarray) -> float:
    unseen = shapes(TOKENS[[1, 4, 5]])
    return float(np.mean(np.abs(unseen @ rates / (unseen @ TRUTH) - 1)))


def test_without_noise_the_rates_are_found_exactly() -> None:
    columns = shapes(TOKENS)
    assert relative_huber(columns, columns @ TRUTH).rates == pytest.approx(TRUTH, rel=1e-6)


def test_noise_and_outliers_move_unseen_shapes_by_less_than_two_percent() -> None:
    errors = [holdout_mape(relative_huber(*noisy(20, seed)).rates) for seed in range(20)]
    assert np.mean(errors) < 0.01
    assert max(errors) < 0.02


def test_it_beats_plain_least_squares_on_the_same_times() -> None:
    ours = [holdout_mape(relative_huber(*noisy(10, seed)).rates) for seed in range(20)]
    plain_ones = [holdout_mape(plain(*noisy(10, seed))) for seed in range(20)]
    assert np.mean(ours) < np.mean(plain_ones) / 2


def test_one_wild_sample_in_five_does_not_decide() -> None:
    columns, times = noisy(10, 7, outliers=0)
    times[::5] *= 3
    assert holdout_mape(relative_huber(columns, times).rates) < 0.05


def test_the_same_times_give_the_same_rates() -> None:
    first, second = (relative_huber(*noisy(10, 3)) for _ in range(2))
    assert (first.rates == second.rates).all()


def test_the_scale_is_that_of_the_noise() -> None:
    assert relative_huber(*noisy(40, 1, outliers=0)).scale == pytest.approx(0.04, rel=0.25)


def test_a_column_that_would_be_negative_is_nought() -> None:
    matrix = np.array([[1.0, 1.0], [1.0, 2.0], [1.0, 3.0]])
    assert nnls(matrix, np.array([3.0, 2.0, 1.0])) == pytest.approx([2.0, 0.0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 10), min_size=3, max_size=3), min_size=3, max_size=8), st.integers(0, 1000))
def test_rates_are_never_negative_and_no_direction_that_is_allowed_is_better(rows: list[list[float]], seed: int) -> None:
    matrix = np.array(rows)
    target = np.random.default_rng(seed).uniform(0, 10, len(rows))
    found = nnls(matrix, target)
    assert (found >= 0).all()
    residual = float(np.sum((matrix @ found - target) ** 2))
    for column in range(3):
        for step in (-1e-4, 1e-4):
            moved = found.copy()
            moved[column] = max(0.0, moved[column] + step)
            assert float(np.sum((matrix @ moved - target) ** 2)) >= residual - 1e-6


def test_the_interval_holds_the_truth_and_narrows_with_samples() -> None:
    wanted = shapes(TOKENS[[1, 4, 5]])
    widths = []
    for repeats in (5, 40):
        columns, times = noisy(repeats, 11)
        low, high = bootstrap(columns, times, np.repeat(np.arange(5), repeats), wanted, 60)
        widths.append(float(np.mean((high - low) / (wanted @ TRUTH))))
        if repeats == 40:
            assert (low < wanted @ TRUTH * 1.01).all()
            assert (high > wanted @ TRUTH * 0.99).all()
    assert widths[1] < widths[0]
