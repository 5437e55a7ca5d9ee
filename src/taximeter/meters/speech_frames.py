"""``speech.frames/1``: speech models that make a whole line at once (Kokoro), counted in decoder frames.

How many frames a text becomes is decided inside the model.  The profile says, for each class of
character, how many frames and phonemes it likely and at most becomes at speed 1; the engine is told
the most, and stops there.
"""

import functools
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
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
KEPT_MAX = 16_384
WORD_KEPT_MAX = 40
_WORD = re.compile(r"[A-Za-z]+")
_VOWEL = re.compile(r"[aeiouyAEIOUY]")
_MARKS = frozenset(".,;:!?'\"()-/\n\r")

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
        likely_frames, likely_phonemes, most_frames, most_phonemes = _sums(entry.per_character, counts)
        if speech.speed != 1:
            likely_pace, most_pace = _paces(speech.speed)
            likely_frames = -(-likely_frames * likely_pace.numerator // likely_pace.denominator)
            most_frames = -(-most_frames * most_pace.numerator // most_pace.denominator)
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


def count_classes(text: str) -> dict[str, int]:
    """How many characters of each class a text has, and how many words.

    A run of letters is a word when people would read it as one: it has a vowel, and is neither an
    abbreviation in capitals nor capitals and small letters mixed.  Else it is spelled out.
    """
    counts = dict.fromkeys(CLASSES, 0)
    words = letters = spelled = 0
    for run in _WORD.findall(text):
        length = len(run)
        if _is_known_word(run) if length <= WORD_KEPT_MAX else _reads_as_word(run):
            words += 1
            letters += length
        else:
            spelled += length
    counts["word"], counts["letter"], counts["spelled"] = words, letters, spelled
    others = _WORD.sub("", text)
    counts["space"] = others.count(" ")
    for letter in others.replace(" ", ""):
        counts[_kind_of(letter)] += 1
    return counts


def _reads_as_word(run: str) -> bool:
    return len(run) > 1 and _VOWEL.search(run) is not None and (run[1:].islower() or (run.isupper() and len(run) > ABBREVIATION_MAX))


# A language has few words, and a text few different characters, however long it is.
_is_known_word = functools.lru_cache(maxsize=KEPT_MAX)(_reads_as_word)


@functools.lru_cache(maxsize=KEPT_MAX)
def _paces(speed: Fraction) -> tuple[Fraction, Fraction]:
    """Frames for one at speed 1, likely and at most."""
    slowness = 1 / speed
    return max(slowness, LIKELY_PACE_MIN), slowness * SLOW_MARGIN if slowness > 1 else max(slowness, MOST_PACE_MIN)


def _sums(classes: Classes, counts: Mapping[str, int]) -> tuple[int, int, int, int]:
    """At speed 1: likely frames and phonemes, and at most."""
    likely_frames, most_frames = classes.base.frames
    likely_phonemes, most_phonemes = classes.base.phonemes
    for name, count in counts.items():
        if count:
            spread: Range = getattr(classes, name)
            likely, most = spread.frames
            likely_frames += count * likely
            most_frames += count * most
            likely, most = spread.phonemes
            likely_phonemes += count * likely
            most_phonemes += count * most
    return likely_frames, likely_phonemes, most_frames, most_phonemes


@functools.lru_cache(maxsize=KEPT_MAX)
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
