"""Cursors and page sizes of the native API: ``{data, next_cursor}``."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import UUID

from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import decode_id

T = TypeVar("T")
DIGITS_MAX = 9


def page_size(text: str | None, default: int, size_max: int) -> int:
    """The ``limit`` of a list.  Raises InvalidRequest unless it is 1 to ``size_max``."""
    if text is None:
        return default
    # More digits than any limit has are refused before they are read: Python refuses to read thousands of them.
    if not (text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX and 1 <= int(text) <= size_max):
        message = f"'limit' must be a whole number from 1 to {size_max}."
        raise InvalidRequest(message, param="limit")
    return int(text)


def cursor(prefix: str, text: str | None) -> UUID | None:
    """The object after which the page starts.  Raises InvalidRequest when it is not a ``next_cursor`` of this list."""
    if text is None:
        return None
    value = decode_id(prefix, text)
    if value is None:
        message = "'cursor' must be the 'next_cursor' of an earlier page."
        raise InvalidRequest(message, param="cursor")
    return value


def page(found: Sequence[T], limit: int, to_api: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """A page from up to ``limit + 1`` rows: the extra one only tells that there are more."""
    data = [to_api(item) for item in found[:limit]]
    return {"data": data, "next_cursor": data[-1]["id"] if len(found) > limit else None}
