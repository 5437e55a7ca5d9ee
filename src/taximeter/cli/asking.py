"""From a few words (``seconds=5``, ``chars=200``) to the body that a caller would send.  Pure.

The command line and notebooks ask in these words; whoever has the body already needs none of them.
"""

from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields, speech_request
from taximeter.pricing import ModelEntry

CHARS_MAX = 1_000_000
MAX_TOKENS_MAX = 10_000_000
# Enough text that nobody waits for it, little enough to be typical.
CHARS_TYPICAL = {"chat": 200, "classification": 60, "embeddings": 200, "images": 60, "speech": 60, "video": 1}
CHARS_PER_SPOKEN_S = 15
SPOKEN_S_MAX = 3600
# Their meters count the text and take no length: a sample text stands for it.
COUNT_TEXT = ("speech.characters/", "speech.frames/")
SAMPLE = "The meter runs only while the work is done, and the receipt says what was measured, by which card, and why. "

_PICTURE = {"chars", "text", "size", "steps", "guidance"}
WORDS: Mapping[str, frozenset[str]] = {
    "chat": frozenset({"chars", "text", "max_tokens"}),
    "classification": frozenset({"chars", "text"}),
    "embeddings": frozenset({"chars", "text"}),
    "images": frozenset({*_PICTURE, "images"}),
    "speech": frozenset({"chars", "text", "seconds", "speed"}),
    "video": frozenset({*_PICTURE, "seconds", "frames", "fps"}),
    "other": frozenset(),
}
"""Which words say something about a request of each modality."""
ALL_WORDS = frozenset().union(*WORDS.values())


def body(model: ModelEntry, given: Mapping[str, Any], spell: Callable[[str], str] = str) -> dict[str, Any]:
    """The body that ``given`` describes; without a text a sample of typical length stands in its place.

    ``spell`` writes a word as its user did (``--max-tokens``).  Raises InvalidRequest for words that say nothing about the model.
    """
    modality = model.modality
    for name in sorted(given.keys() - WORDS[modality]):
        if modality == "other":
            message = f"{model.name} is of no common kind: give the whole body as {spell('request')}"
        elif name in ALL_WORDS:
            message = f"{spell(name)} says nothing about {_an(modality)} model; leave it out"
        else:
            message = f"{spell(name)} is unknown; {_an(modality)} model can be asked about by {', '.join(map(spell, sorted(WORDS[modality])))}"
        raise InvalidRequest(message)
    if modality == "other":
        message = f"{model.name} is of no common kind: give the whole body as {spell('request')}"
        raise InvalidRequest(message)
    text = _text(given, model, spell)
    if modality == "chat":
        limit = {"max_tokens": _whole(given["max_tokens"], spell("max_tokens"), MAX_TOKENS_MAX)} if "max_tokens" in given else {}
        return {"messages": [{"role": "user", "content": text}]} | limit
    if modality in ("embeddings", "classification"):
        return {"input": text}
    if modality == "speech":
        kept = ("speed",) if model.meter.startswith(COUNT_TEXT) else ("seconds", "speed")
        return {"input": text, "voice": model.profile["voices"][0]} | _kept(given, *kept)
    if modality == "images":
        return {"prompt": text} | _kept(given, "size", "steps", "guidance") | ({"n": given["images"]} if "images" in given else {})
    return {"prompt": text} | _kept(given, "size", "seconds", "frames", "fps", "steps", "guidance")


def _kept(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if name in given}


def _an(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def _spoken_chars(given: Mapping[str, Any], model: ModelEntry, spell: Callable[[str], str]) -> int:
    """The characters of a sample that takes about ``seconds`` to say.  Raises InvalidRequest, naming the limit of the model."""
    profile = model.profile
    chars_max: int = profile.get("input_chars", speech_request.INPUT_CHARS_MAX)
    pace = CHARS_PER_SPOKEN_S * fields.number(given.get("speed", 1), spell("speed"), speech_request.SPEED_MIN, speech_request.SPEED_MAX)
    counts_text = model.meter.startswith(COUNT_TEXT)
    limit = max(1, int(chars_max / pace)) if counts_text else profile.get("seconds_max", SPOKEN_S_MAX)
    seconds = fields.number(given["seconds"], spell("seconds"), "0.01", limit)
    if counts_text and given.keys() & {"chars", "text"}:
        message = f"{model.name} is metered by its text, so that {spell('seconds')} says nothing beside one; leave it out"
        raise InvalidRequest(message)
    return min(chars_max, ceil(seconds * pace))


def _text(given: Mapping[str, Any], model: ModelEntry, spell: Callable[[str], str]) -> str:
    modality = model.modality
    spoken = _spoken_chars(given, model, spell) if modality == "speech" and "seconds" in given else None
    if "text" in given and "chars" in given:
        message = f"{spell('text')} has its own length; leave {spell('chars')} out"
        raise InvalidRequest(message)
    if "text" in given:
        return str(given["text"])
    if "chars" in given:
        count = _whole(given["chars"], spell("chars"), CHARS_MAX)
    elif spoken is not None:
        count = spoken
    else:
        count = CHARS_TYPICAL[modality]
    if modality == "video":
        # The founding formula gives 0 to 9 characters the same single Token; a prompt has at least one.
        return "x" * max(1, count)
    return (SAMPLE * (count // len(SAMPLE) + 1))[:count]


def _whole(value: object, name: str, high: int) -> int:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= len(str(high)) else high + 1
    if number > high:
        message = f"{name} must be a whole number from 0 to {high}"
        raise InvalidRequest(message)
    return number
