"""Byte-pair tokenizers: from a GGUF file's own vocabulary, or from a Hugging Face ``tokenizer.json``."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, models, pre_tokenizers
from tokenizers import Tokenizer as Encoder

from taximeter.meters.tokenizers.gguf import Value, read_metadata
from taximeter.meters.tokenizers.remembered import RememberedCounts

WORDS_MAX = 50_000
"""Words whose counts are kept: some megabytes."""
WORD_CHARS_MAX = 40
CONTROL_TOKEN = 3  # llama.cpp's token type of <|im_start|> and its like.


class HubTokenizer:
    """A tokenizer of the library ``tokenizers``; special tokens inside a text count as one.

    Args:
        encoder: the library's.
        marks: its special tokens, if it cuts a text at each of them before it does anything else.
        words: how it then cuts ASCII text into what it encodes one by one; None when that is not known.
    """

    def __init__(self, encoder: Encoder, marks: Iterable[str] = (), words: re.Pattern[str] | None = None) -> None:
        self._encoder = encoder
        self._words = words
        self._word_counts: dict[str, int] = {}
        # The longest first: where two begin at the same character, the library takes the longer one.
        ordered = sorted(marks, key=len, reverse=True)
        self._mark = re.compile("|".join(re.escape(mark) for mark in ordered)) if ordered else None
        self._remembered = RememberedCounts(self._count_part)

    @property
    def encoder(self) -> Encoder:
        """The library's own."""
        return self._encoder

    def count(self, text: str) -> int:
        """Tokens of ``text``, nothing added before or after."""
        if self._mark is None:
            return self._encode(text)
        # What lies between two marks is counted by itself, and mostly comes again: only the last turn of a conversation is new.
        parts = self._mark.split(text)
        return len(parts) - 1 + sum([self._remembered(part) for part in parts if part])

    def _count_part(self, part: str) -> int:
        """Word by word: the words of a language come again and again, and the library takes five times as long."""
        if self._words is None or not part.isascii():
            return self._encode(part)
        counts = self._word_counts
        if len(counts) > WORDS_MAX:
            counts.clear()
        total = 0
        for word in self._words.findall(part):
            count = counts.get(word)
            if count is None:
                count = self._encode(word)
                if len(word) <= WORD_CHARS_MAX:
                    counts[word] = count
            total += count
        return total

    def _encode(self, text: str) -> int:
        # Not encode_batch: its threads would make every later fork print a warning.
        return len(self._encoder.encode(text, add_special_tokens=False).ids)


def from_json(path: Path) -> HubTokenizer:
    """The tokenizer of a ``tokenizer.json``.  Raises ValueError when it is not one."""
    try:
        encoder = Encoder.from_file(str(path))
    except Exception as error:  # The library raises bare Exception for every fault of a file.
        message = f"{path.name} is not a tokenizer.json ({error})"
        raise ValueError(message) from error
    encoder.no_truncation()
    encoder.no_padding()
    return HubTokenizer(encoder)


def from_gguf(path: Path) -> HubTokenizer:
    """The tokenizer inside a GGUF file.  Raises ValueError when its kind is not known here."""
    metadata = read_metadata(path)
    kind = (metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre"))
    if kind not in _PRE_TOKENIZERS:
        message = f"{path.name} holds a tokenizer of kind {kind}, which is not among {sorted(_PRE_TOKENIZERS)}"
        raise ValueError(message)
    tokens = _texts(metadata, "tokenizer.ggml.tokens")
    merges = [_pair(merge) for merge in _texts(metadata, "tokenizer.ggml.merges")]
    types = metadata.get("tokenizer.ggml.token_type")
    if not isinstance(types, list) or len(types) != len(tokens):
        message = f"{path.name} lacks the types of its tokens"
        raise ValueError(message)
    encoder = Encoder(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    encoder.pre_tokenizer = _PRE_TOKENIZERS[kind]
    marks = [token for token, kind_of in zip(tokens, types, strict=True) if kind_of == CONTROL_TOKEN]
    encoder.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks])
    return HubTokenizer(encoder, marks, _ASCII_WORDS[kind])


# How llama.cpp cuts a text into words before merging, by (model, pre) of the file.
_PRE_TOKENIZERS: dict[tuple[Any, Any], Any] = {
    ("gpt2", "smollm"): pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    ),
    ("gpt2", "gpt-2"): pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
}


# The same for ASCII text alone, where letters and digits can be written down: GPT-2's expression, and with single digits, which no blank joins.
_ASCII_WORDS: dict[tuple[Any, Any], re.Pattern[str]] = {
    ("gpt2", "smollm"): re.compile(r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+|\s+(?![^\s0-9])|\s+", re.ASCII),
    ("gpt2", "gpt-2"): re.compile(r"'(?:[stmd]|re|ve|ll)| ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+", re.ASCII),
}


def _texts(metadata: dict[str, Value], key: str) -> list[str]:
    values = metadata.get(key)
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        message = f"the GGUF file lacks {key}"
        raise ValueError(message)
    return [str(value) for value in values]


def _pair(merge: str) -> tuple[str, str]:
    left, space, right = merge.partition(" ")
    if not space or not left or not right:
        message = f"the GGUF file has the broken merge {merge!r}"
        raise ValueError(message)
    return left, right
