"""From the caller's text to sentences, and from a sentence to stretches of one language.

Letters decide the language: Chinese characters are Chinese; Latin and Greek letters are English.  Digits and
symbols go with the letters before them, or after them at the beginning.  Letters of other scripts cannot be
spoken by this engine; they are left out and counted.
"""

# ruff: noqa: RUF001, RUF002 - letters of phonetic and Chinese writing are meant, not their Latin look-alikes

import re
import unicodedata

import msgspec

from taximeter.engines.demo.speech.offer import Language

HAN = "\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003fffd"
_HAN = re.compile(f"[{HAN}]")
# Latin-1 and Latin Extended-A; espeak spells most letters beyond as "letter one e seven".
_LATIN_LAST = 0x017F
_GREEK = range(0x0370, 0x0400)
_EMOJI_JOINER = "\u200d"
_EMOJI_SELECTOR = "\ufe0f"
# Punctuation and signs that have names in English: Latin-1, general, currency to arrows and shapes, CJK and wide, emoji.
_SIGNS = (
    *((0x00A0, 0x00BF), (0x00D7, 0x00D7), (0x00F7, 0x00F7), (0x2010, 0x27FF)),
    *((0x2900, 0x2BFF), (0x3000, 0x303F), (0xFE30, 0xFFFF), (0x1F000, 0x1FAFF)),
)
_ABBREVIATIONS = frozenset({"mr", "mrs", "ms", "dr", "prof", "st", "jr", "sr", "vs", "e.g", "i.e", "no", "fig", "vol"})
_END = re.compile(r"(?:[.!?…]+[\"'”’)\]]*(?=\s|$))|(?:[。！？；]+[”’」』）]*)|\n+")
_LAST_WORD = re.compile(r"([\w.]+)\.$")


class Stretch(msgspec.Struct, frozen=True):
    """Text in one language."""

    language: Language
    text: str


class Sentence(msgspec.Struct, frozen=True):
    """One sentence, with the number of its characters that cannot be spoken."""

    stretches: tuple[Stretch, ...]
    skipped: int


def sentences(text: str) -> list[Sentence]:
    """Cut a text into sentences, each in stretches of one language; empty ones are left out."""
    found: list[Sentence] = []
    language: Language = "zh" if _HAN.search(text) and not re.search("[A-Za-z]", text) else "en"
    for raw in _cut(text):
        plain, skipped = _plain(raw)
        stretches = _stretches(plain, language)
        if stretches:
            language = stretches[-1].language
        if stretches or skipped:
            found.append(Sentence(stretches=stretches, skipped=skipped))
    return found


def _cut(text: str) -> list[str]:
    parts: list[str] = []
    start = 0
    for match in _END.finditer(text):
        word = _LAST_WORD.search(text[start : match.end()].rstrip())
        if match.group() == "." and word and word.group(1).lower() in _ABBREVIATIONS:
            continue
        parts.append(text[start : match.end()])
        start = match.end()
    parts.append(text[start:])
    return [part for part in (raw.strip() for raw in parts) if part]


def _plain(raw: str) -> tuple[str, int]:
    """The sentence in characters that can be spoken, and how many had to go."""
    letters: list[str] = []
    skipped = 0
    for letter in unicodedata.normalize("NFC", raw):
        spoken = _letter(letter)
        if spoken is None:
            skipped += 1
        else:
            letters.append(spoken)
    return " ".join("".join(letters).split()), skipped


def _letter(letter: str) -> str | None:
    """How one character goes on: itself, its plain form, a space, or None when no language here has it."""
    category = unicodedata.category(letter)
    if letter < "\x7f":
        return letter if letter.isprintable() else " "
    if category[0] == "L" or category in {"Nd", "Nl"}:
        return letter if _HAN.match(letter) else _folded(letter)
    if category[0] == "M":
        # Accents that did not compose say nothing; the emoji selector chooses a picture, not a word.
        return letter if letter == _EMOJI_SELECTOR else ""
    if category[0] in "CZ":
        return letter if letter == _EMOJI_JOINER else " "
    return letter if any(first <= ord(letter) <= last for first, last in _SIGNS) else None


def _folded(letter: str) -> str | None:
    """A letter or digit of any style or width as a plain one: ``Ａ`` is ``A``, ``𝟜`` is ``4``."""
    folded = unicodedata.normalize("NFKC", letter)
    if all(map(_is_english, folded)):
        return folded
    base = unicodedata.normalize("NFKD", letter)[0]
    return base if _is_english(base) else None


def _is_english(letter: str) -> bool:
    if letter.isascii():
        return True
    return unicodedata.category(letter)[0] == "L" and (ord(letter) <= _LATIN_LAST or ord(letter) in _GREEK)


def _stretches(plain: str, before: Language) -> tuple[Stretch, ...]:
    marks = [_language(letter) for letter in plain]
    current: Language = next((mark for mark in marks if mark is not None), before)
    groups: list[tuple[Language, list[str]]] = []
    for letter, mark in zip(plain, marks, strict=True):
        current = mark or current
        if not groups or groups[-1][0] != current:
            groups.append((current, []))
        groups[-1][1].append(letter)
    return tuple(Stretch(language, "".join(letters).strip()) for language, letters in groups if "".join(letters).strip())


def _language(letter: str) -> Language | None:
    if _HAN.match(letter):
        return "zh"
    return "en" if letter.isalpha() else None
