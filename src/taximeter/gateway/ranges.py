"""HTTP range requests (RFC 9110, part 14).  Pure."""

import re

from taximeter.gateway.errors import RangeNotSatisfiable

_ONE_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """The wanted part of a file of ``size`` bytes as (start, end), ``end`` not included; None: all of it.

    A header that is malformed, in another unit or asks for several parts is ignored, as the standard
    allows.  Raises RangeNotSatisfiable when the part lies behind the end.
    """
    match = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start = int(first)
        if last and int(last) < start:
            return None
        end = min(size, int(last) + 1) if last else size
    if start >= size or start >= end:
        message = f"The range lies outside the file, which has {size} bytes."
        raise RangeNotSatisfiable(message, param="range", headers={"Content-Range": f"bytes */{size}"})
    return start, end


def etag_matches(header: str | None, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names ``etag`` (with its quotes)."""
    if not header:
        return False
    candidates = [candidate.strip().removeprefix("W/") for candidate in header.split(",")]
    return "*" in candidates or etag in candidates
