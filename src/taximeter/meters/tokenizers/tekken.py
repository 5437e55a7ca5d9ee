"""Mistral's tekken vocabularies: byte-pair ranks in a JSON file, cut into words as the file itself says."""

import base64
import binascii
import importlib
from pathlib import Path

import msgspec

from taximeter.meters.tokenizers.openai_bpe import OpenAITokenizer


class _Config(msgspec.Struct):
    pattern: str
    default_vocab_size: int
    default_num_special_tokens: int


class _Entry(msgspec.Struct):
    rank: int
    token_bytes: str


class _File(msgspec.Struct):
    config: _Config
    vocab: list[_Entry]


def from_file(path: Path) -> OpenAITokenizer:
    """The tokenizer.  Raises ValueError when the file is no such vocabulary, ImportError when tiktoken is not installed."""
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        # The file holds more pieces than the models know.
        known = file.config.default_vocab_size - file.config.default_num_special_tokens
        ranks = {base64.b64decode(entry.token_bytes, validate=True): entry.rank for entry in file.vocab[:known]}
    except (msgspec.DecodeError, binascii.Error) as error:
        message = f"{path.name} is not a tekken vocabulary ({error})"
        raise ValueError(message) from error
    if known < 1 or len(ranks) != known or sorted(ranks.values()) != list(range(known)):
        message = f"{path.name} is not a tekken vocabulary: its ranks are not those of {known} pieces"
        raise ValueError(message)
    tiktoken = importlib.import_module("tiktoken")  # An optional part.
    return OpenAITokenizer(tiktoken.Encoding(name=path.stem, pat_str=file.config.pattern, mergeable_ranks=ranks, special_tokens={}))
