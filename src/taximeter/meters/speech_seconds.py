"""``speech.seconds/1``: speech that is sold by the length of its sound, in whole samples and milliseconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec

from taximeter.meters import fields, speech_pace, speech_request
from taximeter.meters.errors import BadProfile, BadReport
from taximeter.meters.model import Estimate, Work

MS_PER_S = 1000


class Pace(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Milliseconds at speed 1, likely and at most: of a narrow character, a wide one (Chinese and the like), and of silence around a text."""

    narrow: tuple[int, int]
    wide: tuple[int, int]
    base: tuple[int, int]


class SecondsProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The catalog's entry of a speech model that is sold by the second."""

    voices: tuple[str, ...]
    formats: tuple[str, ...] = speech_request.FORMATS
    input_chars: int = speech_request.INPUT_CHARS_MAX
    sample_rate_hz: int
    seconds_max: int
    ms_per_character: Pace


@dataclass(frozen=True, slots=True)
class SpeechSeconds:
    """Speech, by the length of its sound."""

    id: str = "speech.seconds/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "characters": "characters of the text",
            "audio_samples": "samples of the sound, at the model's sample rate",
            "audio_ms": "milliseconds of the sound, rounded down",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(SecondsProfile, profile)
        speech_request.check_voices(entry.voices, entry.formats)
        for key in ("input_chars", "sample_rate_hz", "seconds_max"):
            if getattr(entry, key) < 1:
                raise BadProfile(key=key, message="must be at least 1")
        pace = entry.ms_per_character
        for name, (likely, most) in (("narrow", pace.narrow), ("wide", pace.wide), ("base", pace.base)):
            if not 0 <= likely <= most or most == 0:
                raise BadProfile(key="ms_per_character", message=f"{name}: write [likely, most] with 0 <= likely <= most and most above 0")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Expect and bound the length by the kinds of characters; ``seconds`` in the request replaces both.

        Raises InvalidRequest, PromptTooLong, UnknownVoice, UnsupportedFormat.
        """
        entry = fields.read_profile(SecondsProfile, profile)
        speech = speech_request.read(request, entry.voices, entry.formats, entry.input_chars)
        chars = len(speech.text)
        rate = entry.sample_rate_hz
        if request.get("seconds") is None:
            wide = speech_pace.wide_chars(speech.text)
            likely, most = (_samples(entry, chars, wide, speech.speed, side) for side in (0, 1))
        else:
            seconds: Fraction = fields.number(request["seconds"], "seconds", "0.01", entry.seconds_max)
            likely = most = _up(seconds.numerator * rate, seconds.denominator)
        return Estimate(
            expected=_work(chars, likely, rate),
            maximum=_work(chars, most, rate),
            bound={"audio_samples": most},
            request=speech.to_engine(),
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The samples that were made; from milliseconds only when the engine counts nothing finer.  Raises BadReport."""
        entry = fields.read_profile(SecondsProfile, profile)
        rate = fields.reported_quantity(reported, "sample_rate_hz", entry.sample_rate_hz)
        if rate != entry.sample_rate_hz:
            message = f"the engine made sound at {rate} Hz and the catalog says {entry.sample_rate_hz}; the request was not charged"
            raise BadReport(message)
        if "audio_samples" in reported or "audio_ms" not in reported:
            samples = fields.reported_quantity(reported, "audio_samples")
        else:
            samples = _up(fields.reported_quantity(reported, "audio_ms") * rate, MS_PER_S)
        return _work(estimate.expected["characters"], samples, rate)


def _work(characters: int, samples: int, rate: int) -> dict[str, int]:
    return {"characters": characters, "audio_samples": samples, "audio_ms": samples * MS_PER_S // rate}


def _samples(entry: SecondsProfile, chars: int, wide: int, speed: Fraction, side: int) -> int:
    """Samples at this speed, likely (side 0) or at most (side 1), never above the model's longest sound."""
    pace = entry.ms_per_character
    ms = pace.base[side] + wide * pace.wide[side] + (chars - wide) * pace.narrow[side]
    return min(entry.seconds_max * entry.sample_rate_hz, _up(ms * entry.sample_rate_hz * speed.denominator, MS_PER_S * speed.numerator))


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
