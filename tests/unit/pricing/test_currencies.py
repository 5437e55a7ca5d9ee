"""Money for people: nothing is rounded away, and coins have their decimals."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.units import NANO_PER_UNIT
from taximeter.pricing import Buyer
from taximeter.pricing.currencies import MINOR_UNITS, money_text


@pytest.mark.parametrize(
    ("amount_nano", "currency", "shown"),
    [
        (45 * NANO_PER_UNIT, "JPY", "45"),
        (45 * NANO_PER_UNIT + 1, "JPY", "45.000000001"),
        (300_000_000, "USD", "0.30"),
        (1_982_700_000, "USD", "1.9827"),
        (92_000_000, "KWD", "0.092"),
        (1_500_000_000, "KWD", "1.500"),
        (0, "KRW", "0"),
        (0, "EUR", "0.00"),
    ],
)
def test_an_amount_has_at_least_the_decimals_of_the_coins(amount_nano: int, currency: str, shown: str) -> None:
    assert money_text(amount_nano, currency) == shown


@given(st.integers(0, 10**24), st.sampled_from(sorted(MINOR_UNITS)))
def test_an_amount_is_never_rounded(amount_nano: int, currency: str) -> None:
    shown = money_text(amount_nano, currency)
    assert Fraction(shown) * NANO_PER_UNIT == amount_nano
    assert len(shown.partition(".")[2]) >= MINOR_UNITS[currency]


def test_a_buyer_reads_money_in_his_currency() -> None:
    assert [Buyer(currency=currency).money_text(2 * NANO_PER_UNIT) for currency in ("JPY", "EUR", "KWD")] == ["2", "2.00", "2.000"]
