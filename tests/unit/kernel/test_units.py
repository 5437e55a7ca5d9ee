"""Tokens as integers and as decimal strings."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.units import AMOUNT_UTOK_MAX, divide_half_even, format_tokens, parse_tokens, round_half_even


@pytest.mark.parametrize(("utok", "text"), [(0, "0"), (1, "0.000001"), (6_609_400_000, "6609.4"), (-1_500_000, "-1.5"), (8_640_000_000, "8640")])
def test_micro_tokens_are_shown_as_decimal_tokens(utok: int, text: str) -> None:
    assert format_tokens(utok) == text


@given(st.integers(0, AMOUNT_UTOK_MAX))
def test_what_is_shown_can_be_read_back_exactly(utok: int) -> None:
    assert parse_tokens(format_tokens(utok)) == utok


@pytest.mark.parametrize(("text", "utok"), [("1000", 1_000_000_000), ("007", 7_000_000), ("0.5", 500_000), ("1.0000000", 1_000_000)])
def test_plain_decimals_are_read(text: str, utok: int) -> None:
    assert parse_tokens(text) == utok


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "-1",
        "NaN",
        "Infinity",
        "1e30",
        "0.0000001",
        "1,5",
        "1000000000.000001",
        "1_000",
        "1e3",
        "٣",
        "\uff11",
        " 1",
        "1\n",
        "+1",
        ".5",
        "5.",
        "1." + "0" * 40 + "1",
        "9" * 5000,
    ],
)
def test_what_is_not_an_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"Tokens|decimals"):
        parse_tokens(text)


@pytest.mark.parametrize(
    ("value", "rounded"), [(Fraction(1, 2), 0), (Fraction(3, 2), 2), (Fraction(5, 2), 2), (Fraction(-1, 2), 0), (Fraction(7, 3), 2)]
)
def test_ties_go_to_the_even_neighbour(value: Fraction, rounded: int) -> None:
    assert round_half_even(value) == rounded


@given(st.integers(-(10**40), 10**40), st.integers(1, 10**20))
def test_a_quotient_of_whole_numbers_is_rounded_as_its_fraction(numerator: int, denominator: int) -> None:
    # Python's own rounding of fractions is exact and goes to the even neighbour.
    assert divide_half_even(numerator, denominator) == round_half_even(Fraction(numerator, denominator)) == round(Fraction(numerator, denominator))


@given(st.integers(-(10**12), 10**12), st.integers(1, 1000))
def test_every_tie_goes_to_the_even_neighbour(whole: int, half: int) -> None:
    assert divide_half_even((2 * whole + 1) * half, 2 * half) == whole + whole % 2
