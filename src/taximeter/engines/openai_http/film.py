"""The form of an order for a film, and what an upstream tells of one, read with suspicion."""

import secrets
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from taximeter.engines.model import Done, Job

SECONDS_MAX = 86_400
"""No film is longer; a number with a huge exponent is never made an integer."""
ENGINE_MS_MAX = 30 * 86_400_000
HEAD_BYTES = 12
"""So many bytes show what a file is."""
_PLAIN_BYTES = frozenset({"application/octet-stream", "binary/octet-stream", "application/mp4"})
_EBML = b"\x1a\x45\xdf\xa3"


class NoFilmError(Exception):
    """What was handed out as a finished film is none."""


def is_film(content_type: str, head: bytes) -> bool:
    """Whether a file may be a video, by its type and its first ``HEAD_BYTES``: MP4, WebM or Matroska, or AVI."""
    if not content_type.startswith("video/") and content_type not in _PLAIN_BYTES:
        return False
    return len(head) >= HEAD_BYTES and (head[4:8] == b"ftyp" or head.startswith(_EBML) or (head.startswith(b"RIFF") and head[8:12] == b"AVI "))


def encode_form(fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A multipart form, as the official client sends it, and its Content-Type."""
    boundary = f"taximeter-{secrets.token_hex(16)}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}\r\n'
        for name, text in fields.items()
    ]
    return ("".join(parts) + f"--{boundary}--\r\n").encode(), f"multipart/form-data; boundary={boundary}"


def percent(value: object) -> int:
    """Progress below 100, which is for the moment when the file can be fetched."""
    return min(99, max(0, value)) if type(value) is int else 0


def report(job: Job, told: Mapping[str, Any], provider_job: str) -> Done:
    """The work, as far as the upstream tells it: its size and length, never more than was ordered.  Steps cannot be counted."""
    request = job.request
    width, height = _size(told.get("size"), request["width"], request["height"])
    frames = job.bound.get("frames", request["frames"])
    seconds = _seconds(told.get("seconds"))
    if seconds is not None:
        frames = min(frames, max(1, int(seconds * request["fps"])))
    steps = job.bound.get("steps", request["steps"])
    begin, end = told.get("created_at"), told.get("completed_at")
    return Done(
        work={"steps": steps, "frames": frames, "width": width, "height": height, "passes": steps * (2 if request.get("guidance") else 1)},
        measured=False,
        engine_ms=min(ENGINE_MS_MAX, max(0, (end - begin) * 1000)) if type(begin) is int and type(end) is int else 0,
        detail={"provider_job": provider_job},
    )


def _seconds(value: object) -> Decimal | None:
    try:
        seconds = Decimal(str(value)) if isinstance(value, str | int | float) and len(str(value)) < 20 else None  # noqa: PLR2004 - no film's length has more digits
    except InvalidOperation:
        return None
    return seconds if seconds is not None and seconds.is_finite() and 0 < seconds <= SECONDS_MAX else None


def _size(value: object, width: int, height: int) -> tuple[int, int]:
    """The upstream's size of the film, when it says one that is not above what was ordered."""
    parts = value.split("x") if isinstance(value, str) else []
    if len(parts) == 2 and all(part.isascii() and part.isdecimal() and len(part) < 6 for part in parts):  # noqa: PLR2004 - width and height
        told = int(parts[0]), int(parts[1])
        if 0 < told[0] * told[1] <= width * height:
            return told
    return width, height
