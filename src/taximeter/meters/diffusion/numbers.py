"""Numbers of configuration files: positive, and small enough that no product of them grows beyond reason."""

import re
from fractions import Fraction
from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Counts = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=64)]
Flags = Annotated[tuple[bool, ...], Meta(max_length=64)]
DIGITS_MAX = 32


def need(truth: bool, message: str) -> None:  # noqa: FBT001 - the condition is the point
    """Raises ValueError, which msgspec turns into the fault of the entry, unless it is so."""
    if not truth:
        raise ValueError(message)


def decimal(value: int | str) -> Fraction:
    """A number that was written as one, exactly.  Raises ValueError for any other text."""
    text = str(value)
    need(len(text) <= DIGITS_MAX and re.fullmatch(r"[0-9]+(\.[0-9]+)?", text) is not None, f"{text[:DIGITS_MAX]!r} is not a number above 0")
    return Fraction(text)
