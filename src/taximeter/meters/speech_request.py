"""A speech request in OpenAI's shape: checked, with defaults filled in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields
from taximeter.meters.errors import BadProfile, UnknownVoice, UnsupportedFormat

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
STREAM_FORMATS = ("audio", "sse")
SPEED_MIN = "0.25"
SPEED_MAX = "4"
SPEED_DECIMALS = 6
NORMAL_SPEED = Fraction(1)
SPEEDS_KEPT_MAX = 1024
# OpenAI's own limit.
INPUT_CHARS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Speech:
    """What is to be said, and how; ``speed`` 2 is twice as fast."""

    text: str
    voice: str
    response_format: str
    speed: Fraction

    def to_engine(self) -> dict[str, Any]:
        """The request that an engine gets; the speed as a decimal text."""
        return {
            "input": self.text,
            "voice": self.voice,
            "response_format": self.response_format,
            "speed": _decimal_text(self.speed),
        }


def check_voices(voices: Sequence[str], formats: Sequence[str]) -> None:
    """Raises BadProfile unless there is a voice and every format is one of OpenAI's."""
    if not voices:
        raise BadProfile(key="voices", message="must name at least one voice")
    unknown = [form for form in formats if form not in FORMATS]
    if unknown or not formats:
        raise BadProfile(key="formats", message=f"must be some of {', '.join(FORMATS)}")


def read(request: Mapping[str, Any], voices: Sequence[str], formats: Sequence[str], chars_max: int) -> Speech:
    """Read and check a request.

    Raises:
        InvalidRequest: a field is missing, malformed or out of range.
        PromptTooLong: ``input`` has more than ``chars_max`` characters.
        UnknownVoice: the model has no such voice.
        UnsupportedFormat: the model does not produce this format.
    """
    text = fields.text(request.get("input"), "input", chars_max)
    # Most texts begin with something that can be said.
    if not text[0].isalnum() and not any(letter.isprintable() and not letter.isspace() for letter in text):
        message = "input has nothing that can be said"
        raise InvalidRequest(message, param="input")
    form = request.get("response_format")
    form = "mp3" if form is None else form
    if form not in formats:
        message = f"response_format must be one of {', '.join(formats)}"
        raise UnsupportedFormat(message, param="response_format")
    stream = request.get("stream_format")
    if stream is not None and stream not in STREAM_FORMATS:
        message = f"stream_format must be one of {', '.join(STREAM_FORMATS)}"
        raise UnsupportedFormat(message, param="stream_format")
    speed = request.get("speed")
    pace = NORMAL_SPEED if speed is None else _known_pace(speed) if type(speed) in {int, float, str} else _pace(speed)
    return Speech(text=text, voice=_voice(request.get("voice"), voices), response_format=form, speed=pace)


def _pace(speed: object) -> Fraction:
    # A slider's 1.2100000000000002 means 1.21; nobody hears a millionth.
    return round(fields.number(speed, "speed", SPEED_MIN, SPEED_MAX), SPEED_DECIMALS)


# The same few speeds are asked for again and again; what is refused is not remembered.
_known_pace = lru_cache(maxsize=SPEEDS_KEPT_MAX, typed=True)(_pace)


@lru_cache(maxsize=SPEEDS_KEPT_MAX)
def _decimal_text(speed: Fraction) -> str:
    """``1.0``, ``0.25``: with one decimal at least."""
    if speed.denominator == 1:
        return f"{speed.numerator}.0"
    whole, part = divmod(round(speed * 10**SPEED_DECIMALS), 10**SPEED_DECIMALS)
    return f"{whole}." + f"{part:0{SPEED_DECIMALS}d}".rstrip("0").ljust(1, "0")


def _voice(value: object, voices: Sequence[str]) -> str:
    name = value.get("id") if isinstance(value, dict) else value
    if name is None:
        message = f"voice is missing; choose one of {fields.listed(voices)}"
        raise InvalidRequest(message, param="voice")
    if not isinstance(name, str) or name not in voices:
        message = f"this model has no such voice; choose one of {fields.listed(voices)}"
        raise UnknownVoice(message, param="voice")
    return name
