"""Kokoro's alphabet: which number the model knows each sound by, and how sounds are cut into calls.

The numbers are those of the published configuration of Kokoro-82M v1.0 (hexgrad, Apache-2.0); a test compares
them with the copy that comes with the model files.
"""

# ruff: noqa: RUF001 - letters of phonetic and Chinese writing are meant, not their Latin look-alikes

import re
from collections.abc import Iterator

# The model's context is 512 positions, two of them padding.
TOKENS_MAX = 510

_RUNS: tuple[tuple[int, str], ...] = (
    (1, ";:,.!?"),
    (9, '—…"()“” \u0303ʣʥʦʨᵝ\uab67AI'),
    (31, "O"),
    (33, "Q"),
    (35, "ST"),
    (39, "W"),
    (41, "Yᵊabcdef"),
    (50, "hijklmnopqrstuvwxyzɑɐɒæ"),
    (75, "βɔɕç"),
    (80, "ɖðʤə"),
    (85, "ɚɛɜ"),
    (90, "ɟ"),
    (92, "ɡ"),
    (99, "ɥ"),
    (101, "ɨɪʝ"),
    (110, "ɯɰŋɳɲɴø"),
    (118, "ɸθœ"),
    (123, "ɹ"),
    (125, "ɾɻ"),
    (128, "ʁɽʂʃʈʧ"),
    (135, "ʊʋ"),
    (138, "ʌɣɤ"),
    (142, "χʎ"),
    (147, "ʒʔ"),
    (156, "ˈˌː"),
    (162, "ʰ"),
    (164, "ʲ"),
    (169, "↓"),
    (171, "→↗↘"),
    (177, "ᵻ"),
)
TOKEN_OF: dict[str, int] = {letter: first + offset for first, letters in _RUNS for offset, letter in enumerate(letters)}

SENTENCE_MARKS = ".!?…"
CLAUSE_MARKS = ",;:—)”"
_SILENT = frozenset(TOKEN_OF[letter] for letter in ';:,.!?—…"()“” ˈˌː')
# Best place to cut first: after a sentence, after a clause, between words.
_CUTS = (
    re.compile(rf"(?<=[{re.escape(SENTENCE_MARKS)}]) +"),
    re.compile(rf"(?<=[{re.escape(CLAUSE_MARKS)}]) +"),
    re.compile(r" +"),
)


def clean(phonemes: str) -> str:
    """Only what the model knows, with single spaces."""
    known = "".join(letter if letter in TOKEN_OF else " " if letter.isspace() else "" for letter in phonemes)
    return " ".join(known.split())


def tokens(phonemes: str) -> list[int]:
    """The model's numbers for a cleaned string."""
    return [TOKEN_OF[letter] for letter in phonemes]


def is_audible(phonemes: str) -> bool:
    """False for an empty string and for bare punctuation, which the model would answer with noise."""
    return any(TOKEN_OF[letter] not in _SILENT for letter in phonemes if letter in TOKEN_OF)


def cut(phonemes: str, limit: int) -> list[str]:
    """Pieces of at most ``limit`` symbols, cut where it is heard least; nothing audible is dropped.

    Args:
        phonemes: a cleaned string.
        limit: most symbols in one piece, 1 to 510.

    Returns:
        The pieces in order; pieces that hold no sound are left out.
    """
    assert 1 <= limit <= TOKENS_MAX
    pieces: list[str] = []
    for atom in _atoms(phonemes, limit, 0):
        if pieces and len(pieces[-1]) + 1 + len(atom) <= limit:
            pieces[-1] = f"{pieces[-1]} {atom}"
        else:
            pieces.append(atom)
    return [piece for piece in pieces if is_audible(piece)]


def _atoms(phonemes: str, limit: int, level: int) -> Iterator[str]:
    if len(phonemes) <= limit:
        if phonemes:
            yield phonemes
    elif level < len(_CUTS):
        for part in _CUTS[level].split(phonemes):
            yield from _atoms(part, limit, level + 1)
    else:
        yield from (phonemes[start : start + limit] for start in range(0, len(phonemes), limit))
