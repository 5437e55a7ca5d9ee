"""Tokens as integers.  No float ever touches a Token or an amount of money.

1 Token = 1,000,000 micro-Tokens (``_utok``).  Money is kept in nano-units of its currency (``_nano``).
"""

import re
from fractions import Fraction

UTOK_PER_TOKEN = 1_000_000
NANO_PER_UNIT = 1_000_000_000
# A BIGINT holds 9.2e18; one posting stays far below, so that sums cannot overflow.
AMOUNT_UTOK_MAX = 10**15
# ASCII digits only: Python would also read "1_000", "1e3" and the digits of other scripts.
_DECIMAL = re.compile(r"([0-9]+)(?:\.([0-9]+))?")
_DECIMALS = 6
_TRILLION = 10**12
_LARGE = re.compile(r"\b\d{1,3}(?:,\d{3}){4,}\b")


def round_half_even(value: Fraction) -> int:
    """Round an exact rational to an integer, ties to even.

    This is the only rounding in the product; it is applied once per receipt line.
    """
    return divide_half_even(value.numerator, value.denominator)


def divide_half_even(numerator: int, denominator: int) -> int:
    """``round_half_even`` of a quotient, without making a fraction of it first; the denominator is positive."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + 1 if twice > denominator or (twice == denominator and whole % 2) else whole


def format_tokens(amount_utok: int) -> str:
    """Micro-Tokens as a decimal string of Tokens: ``6609400000`` -> ``"6609.4"``."""
    sign = "-" if amount_utok < 0 else ""
    whole, fraction = divmod(abs(amount_utok), UTOK_PER_TOKEN)
    if fraction == 0:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{fraction:06d}".rstrip("0")


def format_nano(amount_nano: int, decimals: int = 2) -> str:
    """Nano-units of a currency as a decimal string with at least so many decimals, never rounded: ``1234500000`` -> ``"1.2345"``."""
    whole, part = divmod(amount_nano, NANO_PER_UNIT)
    shown = f"{part:09d}".rstrip("0").ljust(decimals, "0")
    return f"{whole}.{shown}" if shown else str(whole)


def parse_tokens(text: str) -> int:
    """A decimal string of Tokens as micro-Tokens.

    Raises ValueError when the text is not a plain non-negative decimal with at most six
    decimals, or is above AMOUNT_UTOK_MAX.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        message = f"{text!r} is not a non-negative decimal number of Tokens"
        raise ValueError(message)
    whole, decimals = match[1].lstrip("0"), (match[2] or "").rstrip("0")
    if len(decimals) > _DECIMALS:
        message = f"{text!r} has more than six decimals"
        raise ValueError(message)
    # Longer than the maximum's digits: not worth parsing.
    amount_utok = int(whole + decimals.ljust(_DECIMALS, "0")) if len(whole) <= len(str(AMOUNT_UTOK_MAX)) else AMOUNT_UTOK_MAX + 1
    if amount_utok > AMOUNT_UTOK_MAX:
        message = f"{text!r} is more than {format_tokens(AMOUNT_UTOK_MAX)} Tokens"
        raise ValueError(message)
    return amount_utok


def large_numbers(text: str) -> str:
    """A text whose numbers of a million millions and more are told in trillions, to one decimal: nobody reads eighteen digits."""
    return _LARGE.sub(_in_trillions, text)


def _in_trillions(match: re.Match[str]) -> str:
    tenths = divide_half_even(int(match[0].replace(",", "")), _TRILLION // 10)
    whole, tenth = divmod(tenths, 10)
    return f"{whole:,}{f'.{tenth}' if tenth else ''} trillion"
