"""Reading what callers and engines send: every number is checked before it is counted with."""

import functools
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any, TypeVar, cast

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters.errors import BadProfile, BadReport, PromptTooLong

# A longer text is no number that anybody means; parsing it would only cost time.
NUMBER_CHARS_MAX = 32
# Far above any real report, and small enough that products of a few quantities stay quick.
QUANTITY_MAX = 10**24
LIST_SHOWN_MAX = 24
# A catalog has some tens of models; one that was published anew brings new mappings, and the old ones are forgotten.
PROFILES_KEPT_MAX = 1024
NUMBERS_KEPT_MAX = 4096
# ASCII digits only: Python would also read "1_000", "1e3" and the digits of other scripts.
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")

Profile = TypeVar("Profile", bound=msgspec.Struct)


# The mapping stands beside what was read from it: as long as it is kept, no other object can have its identity.
_profiles: dict[tuple[int, type], tuple[object, msgspec.Struct]] = {}


def read_profile(kind: type[Profile], profile: Mapping[str, Any]) -> Profile:
    """A model's profile as a checked structure.  Raises BadProfile naming the entry at fault.

    The same mapping is read once: whoever wants another profile makes another mapping, as the catalog does.
    """
    known = _profiles.get((id(profile), kind))
    if known is not None:
        return cast("Profile", known[1])
    try:
        entry = msgspec.convert(profile, kind)
    except msgspec.ValidationError as error:
        text = str(error)
        unknown = re.search(r"unknown field `([^`]*)`", text)
        missing = re.search(r"missing required field `([^`]*)`", text)
        where = re.search(r"at `\$\.?([^`.\[]*)", text)
        key = unknown.group(1) if unknown else missing.group(1) if missing else where.group(1) if where else ""
        raise BadProfile(key=key, message=text.split(" - at ", maxsplit=1)[0]) from error
    if len(_profiles) >= PROFILES_KEPT_MAX:
        _profiles.clear()
    _profiles[id(profile), kind] = (profile, entry)
    return entry


def number(value: object, name: str, low: int | str, high: int | str) -> Fraction:
    """A number (JSON number, or its text as OpenAI's multipart forms send it) as an exact rational.

    A JSON fraction counts as the decimal that was written: 4.6 is 46/10.  Raises InvalidRequest for
    anything that is not a finite number from ``low`` to ``high``.
    """
    if type(value) is int:
        parsed, exact = (Decimal(value), None) if abs(value) < QUANTITY_MAX else _NO_NUMBER
    elif type(value) is float or (type(value) is str and len(value) <= NUMBER_CHARS_MAX):
        parsed, exact = _remembered(value)
    else:
        parsed, exact = _read_number(value)
    if not parsed.is_finite() or not _limit(low) <= parsed <= _limit(high):
        message = f"{name} must be a number from {low} to {high}"
        raise InvalidRequest(message, param=name)
    # A tiny exponent would make a giant denominator; nobody means it.
    if parsed.as_tuple().exponent < -NUMBER_CHARS_MAX:  # type: ignore[operator]  # finite: the exponent is an int
        message = f"{name} has too many decimals"
        raise InvalidRequest(message, param=name)
    return Fraction(parsed) if exact is None else exact


_NO_NUMBER: tuple[Decimal, Fraction | None] = (Decimal("NaN"), None)


def _read_number(value: object) -> tuple[Decimal, Fraction | None]:
    """A value as it was written, and as a fraction when that is small; NaN when it is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return _NO_NUMBER
    if isinstance(value, str) and _NUMBER.fullmatch(value) is None:
        return _NO_NUMBER
    text = str(value) if not isinstance(value, int) or abs(value) < QUANTITY_MAX else ""
    try:
        parsed = Decimal(text) if 0 < len(text) <= NUMBER_CHARS_MAX else _NO_NUMBER[0]
    except InvalidOperation:
        return _NO_NUMBER
    small = parsed.is_finite() and abs(parsed.adjusted()) <= NUMBER_CHARS_MAX
    return parsed, Fraction(parsed) if small else None


# The same few lengths, rates and speeds are asked for again and again.  Typed, so that True is not taken for 1.
_remembered = functools.lru_cache(maxsize=NUMBERS_KEPT_MAX, typed=True)(_read_number)


@functools.lru_cache(maxsize=NUMBERS_KEPT_MAX)
def _limit(bound: int | str) -> Decimal:
    return Decimal(bound)


def whole(value: object, name: str, low: int, high: int) -> int:
    """A whole number from ``low`` to ``high``; text of one is accepted, fractions and booleans are not."""
    if type(value) is int and low <= value <= high:
        return value
    if type(value) is str and len(value) <= NUMBER_CHARS_MAX and value.isascii() and value.isdecimal() and low <= (found := int(value)) <= high:
        return found
    parsed = number(value, name, low, high) if not isinstance(value, float) or value.is_integer() else None
    if parsed is None or parsed.denominator != 1:
        message = f"{name} must be a whole number from {low} to {high}"
        raise InvalidRequest(message, param=name)
    return parsed.numerator


def strict_whole(value: object, name: str, low: int, high: int) -> int:
    """A JSON integer from ``low`` to ``high``: neither text, nor a fraction, nor a boolean."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        message = f"{name} must be an integer from {low} to {high}"
        raise InvalidRequest(message, param=name)
    return value


def text(value: object, name: str, chars_max: int, *, blank: bool = False) -> str:
    """A text of valid Unicode with at most ``chars_max`` characters; ``blank`` allows an empty one."""
    if not isinstance(value, str):
        message = f"{name} must be a text" if value is not None else f"{name} is missing"
        raise InvalidRequest(message, param=name)
    if len(value) > chars_max:
        message = f"{name} has {len(value)} characters; this model takes at most {chars_max}"
        raise PromptTooLong(message, param=name)
    if not blank and (not value or value.isspace()):
        message = f"{name} is empty; send some text"
        raise InvalidRequest(message, param=name)
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{name} is not valid Unicode (lone surrogate at character {error.start})"
        raise InvalidRequest(message, param=name) from error
    return value


def listed(values: Sequence[str]) -> str:
    """Names for a message: all of them, or the first ones and how many more."""
    more = len(values) - LIST_SHOWN_MAX
    return ", ".join(values[:LIST_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def reported_quantity(reported: Mapping[str, int], name: str, default: int | None = None) -> int:
    """One quantity of an engine's report.  Raises BadReport unless it is an integer >= 0."""
    value: object = reported.get(name, default)
    if value is None:
        message = f"the engine's report lacks {name}; the request was not charged"
        raise BadReport(message)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= QUANTITY_MAX:
        message = f"the engine reported {name}={value!r}, which is not a count; the request was not charged"
        raise BadReport(message)
    return value
