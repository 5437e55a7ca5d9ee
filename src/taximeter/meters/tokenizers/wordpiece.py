"""BERT's WordPiece, from a ``vocab.txt``: one piece a line."""

from pathlib import Path

from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Encoder

UNKNOWN = "[UNK]"
MARKS = ("[PAD]", UNKNOWN, "[CLS]", "[SEP]", "[MASK]")
WORD_CHARS_MAX = 100
"""A longer word is one unknown piece, as in BERT's own code."""


def from_file(path: Path) -> Encoder:
    """The encoder.  Raises ValueError when the file is no such vocabulary.

    A vocabulary without capital letters is one of a model that reads everything in small ones.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        message = f"{path.name} is not a text in UTF-8"
        raise ValueError(message) from error
    pieces = {line.rstrip("\r"): number for number, line in enumerate(lines)}
    if UNKNOWN not in pieces:
        message = f"{path.name} is not a WordPiece vocabulary: it has no line {UNKNOWN}"
        raise ValueError(message)
    small = not any(piece.isascii() and piece.removeprefix("##").isalpha() and not piece.islower() for piece in pieces)
    encoder = Encoder(models.WordPiece(vocab=pieces, unk_token=UNKNOWN, max_input_chars_per_word=WORD_CHARS_MAX))
    encoder.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=small)
    encoder.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    encoder.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in MARKS if mark in pieces])
    return encoder
