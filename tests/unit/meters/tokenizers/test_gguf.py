"""GGUF metadata."""

import struct
from pathlib import Path

import pytest

from taximeter.meters.tokenizers import bpe
from taximeter.meters.tokenizers.gguf import KEYS_MAX, read_metadata

Entry = tuple[str, int, bytes]


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def array(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def gguf(entries: list[Entry], *, magic: bytes = b"GGUF", version: int = 3, count: int | None = None) -> bytes:
    head = magic + struct.pack("<IQQ", version, 0, len(entries) if count is None else count)
    return head + b"".join(text(key) + struct.pack("<I", kind) + value for key, kind, value in entries)


def vocabulary(pre: str = "smollm", merge: str = "a b", types: int = 3) -> bytes:
    return gguf(
        [
            ("tokenizer.ggml.model", 8, text("gpt2")),
            ("tokenizer.ggml.pre", 8, text(pre)),
            ("tokenizer.ggml.tokens", 9, array(8, [text("a"), text("b"), text("ab")])),
            ("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", 1)] * types)),
            ("tokenizer.ggml.merges", 9, array(8, [text(merge)])),
        ]
    )


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_every_kind_of_value_is_read(tmp_path: Path) -> None:
    entries: list[Entry] = [
        ("u8", 0, b"\x07"),
        ("i32", 5, struct.pack("<i", -5)),
        ("f32", 6, struct.pack("<f", 0.5)),
        ("yes", 7, b"\x01"),
        ("name", 8, text("größe")),
        ("list", 9, array(4, [struct.pack("<I", n) for n in (1, 2)])),
    ]
    expected = {"u8": 7, "i32": -5, "f32": 0.5, "yes": True, "name": "größe", "list": [1, 2]}
    assert read_metadata(write(tmp_path / "m.gguf", gguf(entries))) == expected


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a GGUF file"),
        (gguf([], magic=b"GGML"), "not a GGUF file"),
        (gguf([], version=2), "not a GGUF file of version 3"),
        (gguf([("a", 8, text("x"))])[:-1], "cut short"),
        (gguf([("a", 4, b"")]), "cut short"),
        (gguf([("a", 8, struct.pack("<Q", 2**60))]), "announces"),
        (gguf([], count=KEYS_MAX + 1), "announces"),
        (gguf([("a", 99, b"")]), "unknown type 99"),
        (gguf([("a", 9, array(9, []))]), "array of arrays"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_metadata(write(tmp_path / "m.gguf", data))


def test_a_vocabulary_becomes_a_tokenizer(tmp_path: Path) -> None:
    assert bpe.from_gguf(write(tmp_path / "m.gguf", vocabulary())).count("ab") == 1


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (vocabulary(pre="llama-bpe"), "not among"),
        (vocabulary(merge="ab"), "broken merge 'ab'"),
        (vocabulary(types=2), "lacks the types"),
        (gguf([("tokenizer.ggml.model", 8, text("gpt2")), ("tokenizer.ggml.pre", 8, text("smollm"))]), "lacks tokenizer.ggml.tokens"),
    ],
)
def test_a_vocabulary_that_is_not_known_here_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bpe.from_gguf(write(tmp_path / "m.gguf", data))
