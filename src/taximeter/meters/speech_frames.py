"""``speech.frames/1``: speech models that make a whole line at once (Kokoro), counted in decoder frames.

How many frames a text becomes is decided inside the model.  The profile says, for each class of
character, how many frames and phonemes it likely and at most becomes at speed 1; the engine is told
the most, and stops there.
"""

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from taximeter.meters import fields, speech_request
from taximeter.meters.errors import BadProfile
from taximeter.meters.model import Estimate, Work

WIDE_FROM = 0x2E80  # CJK radicals and everything after: mostly one syllable a character.
CLASSES = ("letter", "spelled", "digit", "wide", "mark", "space", "other")
# A word of one of these runs is read as a word when it has a vowel and is not all capitals; else letter by letter.
_WORD = re.compile(r"[A-Za-z\u00c0-\u024f]+")
_VOWEL = re.compile(r"[aeiouyAEIOUY\u00c0-\u024f]")


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one character likely and at most becomes, at speed 1."""

    frames: tuple[int, int]
    phonemes: tuple[int, int]


class Classes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A range for each class of character; ``base`` is for the text as a whole (silence around it)."""

    base: Range
    letter: Range
    spelled: Range
    digit: Range
    wide: Range
    mark: Range
    space: Range
    other: Range


class FramesProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole-line speech model's entry in the catalog."""

    voices: tuple[str, ...]
    formats: tuple[str, ...] = speech_request.FORMATS
    input_chars: int = speech_request.INPUT_CHARS_MAX
    frames_max: int
    per_character: Classes


@dataclass(frozen=True, slots=True)
class SpeechFrames:
    """Speech, by decoder frame."""

    id: str = "speech.frames/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "characters": "characters of the text",
            "phoneme_tokens": "phonemes the model read",
            "audio_frames": "decoder frames it produced",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(FramesProfile, profile)
        speech_request.check_voices(entry.voices, entry.formats)
        if entry.input_chars < 1 or entry.frames_max < 1:
            raise BadProfile(key="input_chars" if entry.input_chars < 1 else "frames_max", message="must be at least 1")
        for name in ("base", *CLASSES):
            spread: Range = getattr(entry.per_character, name)
            if not all(0 <= likely <= most for likely, most in (spread.frames, spread.phonemes)):
                raise BadProfile(key="per_character", message=f"{name}: write [likely, most] with 0 <= likely <= most")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Expect and bound the frames by what kinds of characters the text has.

        Raises InvalidRequest, PromptTooLong, UnknownVoice, UnsupportedFormat.
        """
        entry = fields.read_profile(FramesProfile, profile)
        speech = speech_request.read(request, entry.voices, entry.formats, entry.input_chars)
        counts = count_classes(speech.text)
        sums = []
        for index in (0, 1):
            base = entry.per_character.base
            frames, phonemes = base.frames[index], base.phonemes[index]
            for name, count in counts.items():
                spread: Range = getattr(entry.per_character, name)
                frames += count * spread.frames[index]
                phonemes += count * spread.phonemes[index]
            # Durations are divided by the speed; each frame count is rounded up, for shorter ones never fall away.
            sums.append((min(entry.frames_max, math.ceil(frames / speech.speed)), phonemes))
        (likely_frames, likely_phonemes), (most_frames, most_phonemes) = sums
        characters = len(speech.text)
        return Estimate(
            expected={"characters": characters, "phoneme_tokens": likely_phonemes, "audio_frames": likely_frames},
            maximum={"characters": characters, "phoneme_tokens": most_phonemes, "audio_frames": most_frames},
            bound={"audio_frames": most_frames},
            request=speech.to_engine(),
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The engine's counts; characters are those of the request when it does not count them.  Raises BadReport."""
        del profile
        return {
            "characters": fields.reported_quantity(reported, "characters", estimate.expected["characters"]),
            "phoneme_tokens": fields.reported_quantity(reported, "phoneme_tokens"),
            "audio_frames": fields.reported_quantity(reported, "audio_frames"),
        }


def count_classes(text: str) -> dict[str, int]:
    """How many characters of each class a text has."""
    counts = dict.fromkeys(CLASSES, 0)
    for word in _WORD.findall(text):
        counts["letter" if _VOWEL.search(word) and not word.isupper() else "spelled"] += len(word)
    for letter in _WORD.sub("", text):
        counts[_kind_of(letter)] += 1
    return counts


def _kind_of(letter: str) -> str:
    """The class of a character outside Latin words: digits become words, anything rare is ``other``."""
    if letter.isspace():
        return "space"
    if ord(letter) >= WIDE_FROM:
        return "wide" if unicodedata.category(letter) in {"Lo", "Po", "Ps", "Pe"} else "other"
    if letter.isdigit():
        return "digit"
    return "mark" if letter in ".,;:!?'\"()-" else "other"
