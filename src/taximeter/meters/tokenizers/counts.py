"""What a meter asks of a tokenizer: how many tokens, and how many at most."""

from typing import Protocol

# What English and code need on average; used only where a model's tokenizer is unknown.
BYTES_PER_TOKEN = 3


class Tokenizer(Protocol):
    """Counts tokens of one vocabulary."""

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        ...


class ByteTokenizer:
    """For models whose tokenizer is not known: a guess, beside which the meter holds one token per byte."""

    def count(self, text: str) -> int:
        """A third of the UTF-8 bytes, rounded up: a guess."""
        return -(-len(text.encode()) // BYTES_PER_TOKEN)


def bytes_bound(text: str) -> int:
    """No byte-level tokenizer makes more tokens than there are UTF-8 bytes."""
    return len(text.encode())
