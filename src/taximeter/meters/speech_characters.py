"""``speech.characters/1``: speech that is sold by the character of the text, as its provider counts characters."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from taximeter.meters import fields, speech_request
from taximeter.meters.errors import BadProfile
from taximeter.meters.model import Estimate, Work

RULES: Mapping[str, int] = {"plain": 1, "han-double": 2}
"""What a Chinese character counts by each rule; every other character counts 1."""
# Han characters wherever they are used: radicals, the iteration mark and zero, the unified blocks and their supplements.
_HAN = re.compile("[\u2e80-\u2fd5\u3005\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U000323af]+")


class CharactersProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The catalog's entry of a speech model that is sold by the character."""

    voices: tuple[str, ...]
    formats: tuple[str, ...] = speech_request.FORMATS
    input_chars: int = speech_request.INPUT_CHARS_MAX
    rule: Literal["plain", "han-double"] = "plain"


def han_characters(text: str) -> int:
    """How many Chinese characters (hanzi, kanji, hanja) a text has."""
    return 0 if text.isascii() else sum([len(run) for run in _HAN.findall(text)])


@dataclass(frozen=True, slots=True)
class SpeechCharacters:
    """Speech, by character."""

    id: str = "speech.characters/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "characters": "characters of the text, each once",
            "han_characters": "Chinese characters among them",
            "han_counts_as": "the rule: what a Chinese character counts, 1 (plain) or 2 (han-double)",
            "billed_characters": "characters by that rule",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(CharactersProfile, profile)
        speech_request.check_voices(entry.voices, entry.formats)
        if entry.input_chars < 1:
            raise BadProfile(key="input_chars", message="must be at least 1")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Count the text: what is expected is what is held.

        Raises InvalidRequest, PromptTooLong, UnknownVoice, UnsupportedFormat.
        """
        entry = fields.read_profile(CharactersProfile, profile)
        speech = speech_request.read(request, entry.voices, entry.formats, entry.input_chars)
        chars, han = len(speech.text), han_characters(speech.text)
        weight = RULES[entry.rule]
        billed = chars + han * (weight - 1)
        work = {"characters": chars, "han_characters": han, "han_counts_as": weight, "billed_characters": billed}
        return Estimate(expected=work, maximum=work, bound={"characters": chars}, request=speech.to_engine())

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The text was counted before it ran; a provider's own count of billed characters goes before ours.  Raises BadReport.

        A report without any count of characters is refused: it says nothing about what was spoken.
        """
        del profile
        if "billed_characters" not in reported:
            fields.reported_quantity(reported, "characters")
        billed = fields.reported_quantity(reported, "billed_characters", estimate.expected["billed_characters"])
        return {**estimate.expected, "billed_characters": billed}
