"""A video request in OpenAI's shape, with the further fields steps, fps, frames, seed and guidance."""

import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields
from taximeter.meters.errors import BadProfile, UnsupportedSize

PROMPT_CHARS_MAX = 32_000
SEED_MAX = 2**32 - 1
SIDE_MAX = 16_384
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
SIZE_CHARS_MAX = len("16384x16384")
SIZES_KEPT_MAX = 1024

Size = tuple[int, int]


def parse_size(text: str) -> Size | None:
    """``1280x720`` as (1280, 720), or None when the text is no size."""
    return _parse_size(text) if len(text) <= SIZE_CHARS_MAX else None


@functools.lru_cache(maxsize=SIZES_KEPT_MAX)
def _parse_size(text: str) -> Size | None:
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    width, height = int(match.group(1)), int(match.group(2))
    return (width, height) if max(width, height) <= SIDE_MAX else None


def check_sizes(sizes: Sequence[str], default: str) -> None:
    """Raises BadProfile unless every size reads ``WxH`` and the default is among them."""
    for size in sizes:
        if parse_size(size) is None:
            raise BadProfile(key="sizes", message=f"{size!r} is not a size; write it as 1280x720")
    if default not in sizes:
        raise BadProfile(key="default_size", message=f"{default!r} is not among the sizes")


def refuse_size(value: object, sizes: Sequence[str], also: str = "") -> UnsupportedSize:
    """The refusal of a size, with the list of those that work."""
    shown = f" {value}" if isinstance(value, str) and len(value) <= fields.NUMBER_CHARS_MAX else ""
    message = f"size{shown} is not supported by this model; choose one of {', '.join(sizes)}{also}"
    return UnsupportedSize(message, param="size")


def read_prompt(request: Mapping[str, Any]) -> str:
    """The prompt.  Raises InvalidRequest when it is missing or blank, PromptTooLong above 32,000 characters."""
    return fields.text(request.get("prompt"), "prompt", PROMPT_CHARS_MAX)


def read_seed(request: Mapping[str, Any], prompt: str) -> int:
    """The seed; without one it follows from the prompt, so that asking again gives the same film."""
    seed = request.get("seed")
    return int.from_bytes(hashlib.sha256(prompt.encode()).digest()[:4], "big") if seed is None else fields.whole(seed, "seed", 0, SEED_MAX)


def read_steps(request: Mapping[str, Any], default: int, low: int, high: int) -> int:
    """Denoising or refinement steps."""
    steps = request.get("steps")
    return default if steps is None else fields.whole(steps, "steps", low, high)


def read_frames(request: Mapping[str, Any], high: int) -> int | None:
    """An explicit number of frames, which goes before seconds."""
    frames = request.get("frames")
    return None if frames is None else fields.whole(frames, "frames", 1, high)


def whole_frames(fps: int, seconds: Fraction, high: int) -> int:
    """Frames in so many seconds, at least one, counted exactly.  Raises InvalidRequest above ``high``."""
    frames = max(1, fps * seconds.numerator // seconds.denominator)
    if frames > high:
        message = f"{fps} frames a second make {frames} frames; this model makes at most {high}"
        raise InvalidRequest(message, param="seconds")
    return frames
