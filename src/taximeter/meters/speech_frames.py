"""``speech.frames/1``: speech models that make a whole line at once (Kokoro), counted in decoder frames.

How many frames a text becomes is decided inside the model.  The profile says, for each class of
character, how many frames and phonemes it likely and at most becomes at speed 1; the engine is told
the most, and stops there.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any

import msgspec

from taximeter.meters import fields, speech_request
from taximeter.meters.errors import BadProfile
from taximeter.meters.model import Estimate, Work

WIDE_FROM = 0x2E80  # CJK radicals and everything after: mostly one syllable a character.
LATIN_END = 0x250
CLASSES = ("word", "letter", "spelled", "accented", "digit", "wide", "mark", "space", "other")
# Capitals of this many letters and fewer are an abbreviation.
ABBREVIATION_MAX = 5
_WORD = re.compile(r"[A-Za-z]+")
_VOWEL = re.compile(r"[aeiouyAEIOUY]")
_MARKS = frozenset(".,;:!?'\"()-/\n\r")

# Languages have some thousands of characters and common words; what each is does not change.
KINDS_KEPT_MAX = 8192
REMEMBERED_CHARS_MAX = 32

# Speech at half the speed has somewhat more than twice the frames; and however fast it is, a phoneme
# keeps at least one frame.
SLOW_MARGIN = Fraction(5, 4)
LIKELY_PACE_MIN = Fraction(45, 100)
MOST_PACE_MIN = Fraction(55, 100)


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What one character likely and at most becomes, at speed 1."""

    frames: tuple[int, int]
    phonemes: tuple[int, int]


class Classes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A range for each class of character; ``word`` is due once a word, ``base`` once a text (silence around it)."""

    base: Range
    word: Range
    letter: Range
    spelled: Range
    accented: Range
    digit: Range
    wide: Range
    mark: Range
    space: Range
    other: Range


class FramesProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, dict=True):
    """A whole-line speech model's entry in the catalog."""

    voices: tuple[str, ...]
    formats: tuple[str, ...] = speech_request.FORMATS
    input_chars: int = speech_request.INPUT_CHARS_MAX
    frames_max: int
    per_character: Classes

    @cached_property
    def rates(self) -> tuple[tuple[str, int, int, int, int], ...]:
        """Each class with its frames and phonemes, likely, then at most."""
        spreads = [(name, getattr(self.per_character, name)) for name in CLASSES]
        return tuple((name, *(pair[side] for side in (0, 1) for pair in (spread.frames, spread.phonemes))) for name, spread in spreads)


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
        base = entry.per_character.base
        (likely_frames, most_frames), (likely_phonemes, most_phonemes) = base.frames, base.phonemes
        for name, frames, phonemes, frames_most, phonemes_most in entry.rates:
            count = counts[name]
            if count:
                likely_frames += count * frames
                likely_phonemes += count * phonemes
                most_frames += count * frames_most
                most_phonemes += count * phonemes_most
        if speech.speed != 1:
            most_of_one = most_frames
            fast, slow = speech.speed.as_integer_ratio()
            likely_frames = max(_up(likely_frames * slow, fast), _times(likely_frames, LIKELY_PACE_MIN))
            most_frames = max(_up(most_frames * slow, fast), _times(most_frames, MOST_PACE_MIN))
            if slow > fast:
                most_frames = max(most_frames, _up(most_of_one * slow * SLOW_MARGIN.numerator, fast * SLOW_MARGIN.denominator))
        most_frames = min(entry.frames_max, most_frames)
        likely_frames = min(likely_frames, most_frames)
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


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _times(count: int, share: Fraction) -> int:
    return _up(count * share.numerator, share.denominator)


def count_classes(text: str) -> dict[str, int]:
    """How many characters of each class a text has, and how many words.

    A run of letters is a word when people would read it as one: it has a vowel, and is neither an
    abbreviation in capitals nor capitals and small letters mixed.  Else it is spelled out.
    """
    counts = dict.fromkeys(CLASSES, 0)
    words = letters = spelled = 0
    for run in _WORD.findall(text):
        # A run of hundreds of letters is not worth remembering.
        if _is_word(run) if len(run) <= REMEMBERED_CHARS_MAX else _is_word.__wrapped__(run):
            words += 1
            letters += len(run)
        else:
            spelled += len(run)
    counts["word"], counts["letter"], counts["spelled"] = words, letters, spelled
    for letter in _WORD.sub("", text):
        counts[_kind_of(letter)] += 1
    return counts


@lru_cache(maxsize=KINDS_KEPT_MAX)
def _is_word(run: str) -> bool:
    return len(run) > 1 and _VOWEL.search(run) is not None and (run[1:].islower() or (run.isupper() and len(run) > ABBREVIATION_MAX))


@lru_cache(maxsize=KINDS_KEPT_MAX)
def _kind_of(letter: str) -> str:
    """The class of a character that is no plain letter: digits become words, anything rare is ``other``."""
    if letter in _MARKS:
        return "mark"
    if letter.isspace():
        return "space"
    if ord(letter) >= WIDE_FROM:
        return "wide" if unicodedata.category(letter) in {"Lo", "Po", "Ps", "Pe"} else "other"
    if letter.isdigit():
        return "digit"
    return "accented" if letter.isalpha() and ord(letter) < LATIN_END else "other"
