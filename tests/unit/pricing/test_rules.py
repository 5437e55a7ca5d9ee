"""Rating."""

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.factors import Factors
from taximeter.pricing.model import Line, RateCard, Tariff, Term, decimal_text
from taximeter.pricing.rules import ROUNDING_LABEL, charge, fare, money_nano, rate

START = datetime(2026, 1, 1, tzinfo=UTC)
TARIFF = Tariff("standard", 1, START, "USD", 300_000, {"base": Decimal(1)})


@dataclass
class Estimate:
    expected: dict[str, int]
    maximum: dict[str, int]


def card(*lines: Line, **more: object) -> RateCard:
    return RateCard("card", 3, START, lines, **more)  # type: ignore[arg-type]  # each test names real fields


def line(quantity: str, tokens: str, per: int = 1, factor: str = "1") -> Line:
    return Line(label=quantity, terms=(Term(quantity, Fraction(tokens), Fraction(per)),), factor=Fraction(factor))


FOUNDING = (line("input", "1"), line("units", "100", 1_000_000), line("activations", "800"))
FLAGSHIP = {"input": 2, "units": 86_400_000, "activations": 1}


def test_every_line_is_rated_and_they_add_up() -> None:
    rated = rate(card(line("prompt", "0.001"), line("answer", "0.005")), {"prompt": 1000, "answer": 500})
    assert [each.amount_utok for each in rated.lines] == [1_000_000, 2_500_000]
    assert rated.total_utok == 3_500_000
    assert rated.exact == Fraction("3.5")


def test_a_quantity_without_a_price_is_refused_and_never_free() -> None:
    with pytest.raises(ModelNotPriced, match="no price for seconds"):
        rate(card(line("prompt", "1")), {"prompt": 1, "seconds": 5})


def test_a_quantity_that_was_not_measured_is_refused() -> None:
    with pytest.raises(ModelNotPriced, match="prices answer, which this model does not measure"):
        rate(card(line("prompt", "1"), line("answer", "1")), {"prompt": 1})


def test_what_is_listed_as_unpriced_costs_nothing() -> None:
    rated = rate(card(line("prompt", "1"), unpriced=frozenset({"seconds"})), {"prompt": 1, "seconds": 5})
    assert rated.total_utok == 1_000_000


def test_the_founding_code_rounds_the_discounted_sum_to_whole_tokens() -> None:
    rated = rate(card(*FOUNDING, factor=Fraction("0.7"), round_to="token"), FLAGSHIP)
    assert rated.total_utok == 6609 * 10**6
    assert rated.exact == Fraction("6609.4")
    assert rated.lines[-1].label == ROUNDING_LABEL
    assert rated.lines[-1].amount_utok == -400_000
    assert sum(each.amount_utok for each in rated.lines) == rated.total_utok


def test_the_founding_prose_discounts_all_but_the_activation() -> None:
    lines = (line("input", "1", factor="0.7"), line("units", "100", 1_000_000, "0.7"), line("activations", "800"))
    assert rate(card(*lines), FLAGSHIP).total_utok == 6_849_400_000


def test_without_experts_nothing_is_discounted() -> None:
    assert rate(card(*FOUNDING, round_to="token"), FLAGSHIP).total_utok == 9442 * 10**6


@pytest.mark.parametrize(("tokens", "rounded"), [("0.0000005", 0), ("0.0000015", 2), ("0.0000025", 2), ("0.0000026", 3)])
def test_a_line_is_rounded_once_and_half_to_even(tokens: str, rounded: int) -> None:
    assert rate(card(line("prompt", tokens)), {"prompt": 1}).total_utok == rounded


def test_terms_of_one_line_are_rounded_together() -> None:
    terms = (Term("a", Fraction(1, 3)), Term("b", Fraction(1, 3)), Term("c", Fraction(1, 3)))
    assert rate(card(Line("all", terms)), {"a": 1, "b": 1, "c": 1}).total_utok == 1_000_000


@pytest.mark.parametrize(
    ("consumed", "multiplier", "cap", "charged"),
    [(1000, "1", None, 1000), (1000, "1.5", None, 1500), (3, "0.5", None, 2), (1, "0.5", None, 0), (1000, "1.5", 1200, 1200)],
)
def test_multipliers_and_caps_apply_to_what_is_charged(consumed: int, multiplier: str, cap: int | None, charged: int) -> None:
    assert charge(consumed, Decimal(multiplier), cap) == charged


def test_a_fare_shows_both_sides_line_by_line() -> None:
    parts = fare(card(line("prompt", "0.001"), line("answer", "0.01")), TARIFF, Estimate({"prompt": 5, "answer": 10}, {"prompt": 5, "answer": 50}))
    assert (parts.rate_card, parts.tariff, parts.multiplier) == ("card@3", "standard@1", "1")
    assert (parts.expected_utok, parts.maximum_utok) == (105_000, 505_000)
    assert [(each.label, each.expected_utok, each.maximum_utok) for each in parts.lines] == [("prompt", 5000, 5000), ("answer", 100_000, 500_000)]
    assert [each.quantity for each in parts.lines] == ["5 prompt", "10 answer"]


def test_a_rounding_line_may_stand_on_one_side_only() -> None:
    parts = fare(card(line("a", "0.5"), round_to="token"), TARIFF, Estimate({"a": 1}, {"a": 2}))
    assert [(each.label, each.expected_utok, each.maximum_utok) for each in parts.lines] == [("a", 500_000, 1_000_000), (ROUNDING_LABEL, -500_000, 0)]
    assert (parts.expected_utok, parts.maximum_utok) == (0, 1_000_000)


