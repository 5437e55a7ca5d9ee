"""JSON with one text for each value, for fingerprints and signatures.

It is the JSON Canonicalization Scheme (RFC 8785) for what is signed here: objects with ASCII names, texts, integers below 2^53,
flags, null and lists.  Python's ``json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)`` writes the same.
"""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode
# Above it a float stands for several integers.
_EXACT_MAX = 2**53


def canonical_json(value: Any) -> bytes:  # noqa: ANN401 - any JSON
    """The bytes of a value: names in order, no spaces, UTF-8.  Raises RecursionError when it is nested too deeply."""
    return _encode(value)


def plain_numbers(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """The value with each whole float as an integer: 1.0, 1e0 and 1 are one number.  What has none is given back as it is."""
    kind = type(value)
    if kind is float:
        return int(value) if value.is_integer() and abs(value) <= _EXACT_MAX else value
    if kind is dict:
        changed = {name: plain for name, item in value.items() if (plain := plain_numbers(item)) is not item}
        return {**value, **changed} if changed else value
    if kind is list or kind is tuple:
        plain_items = [plain_numbers(item) for item in value]
        return value if all(plain is item for plain, item in zip(plain_items, value, strict=True)) else plain_items
    return value
