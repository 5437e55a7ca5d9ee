"""Rates from times: non-negative least squares on relative errors, made robust against outliers by Huber's weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Within so many scales an error counts by its square, beyond by its size: 95 % efficient when errors are normal.
HUBER = 1.345
# Makes the median absolute deviation of normal errors equal to their standard deviation.
MAD_TO_SIGMA = 1.4826
ROUNDS_MAX = 100
SETTLED = 1e-8
Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """Rates, one for each column, and the scale of the relative errors."""

    rates: Matrix
    scale: float
    rounds: int


def nnls(matrix: Matrix, target: Matrix) -> Matrix:
    """The non-negative vector that brings ``matrix @ vector`` closest to ``target`` (Lawson and Hanson's active set)."""
    columns = matrix.shape[1]
    found = np.zeros(columns)
    free = np.zeros(columns, dtype=bool)
    slack = 1e-12 * max(1.0, float(np.abs(matrix.T @ target).max(initial=0.0)))
    for _ in range(30 * columns):
        pull = matrix.T @ (target - matrix @ found)
        if free.all() or float(np.where(free, -np.inf, pull).max()) <= slack:
            break
        free[int(np.argmax(np.where(free, -np.inf, pull)))] = True
        found = _feasible(matrix, target, found, free)
    return found


def _feasible(matrix: Matrix, target: Matrix, found: Matrix, free: NDArray[np.bool_]) -> Matrix:
    """Move towards the best of the free columns, and set those back to nought that would become negative."""
    while free.any():
        best = np.zeros_like(found)
        best[free] = np.linalg.lstsq(matrix[:, free], target, rcond=None)[0]
        if bool((best[free] > 0).all()):
            return best
        stopped = free & (best <= 0)
        steps = found[stopped] / (found[stopped] - best[stopped])
        found = found + float(steps.min(initial=1.0)) * (best - found)
        free &= ~(stopped & (found <= 1e-15 * max(1.0, float(found.max()))))
        found[~free] = 0.0
    return np.zeros_like(found)


def relative_huber(columns: Matrix, times: Matrix) -> Fit:
    """Rates such that ``columns @ rates`` is about ``times``, errors taken relative to the times.

    Columns are scaled to unit length, weights are Huber's with k = 1.345 and the scale 1.4826 x median absolute deviation.
    """
    relative = columns / times[:, None]
    lengths = np.linalg.norm(relative, axis=0)
    lengths[lengths == 0] = 1.0
    scaled, ones = relative / lengths, np.ones(len(times))
    rates = nnls(scaled, ones)
    scale, rounds = 0.0, 0
    for number in range(1, ROUNDS_MAX + 1):
        rounds = number
        errors = scaled @ rates - 1.0
        scale = float(MAD_TO_SIGMA * np.median(np.abs(errors - np.median(errors))))
        if scale < SETTLED:
            break
        weights = np.sqrt(np.minimum(1.0, HUBER * scale / np.maximum(np.abs(errors), 1e-300)))
        before, rates = rates, nnls(scaled * weights[:, None], weights)
        if float(np.abs(rates - before).max()) <= SETTLED * max(1.0, float(np.abs(rates).max())):
            break
    return Fit(rates / lengths, scale, rounds)


def plain(columns: Matrix, times: Matrix) -> Matrix:
    """Non-negative least squares on absolute errors: what it is compared with."""
    lengths = np.linalg.norm(columns, axis=0)
    lengths[lengths == 0] = 1.0
    return nnls(columns / lengths, times) / lengths


def bootstrap(columns: Matrix, times: Matrix, shapes: NDArray[np.int64], wanted: Matrix, rounds: int) -> Matrix:
    """5 % and 95 % quantiles of the predictions for ``wanted``, over samples drawn anew within each shape (always the same draws)."""
    chance = np.random.default_rng(20261121)
    groups = [np.flatnonzero(shapes == shape) for shape in np.unique(shapes)]
    drawn = []
    for _ in range(rounds):
        rows = np.concatenate([chance.choice(group, len(group)) for group in groups])
        drawn.append(wanted @ relative_huber(columns[rows], times[rows]).rates)
    return np.asarray(np.quantile(np.array(drawn), (0.05, 0.95), axis=0), dtype=np.float64)
