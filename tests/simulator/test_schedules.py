"""Thousands of schedules, each with its own luck; and mistakes put in on purpose, which must be found."""

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support.simulator.bugs import BUGS
from tests.support.simulator.dice import FAULTS
from tests.support.simulator.schedule import run

SCHEDULES = 2000
FOUND_WITHIN = 500
AGAIN = "make fuzz ARGS='--seed {} --trace' shows what happened"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the product logs about its misfortunes is not wanted a hundred thousand times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_whatever_goes_wrong_nothing_is_lost_doubled_or_stuck() -> None:
    hits: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        outcome = run(seed)
        assert outcome.problems == [], f"seed {seed}: " + AGAIN.format(seed)
        hits += outcome.hits
        told += outcome.told
    # Not blind: everything that can go wrong did, and callers still got answers.
    assert set(hits) == set(FAULTS)
    assert min(told[answer] for answer in ("receipt", "refused", "limited", "lost", "left", "ordered", "error")) > 0


@pytest.mark.parametrize("name", BUGS)
def test_the_simulator_finds_a_program_that(name: str) -> None:
    found = next((seed for seed in range(FOUND_WITHIN) if run(seed, bug=BUGS[name]).problems), None)
    assert found is not None


def test_a_seed_is_a_schedule() -> None:
    for seed in (3, 36, 99):
        first, second = run(seed, traces=True), run(seed, traces=True)
        assert first.trace == second.trace
        assert (first.handles, first.hits, first.told) == (second.handles, second.hits, second.told)
