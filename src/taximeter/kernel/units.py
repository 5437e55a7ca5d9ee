"""Tokens as integers.  No float ever touches a Token or an amount of money.

1 Token = 1,000,000 micro-Tokens (``_utok``).  Money is kept in nano-units of its currency (``_nano``).
"""

from decimal import Decimal, InvalidOperation
from fractions import Fraction

UTOK_PER_TOKEN = 1_000_000
NANO_PER_UNIT = 1_000_000_000
# A BIGINT holds 9.2e18; one posting stays far below, so that sums cannot overflow.
AMOUNT_UTOK_MAX = 10**15


def round_half_even(value: Fraction) -> int:
    """Round an exact rational to an integer, ties to even.

    This is the only rounding in the product; it is applied once per receipt line.
    """
    return round(value)  # Fraction.__round__ without digits is exact and half-even.


def format_tokens(amount_utok: int) -> str:
    """Micro-Tokens as a decimal string of Tokens: ``6609400000`` -> ``"6609.4"``."""
    sign = "-" if amount_utok < 0 else ""
    whole, fraction = divmod(abs(amount_utok), UTOK_PER_TOKEN)
    if fraction == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:06d}".rstrip("0")


def parse_tokens(text: str) -> int:
    """A decimal string of Tokens as micro-Tokens.

    Raises ValueError when the text is not a plain non-negative decimal with at most six
    decimals, or is above AMOUNT_UTOK_MAX.
    """
    try:
        value = Decimal(text)
    except (InvalidOperation, ValueError) as error:
        message = f"{text!r} is not a decimal number of Tokens"
        raise ValueError(message) from error
    if not value.is_finite() or value < 0:
        message = f"{text!r} is not a non-negative number of Tokens"
        raise ValueError(message)
    if value > Decimal(AMOUNT_UTOK_MAX) / UTOK_PER_TOKEN:
        message = f"{text!r} is more than {format_tokens(AMOUNT_UTOK_MAX)} Tokens"
        raise ValueError(message)
    scaled = value * UTOK_PER_TOKEN
    if scaled != scaled.to_integral_value():
        message = f"{text!r} has more than six decimals"
        raise ValueError(message)
    return int(scaled)
