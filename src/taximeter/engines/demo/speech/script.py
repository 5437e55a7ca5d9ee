"""From text to what the model is given: one line of phonemes for each thing it says in one go."""

from collections.abc import AsyncGenerator, Iterator

import msgspec

from taximeter.engines.demo.speech import chinese, english
from taximeter.engines.demo.speech.offer import Language
from taximeter.engines.demo.speech.phonemizer import Phonemizer
from taximeter.engines.demo.speech.symbols import clean, cut, is_audible
from taximeter.engines.demo.speech.text import Sentence, sentences

# The model says very short lines badly, and pays for the silence around each: they join the next sentence.
_SHORT = 24
# One in another language, for another voice, is joined only when it is a word or two.
_SHORT_FOREIGN = 8
ENGLISH = "en-us"


class Line(msgspec.Struct, frozen=True):
    """One call of the model.

    Attributes:
        phonemes: cleaned symbols, audible, at most the limit that was asked for.
        languages: those it has words of.
        skipped: characters of the text before it that no voice here can say.
    """

    phonemes: str
    languages: frozenset[Language]
    skipped: int


class _Sound(msgspec.Struct, frozen=True):
    """Phonemes, and the languages of the words among them."""

    phonemes: str = ""
    languages: frozenset[Language] = frozenset()

    def then(self, other: "_Sound") -> "_Sound":
        return _Sound(f"{self.phonemes} {other.phonemes}".strip(), self.languages | other.languages)

    def joins(self, other: "_Sound") -> bool:
        """Whether it is too short to stand alone before the other."""
        return len(self.phonemes) < (_SHORT if self.languages & other.languages or not other.languages else _SHORT_FOREIGN)

    def lines(self, limit: int, skipped: int) -> Iterator[Line]:
        for piece in cut(self.phonemes, limit):
            yield Line(piece, self.languages, skipped)
            skipped = 0


async def lines(text: str, phonemizer: Phonemizer, limit: int, *, part: bool) -> AsyncGenerator[Line, None]:
    """Everything to be said, in order, made as it is needed.

    Args:
        text: what the caller wants to hear.
        phonemizer: for the English parts.
        limit: most symbols in one line.
        part: do not join a sentence to one in another language, unless it is a word or two.
    """
    waiting = _Sound()
    skipped = 0
    for sentence in sentences(text):
        sound = await _sound(sentence, phonemizer)
        if part and is_audible(waiting.phonemes) and not waiting.joins(sound):
            for line in waiting.lines(limit, skipped):
                yield line
            waiting, skipped = _Sound(), 0
        waiting = waiting.then(sound)
        skipped += sentence.skipped
        if len(waiting.phonemes) >= _SHORT:
            for line in waiting.lines(limit, skipped):
                yield line
                skipped = 0
            waiting = _Sound()
    if is_audible(waiting.phonemes):
        for line in waiting.lines(limit, skipped):
            yield line
    elif skipped:
        yield Line("", waiting.languages, skipped)


async def _sound(sentence: Sentence, phonemizer: Phonemizer) -> _Sound:
    parts: list[str] = []
    languages: set[Language] = set()
    for stretch in sentence.stretches:
        if stretch.language == "zh":
            parts.append(chinese.phonemes(stretch.text))
        else:
            pairs = english.segments(stretch.text)
            spoken = await phonemizer.phonemes([words for words, _ in pairs], ENGLISH) if any(words for words, _ in pairs) else [""] * len(pairs)
            parts.append(english.join([(english.symbols(ipa), mark) for ipa, (_, mark) in zip(spoken, pairs, strict=True)]))
        if is_audible(parts[-1]):
            languages.add(stretch.language)
    return _Sound(clean(" ".join(parts)), frozenset(languages))
