"""How estimates are compared with what engines did."""

import anyio
import pytest

from bench import estimates
from bench.estimate_requests import GROUPS, asks
from bench.estimates import Case, percent, quantile, row, run, table

CASES = [
    Case("text", "a", 100, 200, 80, truncated=False),
    Case("text", "b", 50, 60, 50, truncated=True),
    Case("text", "c", 30, 240, 60, truncated=False),
]


def test_a_row_has_errors_lean_and_what_was_given_back() -> None:
    assert row("text", CASES) == ("text", "3", "25.0 %", "50.0 %", "+0.0 %", "-5.3 %", "0", "1", "62 %")


def test_a_request_above_its_hold_is_told() -> None:
    made = table([Case("video", "a", 10, 20, 21, truncated=False)])
    assert made.rows[0][6] == "1"
    assert "not met" in made.notes[1]


def test_quantiles_and_shares_are_those_of_the_values_there_are() -> None:
    assert [quantile(range(1, 11), share) for share in (0, 0.5, 0.9, 1)] == [1, 6, 10, 10]
    assert percent(0.125) == "12.5 %"


def test_the_picture_has_a_square_for_each_group_and_two_marks_for_each_request() -> None:
    drawn = estimates.picture([*CASES, Case("video", "d", 7, 7, 7, truncated=False)])
    assert drawn.count('<g transform="translate(') == 2
    assert drawn.count("<circle") == 2 * 4 + 2


def test_every_group_has_requests_and_a_quick_run_has_fewer() -> None:
    assert {ask.group for ask in asks(quick=False)} == set(GROUPS)
    assert 10 < len(asks(quick=True)) < len(asks(quick=False)) / 5


@pytest.mark.parametrize("group", ["embeddings", "video"])
def test_what_is_counted_exactly_is_expected_exactly(group: str) -> None:
    smallest = min((ask for ask in asks(quick=False) if ask.group == group), key=lambda ask: len(str(ask.body)))
    (case,) = anyio.run(run, [smallest])
    assert case.expected == case.maximum == case.actual > 0
    assert case.error == 0
