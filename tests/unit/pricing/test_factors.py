"""From consumed to charged: factors, their cap, and the lines that tell of them."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.pricing.factors import CAP, PLAIN, QUOTED_MAXIMUM, Factors
from taximeter.pricing.tariffs import CommittedVolume, ContextBand, Multiplier, TokenPrice, VolumeTier, exact_text

decimals = st.decimals(min_value=Decimal("0.001"), max_value=1000, places=3).map(lambda value: exact_text(Fraction(value)))
caps = st.decimals(min_value=1, max_value=1000, places=2).map(lambda value: exact_text(Fraction(value)))
quotients = st.fractions(min_value=Fraction(1, 1000), max_value=1000, max_denominator=10**6).filter(bool).map(exact_text)
multipliers = st.lists(st.builds(Multiplier, st.just("m"), st.text(max_size=3), decimals | quotients), max_size=5).map(tuple)
amounts = st.integers(0, 10**15)
counts = st.integers(0, 10**7)


@st.composite
def rising_bands(draw: st.DrawFn) -> tuple[ContextBand, ...]:
    limits = sorted(draw(st.sets(st.integers(0, 10**6), max_size=4)))
    factors = sorted(draw(st.lists(st.fractions(1, 10, max_denominator=100), min_size=len(limits), max_size=len(limits))))
    return tuple(ContextBand("prompt_tokens", limit, exact_text(factor)) for limit, factor in zip(limits, factors, strict=True))


all_factors = st.builds(Factors, multipliers, rising_bands(), st.none() | caps)


@given(all_factors, amounts, counts, st.none() | amounts)
def test_the_lines_and_what_is_consumed_add_up_to_the_charge(factors: Factors, consumed_utok: int, count: int, maximum_utok: int | None) -> None:
    work = {"prompt_tokens": count}
    charged_utok = factors.charge(consumed_utok, work, maximum_utok)
    lines = factors.lines(consumed_utok, work, maximum_utok)
    assert consumed_utok + sum(line.change_utok for line in lines) == charged_utok
    assert work == {"prompt_tokens": count}
    names = [line.name for line in lines]
    assert names.count(CAP) <= 1
    assert QUOTED_MAXIMUM not in names[:-1]


@given(all_factors, amounts, counts)
def test_a_charge_is_the_exact_product_rounded_once(factors: Factors, consumed_utok: int, count: int) -> None:
    exact = Fraction(1)
    for multiplier in factors.of({"prompt_tokens": count}):
        exact *= Fraction(multiplier.factor)
    if factors.cap is not None:
        exact = min(exact, Fraction(factors.cap))
    exact *= consumed_utok
    assert factors.product({"prompt_tokens": count}) * consumed_utok == exact
    charged_utok = factors.charge(consumed_utok, {"prompt_tokens": count})
    assert abs(charged_utok - exact) <= Fraction(1, 2)
    assert Fraction(factors.multiplier({"prompt_tokens": count})) * consumed_utok == exact


@given(all_factors, amounts, amounts, counts, counts)
def test_more_work_never_costs_less(factors: Factors, one_utok: int, other_utok: int, one: int, other: int) -> None:
    """So that what is held for the maximum covers whatever is done below it."""
    low = factors.charge(min(one_utok, other_utok), {"prompt_tokens": min(one, other)})
    high = factors.charge(max(one_utok, other_utok), {"prompt_tokens": max(one, other)})
    assert low <= high


@given(multipliers, caps, amounts)
def test_the_product_is_capped_and_says_so(fixed: tuple[Multiplier, ...], cap: str, consumed_utok: int) -> None:
    factors = Factors(fixed, cap=cap)
    product = Fraction(1)
    for multiplier in fixed:
        product *= multiplier.ratio
    assert factors.product({}) <= Fraction(cap)
    said = [line for line in factors.lines(consumed_utok, {}) if line.name == CAP]
    assert bool(said) == (product > Fraction(cap))
    for line in said:
        assert Fraction(line.factor) * product == Fraction(cap)


@given(st.fractions(max_denominator=10**9))
def test_a_factor_is_written_so_that_it_can_be_read_back_exactly(value: Fraction) -> None:
    text = exact_text(value)
    assert Fraction(text) == value
    assert "e" not in text


@pytest.mark.parametrize(("value", "text"), [("1", "1"), ("0.5", "0.5"), ("1.25", "1.25"), ("53/60", "53/60"), ("-0.05", "-0.05"), ("100", "100")])
def test_a_factor_is_a_decimal_where_it_has_one(value: str, text: str) -> None:
    assert exact_text(Fraction(value)) == text


def test_without_factors_what_is_consumed_is_charged() -> None:
    assert PLAIN.plain
    assert (PLAIN.charge(1001, {}), PLAIN.charge(1001, {}, 1000), PLAIN.lines(5, {}), PLAIN.multiplier({})) == (1001, 1000, (), "1")
    (line,) = PLAIN.lines(1001, {}, 1000)
    assert (line.name, line.change_utok, line.to_api()["tokens"]) == (QUOTED_MAXIMUM, -1, "-0.000001")


def test_a_band_counts_above_its_threshold_for_the_whole_request() -> None:
    factors = Factors(
        bands=(ContextBand("prompt_tokens", 200_000, "2"), ContextBand("prompt_tokens", 500_000, "3"), ContextBand("frames", 10, "1.5"))
    )
    charges = [factors.charge(1000, {"prompt_tokens": count}) for count in (200_000, 200_001, 500_000, 500_001)]
    assert charges == [1000, 2000, 2000, 3000]
    assert factors.charge(1000, {"prompt_tokens": 200_001, "frames": 11}) == 3000
    (line,) = factors.lines(1000, {"prompt_tokens": 300_000})
    assert (line.label, line.factor, line.change_utok) == ("More than 200,000 prompt tokens", "2", 1000)


TIERS = (VolumeTier(1_000_000, Fraction(1)), VolumeTier(10_000_000, Fraction("0.9")), VolumeTier(None, Fraction("0.7")))


@pytest.mark.parametrize(
    ("committed_utok", "volume", "graduated"),
    [
        (1, "1", "1"),
        (1_000_000, "1", "1"),
        (1_000_001, "0.9", "1900001/2000002"),
        (2_000_000, "0.9", "0.95"),
        (3_000_000, "0.9", "14/15"),
        (10_000_000, "0.9", "0.91"),
        (40_000_000, "0.7", "0.7525"),
    ],
)
def test_a_commitment_is_rated_by_its_tier_or_by_the_mean_of_its_parts(committed_utok: int, volume: str, graduated: str) -> None:
    assert CommittedVolume("volume", TIERS).factor(committed_utok) == Fraction(volume)
    assert exact_text(CommittedVolume("graduated", TIERS).factor(committed_utok)) == exact_text(
        Fraction(graduated) if "/" not in graduated else _mean(committed_utok)
    )


def _mean(committed_utok: int) -> Fraction:
    """Micro-Token by micro-Token, as one would by hand: so many at 1, so many at 0.9."""
    return (Fraction(1_000_000) + Fraction("0.9") * (committed_utok - 1_000_000)) / committed_utok


@given(
    st.lists(
        st.tuples(st.integers(1, 10**9), st.fractions(Fraction(1, 100), 2, max_denominator=100)), min_size=1, max_size=5, unique_by=lambda it: it[0]
    ),
    st.fractions(Fraction(1, 100), 2, max_denominator=100),
    st.integers(1, 10**10),
)
def test_a_graduated_factor_lies_between_those_of_its_tiers(parts: list[tuple[int, Fraction]], last: Fraction, committed_utok: int) -> None:
    tiers = (*(VolumeTier(limit, factor) for limit, factor in sorted(parts)), VolumeTier(None, last))
    factor = CommittedVolume("graduated", tiers).factor(committed_utok)
    assert min(tier.factor for tier in tiers) <= factor <= max(tier.factor for tier in tiers)
    assert CommittedVolume("volume", tiers).factor(committed_utok) in {tier.factor for tier in tiers}
    total = factor * committed_utok
    assert total == sum(
        tier.factor * max(0, min(committed_utok, tier.up_to_utok or committed_utok) - start)
        for tier, start in zip(tiers, (0, *(tier.up_to_utok or 0 for tier in tiers[:-1])), strict=True)
    )


@given(amounts, st.integers(0, 10**9))
def test_money_is_rounded_once_to_a_billionth(amount_utok: int, price_nano: int) -> None:
    amount = TokenPrice(None, "USD", price_nano).amount_nano(amount_utok)
    assert abs(amount - Fraction(amount_utok * price_nano, 10**6)) <= Fraction(1, 2)
