"""Identifiers: UUIDv7 inside, prefixed Crockford base32 outside (``rcp_01JC...``)."""

import hashlib
import os
import threading
from uuid import UUID

from taximeter.kernel.clock import Clock

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ENCODED_LENGTH = 26
# 12 bits for the middle of an id and 62 for its end.
_RANDOM_BYTES = 10
_LOW_62 = 2**62 - 1
# Ids made from a reference begin with these bits, which no time of a uuidv7 reaches.
_NAMED = 0xFFFF << 112
# Two letters at a time: every answer carries ids.
_PAIRS = [first + second for first in ALPHABET for second in ALPHABET]
_VALUES = {letter: value for value, letter in enumerate(ALPHABET)}


class IdFactory:
    """Makes UUIDv7 ids (RFC 9562) that never go backwards within one process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._last = 0

    def new(self) -> UUID:
        """A fresh id: 48 bits of Unix milliseconds, then 74 random bits."""
        with self._lock:
            stamp = self._clock.now_ms() << 80
            drawn = int.from_bytes(os.urandom(_RANDOM_BYTES))
            value = stamp | (0x7 << 76) | ((drawn >> 62 & 0xFFF) << 64) | (0b10 << 62) | (drawn & _LOW_62)
            if value <= self._last:
                value = self._last + 1
            self._last = value
        return UUID(int=value)


def named_id(owner: UUID, kind: str, reference: str) -> UUID:
    """The id of what ``owner`` has under this reference: the same one whenever it is asked for again."""
    digest = hashlib.blake2b(b"\0".join((owner.bytes, kind.encode(), reference.encode())), digest_size=14).digest()
    return UUID(int=_NAMED | int.from_bytes(digest))


def first_id_at(milliseconds: int) -> UUID:
    """No id that was made at this Unix time or later is smaller."""
    return UUID(int=max(0, milliseconds) << 80)


def encode_id(prefix: str, value: UUID) -> str:
    """The public form of an id: ``rcp_`` and 26 letters."""
    number = value.int
    pairs = []
    for _ in range(ENCODED_LENGTH // 2):
        number, pair = divmod(number, 1024)
        pairs.append(_PAIRS[pair])
    return f"{prefix}_{''.join(reversed(pairs))}"


def decode_id(prefix: str, text: str) -> UUID | None:
    """The id behind a public form, or None when the text is not one with this prefix."""
    head, _, tail = text.partition("_")
    if head != prefix or len(tail) != ENCODED_LENGTH:
        return None
    number = 0
    for letter in tail:
        value = _VALUES.get(letter)
        if value is None:
            return None
        number = number * 32 + value
    return UUID(int=number) if number < 2**128 else None
