"""The bytes of a spool file.  Pure.

A file is a row of records, each ``mark | length | CRC-32 | body``: four bytes that cannot be mistaken for JSON, then two
little-endian 32-bit numbers, then ``length`` bytes of JSON.  The checksum covers the length and the body.  A record is an
entry (an operation to be posted) or the news that an entry has been posted.

A record whose end is missing is *torn*: its writer died in the middle, before anybody was told that it is kept.  Any other
record that does not check is *damaged*; reading goes on at the next mark behind which everything checks.
"""

import struct
import zlib
from dataclasses import dataclass, field
from uuid import UUID

import msgspec

from taximeter.ledger import Kind, Operation

MARK = b"\xfeTX\x01"
_HEAD = struct.Struct("<4sII")
_LENGTH = struct.Struct("<I")


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag="entry"):
    """An operation that waits for the database: a settlement or a void, with its fact.

    Attributes:
        number: counts the entries of one process.
        kept_at_ms: Unix time.
        code: the operation's, which says whether a settlement may come late.
    """

    number: int
    kept_at_ms: int
    id: UUID
    kind: int
    lane: int
    amount_utok: int
    code: int
    fact: str | None

    @classmethod
    def of(cls, number: int, kept_at_ms: int, operation: Operation) -> "Entry":
        """An operation as an entry.  Only resolutions are kept: they have no legs and no life of their own."""
        assert operation.kind in (Kind.SETTLE, Kind.VOID)
        return cls(
            number=number,
            kept_at_ms=kept_at_ms,
            id=operation.id,
            kind=int(operation.kind),
            lane=operation.lane,
            amount_utok=operation.amount_utok,
            code=operation.code,
            fact=operation.fact,
        )

    def operation(self) -> Operation:
        """The operation, with the id that it was first tried with."""
        return Operation(id=self.id, kind=Kind(self.kind), lane=self.lane, amount_utok=self.amount_utok, code=self.code, fact=self.fact)


class Posted(msgspec.Struct, frozen=True, tag="posted"):
    """The entry with this number is in the books."""

    number: int


_decoder: msgspec.json.Decoder[Entry | Posted] = msgspec.json.Decoder(Entry | Posted)


@dataclass(slots=True)
class Contents:
    """What a file holds.

    Attributes:
        entries: those that were not posted, in the order in which they were written.
        torn: the last record is incomplete.
        damaged: how many stretches do not check.
    """

    entries: dict[int, Entry] = field(default_factory=dict)
    torn: bool = False
    damaged: int = 0


def encode(record: Entry | Posted) -> bytes:
    """A record as bytes."""
    body = msgspec.json.encode(record)
    length = _LENGTH.pack(len(body))
    return MARK + length + _LENGTH.pack(zlib.crc32(body, zlib.crc32(length))) + body


def decode(data: bytes) -> Contents:
    """The contents of a file, as far as it can be read.  Never raises for what the bytes are."""
    contents = Contents()
    at = 0
    while at < len(data):
        found = _record(data, at)
        if found is None:
            following = _next_good(data, at + 1)
            if following is None:
                contents.torn = _is_torn(data, at)
                contents.damaged += not contents.torn
                break
            contents.damaged += 1
            at = following
            continue
        record, at = found
        if isinstance(record, Entry):
            contents.entries[record.number] = record
        else:
            contents.entries.pop(record.number, None)
    return contents


def _record(data: bytes, at: int) -> tuple[Entry | Posted, int] | None:
    """The record at a place and the place behind it, or None when there is none that checks."""
    if len(data) - at < _HEAD.size:
        return None
    mark, length, checksum = _HEAD.unpack_from(data, at)
    end = at + _HEAD.size + length
    if mark != MARK or end > len(data):
        return None
    body = data[at + _HEAD.size : end]
    if zlib.crc32(body, zlib.crc32(_LENGTH.pack(length))) != checksum:
        return None
    try:
        return _decoder.decode(body), end
    except msgspec.DecodeError:
        return None


def _next_good(data: bytes, start: int) -> int | None:
    at = data.find(MARK, start)
    while at >= 0:
        if _record(data, at) is not None:
            return at
        at = data.find(MARK, at + 1)
    return None


def _is_torn(data: bytes, at: int) -> bool:
    """Whether the rest is the beginning of a record, or was reserved and never written."""
    rest = data[at:]
    if len(rest) < _HEAD.size:
        return MARK.startswith(rest[: len(MARK)]) or not any(rest)
    mark, length, _ = _HEAD.unpack_from(rest)
    return (mark == MARK and _HEAD.size + length > len(rest)) or not any(rest)
