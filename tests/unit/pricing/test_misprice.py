"""The map of one card over another."""

from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.misprice import Amounts, consumed, misprice_map
from taximeter.pricing.model import Line, RateCard, Term

START = datetime(2026, 1, 1, tzinfo=UTC)


def card(*lines: tuple[str, str, int], factor: Fraction = Fraction(1)) -> RateCard:
    made = tuple(Line(label=label, terms=(Term(quantity, Fraction(tokens)),)) for label, quantity, tokens in lines)
    return RateCard("card", 1, START, made, frozenset({"free"}), factor)


def test_an_amount_is_exact_and_counts_the_named_lines_alone() -> None:
    both = card(("Steps", "steps", 2), ("Start", "starts", 7))
    work = {"steps": 3, "starts": 1, "free": 9}
    assert consumed(both, work) == 13_000_000
    assert consumed(both, work, ["Steps"]) == 6_000_000


def test_work_that_a_card_does_not_cover_is_refused_by_its_name() -> None:
    with pytest.raises(ModelNotPriced, match="prices steps"):
        consumed(card(("Steps", "steps", 2)), {"free": 1})
    with pytest.raises(ModelNotPriced, match="does not know frames"):
        consumed(card(("Steps", "steps", 2)), {"steps": 1, "frames": 1})


def test_ratios_are_scaled_to_one_where_the_cards_agree() -> None:
    amounts: list[list[Amounts | None]] = [[(Fraction(2), Fraction(2)), (Fraction(4), Fraction(12))], [None, (Fraction(0), Fraction(3))]]
    free = misprice_map(["a", "b"], ["x", "y"], amounts, None)
    assert free.ratios == ((Fraction(1), Fraction(3)), (None, None))
    scaled = misprice_map(["a", "b"], ["x", "y"], amounts, (0, 1))
    assert scaled.ratios == ((Fraction(1, 3), Fraction(1)), (None, None))
    assert free.spread == scaled.spread == 3
    with pytest.raises(ValueError, match="no prices to agree on at b, x"):
        misprice_map(["a", "b"], ["x", "y"], amounts, (1, 0))
    with pytest.raises(ValueError, match="one of the cards asks nothing"):
        misprice_map(["a"], ["x"], [[(Fraction(0), Fraction(1))]], None)


AMOUNT = st.fractions(min_value=Fraction(1, 1000), max_value=1000)
ROWS = st.lists(st.tuples(AMOUNT, AMOUNT), min_size=1, max_size=6)


@given(row=ROWS, first=AMOUNT, second=AMOUNT)
def test_a_scaled_map_does_not_depend_on_the_units_of_the_cards(row: list[Amounts], first: Fraction, second: Fraction) -> None:
    names = [str(index) for index in range(len(row))]
    other = [(one * first, two * second) for one, two in row]
    assert misprice_map(["r"], names, [row], (0, 0)).ratios == misprice_map(["r"], names, [other], (0, 0)).ratios
