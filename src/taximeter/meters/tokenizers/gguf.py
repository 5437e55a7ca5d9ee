"""Reading the metadata of a GGUF file (version 3, little endian): vocabularies, never weights."""

import struct
from pathlib import Path
from typing import BinaryIO

MAGIC = b"GGUF"
VERSION = 3
# Bounds against a broken or hostile file; a real vocabulary is far below them.
KEYS_MAX = 10_000
ITEMS_MAX = 4_000_000
TEXT_BYTES_MAX = 16_000_000

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_TEXT = 8
_ARRAY = 9

Value = int | float | bool | str | list["Value"]


def read_metadata(path: Path) -> dict[str, Value]:
    """Every key before the tensors.  Raises ValueError when the file is not GGUF 3 or is cut short."""
    with path.open("rb") as file:
        if file.read(4) != MAGIC or _scalar(file, "<I") != VERSION:
            message = f"{path.name} is not a GGUF file of version {VERSION}"
            raise ValueError(message)
        _scalar(file, "<Q")  # The number of tensors.
        count = _count(file, KEYS_MAX)
        metadata: dict[str, Value] = {}
        for _ in range(count):
            key = _text(file)
            metadata[key] = _value(file, int(_scalar(file, "<I")))
        return metadata


def _scalar(file: BinaryIO, form: str) -> int | float | bool:
    size = struct.calcsize(form)
    data = file.read(size)
    if len(data) != size:
        message = "the GGUF file is cut short"
        raise ValueError(message)
    value: int | float | bool = struct.unpack(form, data)[0]
    return value


def _count(file: BinaryIO, limit: int) -> int:
    count = int(_scalar(file, "<Q"))
    if count > limit:
        message = f"the GGUF file announces {count} items; at most {limit} are read"
        raise ValueError(message)
    return count


def _text(file: BinaryIO) -> str:
    size = _count(file, TEXT_BYTES_MAX)
    data = file.read(size)
    if len(data) != size:
        message = "the GGUF file is cut short"
        raise ValueError(message)
    return data.decode("utf-8")


def _value(file: BinaryIO, kind: int) -> Value:
    if kind == _TEXT:
        return _text(file)
    if kind != _ARRAY:
        if kind not in _SCALARS:
            message = f"the GGUF file has a value of unknown type {kind}"
            raise ValueError(message)
        return _scalar(file, _SCALARS[kind])
    item_kind = int(_scalar(file, "<I"))
    if item_kind == _ARRAY:
        message = "the GGUF file has an array of arrays"
        raise ValueError(message)
    count = _count(file, ITEMS_MAX)
    form = _SCALARS.get(item_kind)
    if form is None:
        return [_value(file, item_kind) for _ in range(count)]
    # A vocabulary has tens of thousands of scores and types: one read instead of one for each.
    size = struct.calcsize(form)
    data = file.read(size * count)
    if len(data) != size * count:
        message = "the GGUF file is cut short"
        raise ValueError(message)
    return list(struct.unpack(f"<{count}{form[1]}", data))
