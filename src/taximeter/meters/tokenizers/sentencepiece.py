"""SentencePiece's byte-pair models (Mistral v1 to v7, Llama 2 and their like), read from the ``.model`` file.

The file is one Protocol Buffers message; the few fields that matter are read by hand.  The library ``tokenizers`` then does what
SentencePiece does: blanks become U+2581, one stands in front, pairs are joined by the score of what they make, and a character that
has no piece is written in bytes.
"""

import importlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from tokenizers import AddedToken, models, normalizers
from tokenizers import Tokenizer as Encoder

PIECES_MAX = 1_000_000
MESSAGE_BYTES_MAX = 64_000_000
_PIECE, _TRAINER, _NORMALIZER = 1, 2, 3
_NORMAL, _UNKNOWN, _CONTROL, _USER, _BYTE = 1, 2, 3, 4, 6
_BPE = 2
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
_BLANK = "\u2581"


class Model(msgspec.Struct, frozen=True):
    """A vocabulary: pieces with score and type, in the order of their numbers."""

    pieces: tuple[tuple[str, float, int], ...]
    prefix: bool


def read(data: bytes) -> Model:
    """The parts that matter.  Raises ValueError when this is no byte-pair model, or one that normalises its text."""
    pieces: list[tuple[str, float, int]] = []
    kind, prefix, changes = 1, True, True
    try:
        for field, value in _fields(data):
            if field == _PIECE and isinstance(value, bytes):
                inner = dict(_fields(value))
                piece, score, type_ = inner.get(1, b""), inner.get(2, b"\0\0\0\0"), inner.get(3, _NORMAL)
                assert isinstance(piece, bytes)
                assert isinstance(score, bytes)
                assert isinstance(type_, int)
                pieces.append((piece.decode("utf-8"), struct.unpack("<f", score)[0], type_))
            elif field == _TRAINER and isinstance(value, bytes):
                kind = int(dict(_fields(value)).get(3, 1))
            elif field == _NORMALIZER and isinstance(value, bytes):
                inner = dict(_fields(value))
                changes, prefix = bool(inner.get(2)) or bool(inner.get(4, 1)), bool(inner.get(3, 1))
    except (AssertionError, IndexError, TypeError, UnicodeDecodeError, struct.error) as error:
        message = "is not a SentencePiece model"
        raise ValueError(message) from error
    if kind != _BPE or not pieces or len(pieces) > PIECES_MAX:
        message = "is not a byte-pair model of SentencePiece"
        raise ValueError(message)
    if changes:
        message = "changes its text before it cuts it, which is not done here"
        raise ValueError(message)
    return Model(tuple(pieces), prefix)


def encoder_of(model: Model) -> Encoder:
    """The same model in the library ``tokenizers``."""
    numbers = {piece: number for number, (piece, _, _) in enumerate(model.pieces)}
    scores = {piece: score for piece, score, type_ in model.pieces if type_ == _NORMAL}
    merges = []
    for piece, score in scores.items():
        pairs = [(piece[:cut], piece[cut:]) for cut in range(1, len(piece)) if piece[:cut] in numbers and piece[cut:] in numbers]
        pairs.sort(key=lambda pair: (numbers[pair[0]], numbers[pair[1]]))
        merges += [(score, pair) for pair in pairs]
    merges.sort(key=lambda merge: merge[0], reverse=True)
    unknown = next((piece for piece, _, type_ in model.pieces if type_ == _UNKNOWN), None)
    encoder = Encoder(
        models.BPE(vocab=numbers, merges=[pair for _, pair in merges], unk_token=unknown, fuse_unk=True, byte_fallback=True, ignore_merges=False)
    )
    steps = [normalizers.Prepend(_BLANK)] if model.prefix else []
    encoder.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _BLANK)])
    own = [piece for piece, _, type_ in model.pieces if type_ == _USER]
    encoder.add_tokens([AddedToken(piece, normalized=False) for piece in own])
    return encoder


class SentencePieceTokenizer:
    """SentencePiece's own library: control pieces inside a text are counted as the characters they are."""

    def __init__(self, processor: Any) -> None:  # noqa: ANN401 - an optional part without types
        self._encode = processor.encode

    def count(self, text: str) -> int:
        """Tokens of ``text``, nothing added before or after."""
        return len(self._encode(text))


def from_file(path: Path) -> SentencePieceTokenizer | Encoder:
    """The tokenizer of a ``.model`` file: by the library where it is installed, which takes half the time, else read here.

    Raises ValueError when it cannot be one.
    """
    data = path.read_bytes()
    try:
        model = read(data[: MESSAGE_BYTES_MAX + 1])
    except ValueError as error:
        message = f"{path.name} {error}"
        raise ValueError(message) from error
    try:
        library = importlib.import_module("sentencepiece")  # An optional part.
    except ImportError:
        return encoder_of(model)
    return SentencePieceTokenizer(library.SentencePieceProcessor(model_proto=data))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        form = key & 7
        if form == _VARINT:
            value: int | bytes
            value, place = _varint(data, place)
        elif form in {_EIGHT_BYTES, _FOUR_BYTES}:
            size = 8 if form == _EIGHT_BYTES else 4
            value, place = data[place : place + size], place + size
        elif form == _BYTES:
            size, place = _varint(data, place)
            value, place = data[place : place + size], place + size
        else:
            message = "has a field of unknown form"
            raise ValueError(message)
        if place > len(data):
            message = "is cut short"
            raise ValueError(message)
        yield key >> 3, value


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128 or shift > 63:  # noqa: PLR2004 - seven bits a byte, and one that says that more follow
            return value, place
