"""OpenAI's embeddings answers, as base64 or number lists, to little-endian float32 bytes."""

import base64
import binascii
import math
import struct
from collections.abc import Mapping
from typing import Any

from taximeter.engines.errors import EngineFailed

FLOAT_BYTES = 4


def read_vectors(data: object, inputs: int) -> list[bytes]:
    """The vectors of an answer's ``data``, one per input, in input order.

    Raises EngineFailed when vectors are missing, of different lengths, or hold something that is not a
    finite number.
    """
    if not isinstance(data, list) or len(data) != inputs:
        message = f"the engine did not answer with {inputs} embeddings"
        raise EngineFailed(message)
    vectors: dict[int, bytes] = {}
    for position, entry in enumerate(data):
        if not isinstance(entry, Mapping):
            message = "the engine answered with an embedding that is not an object"
            raise EngineFailed(message)
        index = entry.get("index", position)
        vectors[index if type(index) is int else position] = _vector(entry.get("embedding"))
    if sorted(vectors) != list(range(inputs)) or len({len(vector) for vector in vectors.values()}) > 1:
        message = "the engine's embeddings are incomplete or of different lengths"
        raise EngineFailed(message)
    return [vectors[index] for index in range(inputs)]


def _vector(value: Any) -> bytes:  # noqa: ANN401 - whatever the upstream sent
    try:
        raw = base64.b64decode(value, validate=True) if isinstance(value, str) else struct.pack(f"<{len(value)}f", *value)
        numbers = struct.unpack(f"<{len(raw) // FLOAT_BYTES}f", raw)
    except (binascii.Error, struct.error, OverflowError, TypeError) as error:
        message = "the engine answered with an embedding that cannot be read"
        raise EngineFailed(message) from error
    if not numbers or not all(map(math.isfinite, numbers)):
        message = "the engine answered with an embedding that is empty or not finite"
        raise EngineFailed(message)
    return raw
