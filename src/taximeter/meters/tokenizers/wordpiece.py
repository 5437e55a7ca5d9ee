"""BERT's WordPiece, from the list of its pieces (``vocab.txt``)."""

from pathlib import Path

from tokenizers import AddedToken, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Encoder

from taximeter.meters.tokenizers.bpe import HubTokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def from_vocabulary(path: Path, *, lowercase: bool) -> HubTokenizer:
    """The tokenizer of a ``vocab.txt``, one piece a line.  Raises ValueError when it is none."""
    pieces = path.read_text(encoding="utf-8").splitlines()
    lacking = [mark for mark in SPECIAL if mark not in pieces]
    if lacking:
        message = f"{path.name} is no vocabulary of BERT's kind: it lacks {lacking[0]}"
        raise ValueError(message)
    encoder = Encoder(models.WordPiece(vocab={piece: index for index, piece in enumerate(pieces)}, unk_token="[UNK]"))  # noqa: S106 - no secret
    encoder.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    encoder.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    encoder.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in SPECIAL])
    return HubTokenizer(encoder)