def test_a_multiplier_changes_the_charge_and_not_the_consumption() -> None:
    parts = fare(card(line("a", "1")), TARIFF, Estimate({"a": 1}, {"a": 2}), Factors.base(Fraction("1.5")))
    assert (parts.expected_utok, parts.maximum_utok) == (1_500_000, 3_000_000)
    assert (parts.expected.total_utok, parts.maximum.total_utok) == (1_000_000, 2_000_000)


def test_money_is_whole_billionths() -> None:
    founding_text = Tariff("t", 1, START, "USD", 2000, {"base": Decimal(1)})
    assert money_nano(1500 * 10**6, founding_text) == 3_000_000
    founding_speech = Tariff("t", 1, START, "USD", 800, {"base": Decimal(1)})
    assert money_nano(31 * 10**6, founding_speech) == 24_800


@pytest.mark.parametrize(
    ("value", "text"),
    [("0.0192", "0.0192"), ("1234567", "1,234,567"), ("1/3", "0.333333333333"), ("-0.4", "-0.4"), ("0", "0"), ("1234.5", "1,234.5")],
)
def test_exact_numbers_are_written_without_exponent(value: str, text: str) -> None:
    assert decimal_text(Fraction(value)) == text


def test_rates_are_written_with_their_factors() -> None:
    priced = card(line("units", "100", 1_000_000), line("input", "1", factor="0.5"), factor=Fraction("0.7"))
    assert list(priced.rates) == ["70 Tokens per 1,000,000", "0.35 Tokens each"]


rates = st.fractions(min_value=0, max_value=1000, max_denominator=10**9)
counts = st.integers(0, 10**15)


@given(rates, rates, counts, counts, counts)
def test_more_work_never_costs_less(first: Fraction, second: Fraction, a: int, b: int, more: int) -> None:
    priced = card(Line("all", (Term("a", first), Term("b", second))), Line("again", (Term("a", second),)))
    assert rate(priced, {"a": a, "b": b}).total_utok <= rate(priced, {"a": a + more, "b": b}).total_utok


@given(rates, rates, counts, counts)
def test_the_rounding_of_a_total_stays_below_half_a_micro_token_a_line(first: Fraction, second: Fraction, a: int, b: int) -> None:
    rated = rate(card(Line("one", (Term("a", first),)), Line("two", (Term("b", second),))), {"a": a, "b": b})
    assert abs(rated.total_utok - rated.exact * 10**6) <= 1
    assert sum(each.amount_utok for each in rated.lines) == rated.total_utok
    whole = rate(card(Line("one", (Term("a", first),)), round_to="token"), {"a": a})
    assert whole.total_utok % 10**6 == 0
    assert abs(whole.total_utok - whole.exact * 10**6) <= 500_000


@given(counts, counts, st.decimals("0.01", "10", places=2))
def test_charging_keeps_the_order(a: int, b: int, multiplier: Decimal) -> None:
    low, high = sorted((a, b))
    assert charge(low, multiplier) <= charge(high, multiplier)


@given(rates, rates, rates, st.sampled_from([Fraction(1), Fraction("0.7"), Fraction(1, 3)]), counts, counts)
def test_whole_numbers_rate_as_fractions_do(first: Fraction, second: Fraction, per: Fraction, factor: Fraction, a: int, b: int) -> None:
    lines = (Line("both", (Term("a", first, per + 1), Term("b", second)), factor), Line("one", (Term("b", first),)))
    rated = rate(card(*lines, factor=factor), {"a": a, "b": b})
    both = (a * first / (per + 1) + b * second) * factor * factor * 10**6
    assert rated.amounts_utok == (round(both), round(b * first * factor * 10**6))


@given(counts, st.decimals("0.0001", "1000", places=4), st.none() | counts)
def test_a_charge_is_the_fraction_rounded_once(consumed: int, multiplier: Decimal, cap: int | None) -> None:
    exact = round(consumed * Fraction(multiplier))
    assert charge(consumed, multiplier, cap) == (exact if cap is None else min(exact, cap))


AMOUNTS = st.integers(min_value=0, max_value=10**9)


@given(paid=AMOUNTS, thrown=AMOUNTS, most=AMOUNTS, factor=st.sampled_from(["1", "0.5", "1.5", "1/3"]))
def test_what_is_borne_is_consumed_and_neither_charged_nor_held(paid: int, thrown: int, most: int, factor: str) -> None:
    terms = (Term("thrown", Fraction("0.7")),)
    bearing = card(line("paid", "0.3"), Line("thrown", terms, borne=True))
    estimate = Estimate({"paid": paid, "thrown": thrown}, {"paid": paid + most, "thrown": thrown + most})
    factors = Factors.base(Fraction(factor))
    parts = fare(bearing, TARIFF, estimate, factors)
    plain = fare(
        card(line("paid", "0.3"), unpriced=frozenset({"thrown"})),
        TARIFF,
        estimate,
        factors,
    )
    assert (parts.expected_utok, parts.maximum_utok) == (plain.expected_utok, plain.maximum_utok)
    assert parts.expected.total_utok == plain.expected.total_utok + parts.expected.borne_utok
    assert parts.expected.borne_utok == thrown * 700_000
    # Consumed, and what every line changes, is what is charged: expected, at most, and after the run.
    expected, maximum = parts.expected.total_utok, parts.maximum.total_utok
    assert expected + sum(each.expected_utok for each in parts.multipliers) == parts.expected_utok
    assert maximum + sum(each.maximum_utok for each in parts.multipliers) == parts.maximum_utok
    ran = parts.expected
    changes = ran.changes(factors, plain.maximum_utok)
    assert ran.total_utok + sum(change.change_utok for change in changes) == ran.charge(factors, plain.maximum_utok) <= plain.maximum_utok
