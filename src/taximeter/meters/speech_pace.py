"""How long a text is likely to take when it is read aloud, in whole numbers; no bound ever rests on it."""

import re

# CJK radicals and everything after: one syllable a character.
WIDE_FROM = 0x2E80
NARROW_CHARS_PER_TOKEN = 4
# Wide characters are read at 4.5 a second and narrow ones at 15, so a wide one takes 10/45 and a narrow one 3/45.
UNITS_PER_S = 45
_WIDE_UNITS, _NARROW_UNITS = 10, 3
_WIDE = re.compile(f"[{chr(WIDE_FROM)}-\U0010ffff]+")


def wide_chars(text: str) -> int:
    """How many characters stand for a syllable each."""
    return 0 if text.isascii() else sum([len(run) for run in _WIDE.findall(text)])


def reading_units(chars: int, wide: int) -> int:
    """Reading time at normal speed, in 45ths of a second."""
    return wide * _WIDE_UNITS + (chars - wide) * _NARROW_UNITS


def likely_tokens(chars: int, wide: int) -> int:
    """Text tokens: a wide character is one, narrow ones share."""
    return wide - (wide - chars) // NARROW_CHARS_PER_TOKEN
