"""Counts of texts that come again: a system prompt comes with every request, and a conversation with each of its turns."""

from collections import OrderedDict
from collections.abc import Callable

CHARS_MAX = 4_000_000
"""Characters of all remembered texts together."""
TEXT_CHARS_MAX = CHARS_MAX // 16
"""A longer text is not remembered: it would push out too many others."""


class RememberedCounts:
    """Asks ``count`` about each text once, and forgets the texts that were not asked about for the longest time."""

    def __init__(self, count: Callable[[str], int], chars_max: int = CHARS_MAX, text_chars_max: int = TEXT_CHARS_MAX) -> None:
        self._count = count
        self._chars_max = chars_max
        self._text_chars_max = text_chars_max
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._chars = 0

    @property
    def chars(self) -> int:
        """Characters that are remembered now."""
        return self._chars

    def __call__(self, text: str) -> int:
        """Tokens of ``text``."""
        count = self._counts.get(text)
        if count is not None:
            self._counts.move_to_end(text)
            return count
        count = self._count(text)
        if len(text) <= self._text_chars_max:
            self._counts[text] = count
            self._chars += len(text)
            while self._chars > self._chars_max:
                forgotten, _ = self._counts.popitem(last=False)
                self._chars -= len(forgotten)
        return count
