"""From text to what the model is given: one line of phonemes for each thing it says in one go."""

from collections.abc import AsyncGenerator

import msgspec

from taximeter.engines.demo.speech import chinese, english
from taximeter.engines.demo.speech.phonemizer import Phonemizer
from taximeter.engines.demo.speech.symbols import clean, cut, is_audible
from taximeter.engines.demo.speech.text import Sentence, sentences

# The model says very short lines badly, and pays for the silence around each: they join the next sentence.
_SHORT = 24
ENGLISH = "en-us"


class Line(msgspec.Struct, frozen=True):
    """One call of the model.

    Attributes:
        phonemes: cleaned symbols, audible, at most the limit that was asked for.
        skipped: characters of the text before it that no voice here can say.
    """

    phonemes: str
    skipped: int


async def lines(text: str, phonemizer: Phonemizer, limit: int) -> AsyncGenerator[Line, None]:
    """Everything to be said, in order, made as it is needed.

    Args:
        text: what the caller wants to hear.
        phonemizer: for the English parts.
        limit: most symbols in one line.
    """
    waiting = ""
    skipped = 0
    for sentence in sentences(text):
        skipped += sentence.skipped
        sound = await _phonemes(sentence, phonemizer)
        waiting = f"{waiting} {sound}".strip()
        if len(waiting) < _SHORT:
            continue
        for piece in cut(waiting, limit):
            yield Line(piece, skipped)
            skipped = 0
        waiting = ""
    if is_audible(waiting):
        for piece in cut(waiting, limit):
            yield Line(piece, skipped)
            skipped = 0
    elif skipped:
        yield Line("", skipped)


async def _phonemes(sentence: Sentence, phonemizer: Phonemizer) -> str:
    parts: list[str] = []
    for stretch in sentence.stretches:
        if stretch.language == "zh":
            parts.append(chinese.phonemes(stretch.text))
        else:
            pairs = english.segments(stretch.text)
            spoken = await phonemizer.phonemes([words for words, _ in pairs], ENGLISH) if any(words for words, _ in pairs) else [""] * len(pairs)
            parts.append(english.join([(english.symbols(ipa), mark) for ipa, (_, mark) in zip(spoken, pairs, strict=True)]))
    return clean(" ".join(parts))
