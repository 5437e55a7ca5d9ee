"""Prompt -> reading: which subjects, how many, in which colours, where, when, in what weather, moving how."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from taximeter.engines.demo.video.words import HAN_WORD_MAX, PHRASE_WORDS_MAX, VOCABULARY, singular

COUNT_MAX = 12
SUBJECTS_MAX = 24
"""Subjects in one picture; what a prompt names beyond them is not drawn, so that no prompt makes a film slow."""

LETTERS_MAX = 4000
UNKNOWN_MAX = 4
PLURAL_COUNT = {"star": 9, "flower": 5, "tree": 4, "pine": 4, "bird": 4, "fish": 4, "cloud": 4}

# English words, numbers, runs of Chinese, and marks that end a phrase (the last six are the Chinese ones).
_PIECES = re.compile(r"[a-z][a-z'\u2019\-]*|\d+|[\u3400-\u9fff]+|[,.;!?\uff0c\u3002\uff1b\uff01\uff1f\u3001]")


@dataclass(slots=True)
class Mention:
    """One thing the prompt asks for.  None means that the prompt does not say."""

    kind: str
    count: int = 1
    colour: str | None = None
    motion: str | None = None


@dataclass(slots=True)
class Reading:
    """What a prompt says, in its own order.

    Attributes:
        mentions: known subjects.
        unknown: words without a drawing, at most UNKNOWN_MAX, with the colour said of them; they become abstract shapes.
        place: where, ``""`` when not said.
        tint: the colour said of the place ("a *blue* sea").
        time: ``day``, ``night``, ``sunset`` or ``""``.
        weather: ``rain``, ``snow`` or ``""``.
        pace: ``fast``, ``slow`` or ``""``.
        way: ``left``, ``right`` or ``""``.
    """

    mentions: list[Mention] = field(default_factory=list)
    unknown: dict[str, str | None] = field(default_factory=dict)
    place: str = ""
    tint: str | None = None
    time: str = ""
    weather: str = ""
    pace: str = ""
    way: str = ""


def read_prompt(prompt: str) -> Reading:
    """Understand a prompt in English, Chinese, or both; of a very long one, its first LETTERS_MAX letters."""
    reader = _Reader()
    for kind, meaning, plural in _tokens(prompt[:LETTERS_MAX].lower()):
        reader.take(kind, meaning, plural=plural)
    return reader.end()


class _Reader:
    """Goes through the words once; what is said before a noun waits for it."""

    def __init__(self) -> None:
        self._reading = Reading()
        self._colour: str | None = None
        self._count: int | None = None
        self._motion: str | None = None
        # "snow *falling*" moves no subject, so it matters whether the last meaningful word was about the setting.
        self._after_setting = False

    def take(self, kind: str, meaning: str, *, plural: bool) -> None:
        """The next word."""
        if kind == "glue":
            return
        if kind == "subject":
            self._subject(meaning, plural=plural)
        elif kind == "colour":
            self._colour = meaning
        elif kind == "count":
            self._count = min(int(meaning), COUNT_MAX)
        elif kind == "motion":
            self._move(meaning)
        elif kind == "unknown":
            self._unknown(meaning)
        elif kind == "stop":
            self._count = None
        else:
            self._setting(kind, meaning)
        self._after_setting = kind in ("weather", "place")

    def end(self) -> Reading:
        """Everything that was understood; a colour that still waits came after its noun ("the cat is red")."""
        reading = self._reading
        if self._colour is None:
            return reading
        if reading.mentions and reading.mentions[-1].colour is None:
            reading.mentions[-1].colour = self._colour
        elif reading.place and reading.tint is None:
            reading.tint = self._colour
        return reading

    def _subject(self, kind: str, *, plural: bool) -> None:
        count = self._count or (PLURAL_COUNT.get(kind, 3) if plural else 1)
        room = SUBJECTS_MAX - sum(mention.count for mention in self._reading.mentions)
        if room > 0:
            self._reading.mentions.append(Mention(kind, min(count, room), self._colour, self._motion))
        self._colour = self._count = self._motion = None

    def _move(self, motion: str) -> None:
        """A motion belongs to the subject before it; at the start of a prompt, to the one after it."""
        mentions = self._reading.mentions
        if self._after_setting and motion == "fall":
            return
        if mentions and mentions[-1].motion is None:
            mentions[-1].motion = motion
        else:
            self._motion = motion

    def _unknown(self, word: str) -> None:
        unknown = self._reading.unknown
        if word not in unknown and len(unknown) < UNKNOWN_MAX:
            unknown[word] = self._colour
        self._count = None

    def _setting(self, kind: str, meaning: str) -> None:
        reading = self._reading
        if kind == "place":
            # "in the sky" places a subject; it only becomes the place when nothing else does.
            if not reading.place or reading.place == "sky":
                reading.place, reading.tint = meaning, self._colour
            if meaning == "snow" and not reading.weather:
                reading.weather = "snow"
            self._colour = self._count = None
        elif kind == "time":
            reading.time = reading.time or meaning
        elif kind == "weather":
            reading.weather = meaning
            self._colour = None
        elif kind == "pace":
            reading.pace = meaning
        else:
            reading.way = meaning


def _tokens(text: str) -> Iterator[tuple[str, str, bool]]:
    """Kind, meaning and whether the word was a plural, in the prompt's order."""
    pieces = _PIECES.findall(text)
    index = 0
    while index < len(pieces):
        piece = pieces[index]
        if piece.isdigit():
            number = int(piece[:4])
            yield ("count", piece[:4], False) if 0 < number <= COUNT_MAX else ("glue", "", False)
        elif piece[0].isascii() and piece[0].isalpha():
            taken, token = _english(pieces, index)
            yield token
            index += taken
            continue
        elif "\u3400" <= piece[0] <= "\u9fff":
            yield from _chinese(piece)
        else:
            yield ("stop", "", False)
        index += 1


def _english(pieces: list[str], index: int) -> tuple[int, tuple[str, str, bool]]:
    """The longest known phrase that starts here, else one word."""
    for size in range(min(PHRASE_WORDS_MAX, len(pieces) - index), 1, -1):
        *head, last = pieces[index : index + size]
        known = VOCABULARY.get(" ".join([*head, singular(last)]))
        if known is not None:
            return size, (*known, singular(last) != last)
    word = pieces[index].replace("\u2019", "'").removesuffix("'s").strip("-'")
    stem = singular(word)
    known = VOCABULARY.get(stem)
    if known is not None:
        return 1, (*known, stem != word)
    if "-" in word:
        # "rose-coloured", "sun-drenched": the first part that is known speaks for the word.
        for part in word.split("-"):
            if singular(part) in VOCABULARY:
                return 1, (*VOCABULARY[singular(part)], False)
    return 1, (("unknown", word, False) if len(word) > 2 else ("glue", "", False))  # noqa: PLR2004 - two letters carry no picture


def _chinese(run: str) -> Iterator[tuple[str, str, bool]]:
    """Longest match from the left; what no word covers is one unknown word per gap."""
    gap = ""
    index = 0
    while index < len(run):
        for size in range(min(HAN_WORD_MAX, len(run) - index), 0, -1):
            known = VOCABULARY.get(run[index : index + size])
            if known is not None:
                break
        else:
            gap += run[index]
            index += 1
            continue
        if gap:
            yield ("unknown", gap, False)
            gap = ""
        yield (*known, False)
        index += size
    if gap:
        yield ("unknown", gap, False)
