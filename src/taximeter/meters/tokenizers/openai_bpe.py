"""OpenAI's encodings through ``tiktoken``, from a vocabulary file that is already here.

tiktoken itself would fetch the file from the network; here it is read, compared with its published
SHA-256 and handed over.  The split patterns are those of tiktoken (MIT, OpenAI).
"""

import base64
import binascii
import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Encoding:
    """One published encoding: how words are cut, and which file its ranks stand in."""

    name: str
    pattern: str
    sha256: str


_LETTERS = r"\p{Lm}\p{Lo}\p{M}"
_TAILS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"

ENCODINGS = {
    "o200k": Encoding(
        "o200k_base",
        "|".join(
            [
                rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}{_LETTERS}]*[\p{{Ll}}{_LETTERS}]+{_TAILS}",
                rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}{_LETTERS}]+[\p{{Ll}}{_LETTERS}]*{_TAILS}",
                r"\p{N}{1,3}",
                r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
                r"\s*[\r\n]+",
                r"\s+(?!\S)",
                r"\s+",
            ]
        ),
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    ),
    "cl100k": Encoding(
        "cl100k_base",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
}


class OpenAITokenizer:
    """Ordinary text only: what looks like a special token is counted as the characters it is."""

    def __init__(self, encoding: Any) -> None:  # noqa: ANN401 - tiktoken.Encoding, an optional part
        self._encoding = encoding

    @property
    def encoding(self) -> Any:  # noqa: ANN401 - as above
        """The library's own."""
        return self._encoding

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        return len(self._encoding.encode_ordinary(text))


def from_ranks(name: str, path: Path) -> OpenAITokenizer:
    """The encoding ``name`` from its rank file.

    Raises ValueError when the file is not the published one, ImportError when tiktoken is not installed.
    """
    encoding = ENCODINGS[name]
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != encoding.sha256:
        message = f"{path.name} is not the published {encoding.name} vocabulary (its SHA-256 differs)"
        raise ValueError(message)
    try:
        pairs = (line.split() for line in data.splitlines() if line)
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except (ValueError, binascii.Error) as error:
        message = f"{path.name} is not a list of ranks"
        raise ValueError(message) from error
    tiktoken = importlib.import_module("tiktoken")  # An optional part.
    return OpenAITokenizer(tiktoken.Encoding(name=encoding.name, pat_str=encoding.pattern, mergeable_ranks=ranks, special_tokens={}))
