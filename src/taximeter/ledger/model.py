"""Operations on the ledger and their outcomes."""

import hashlib
import struct
from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID

from taximeter.kernel.units import AMOUNT_UTOK_MAX

LEGS_MAX = 16
LANES_MAX = 64
_HEAD = struct.Struct("<bqi")
_LEG = struct.Struct("<qqq?")


class Kind(IntEnum):
    """What an operation does; the numbers stand in the log."""

    HOLD = 1
    SETTLE = 2
    VOID = 3
    EXPIRE = 4
    DIRECT = 5


class Status(IntEnum):
    """How the posting function answered."""

    APPLIED = 0
    REFUSED = 1
    REPLAYED = 2
    REPLAYED_REFUSED = 3
    DIFFERENT_BODY = 4
    NO_SUCH_HOLD = 5
    ALREADY_RESOLVED = 6
    NO_SUCH_ACCOUNT = 7
    ACCOUNT_CLOSED = 8
    SETTLED_LATE = 9
    KEY_USED = 20
    """Not the ledger's own: ``metering.post`` did not pass the hold on, because its idempotency key belongs to another request."""
    RATE_LIMITED = 21
    """Nor is this: the limits of the sender's key do not allow the hold now; ``available_utok`` is the wait in nanoseconds."""
    QUOTE_USED = 22
    """Nor is this: another request has used the hold's quote."""
    APPROVAL_DECIDED = 23
    """Nor is this: the approval that the hold was to start does not wait any more (``metering.submit_approved``)."""


class SettleCode(IntEnum):
    """What a settlement does when its hold has been released before."""

    LATE_AFTER_EXPIRY = 0
    LATE_ALWAYS = 1
    NEVER_LATE = 2


class AccountCode(IntEnum):
    """What an account is for.  From 11 on: the operator's, one row per lane."""

    ALLOWANCE = 1
    PREPAID = 2
    POSTPAID = 3
    BUDGET = 4
    GRANT = 5
    REVENUE = 11
    TREASURY = 12
    SHORTFALL = 13
    EXPIRED = 14
    BUDGETS = 15
    CREDIT = 16


class Flag(IntEnum):
    """Bits of ``accounts.flags``."""

    LIMITED = 1
    CLOSED = 2
    FROZEN = 4


def operator_account(code: AccountCode, lane: int) -> int:
    """The id of the operator's account for ``lane``."""
    assert code >= AccountCode.REVENUE
    assert 0 <= lane < LANES_MAX
    return code * 100 + lane


@dataclass(frozen=True, slots=True)
class Leg:
    """One debit and one credit of a group.

    Cascade legs share the group's amount: the first takes what its account has, the next the rest.
    A leg that does not cascade moves ``amount_utok``, whole or not at all.
    """

    debit: int
    credit: int
    amount_utok: int = 0
    cascade: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One group to post.

    Attributes:
        id: uuidv7, made before the first try; a hold and its resolution share it.
        amount_utok: the maximum to hold, the fare to settle, or the amount to move; 0 for void and expire.
        legs: for holds and direct transfers only.
        ttl_s: life of a hold, on the database's clock.
        code: the caller's reason, kept in the log.
        fact: JSON that is written in the same transaction (see ``metering.post``).
        take: limits that a hold must fit into, for ``metering.post``: bucket, kind, most, seconds of its window, whether it is a shadow.
        shared: on a hold, whether operations of other lanes take from the same limits.
        undo: on a hold, the fact of the void that follows when it was given up with its fate unknown.
    """

    id: UUID
    kind: Kind
    lane: int
    amount_utok: int = 0
    legs: tuple[Leg, ...] = ()
    ttl_s: int = 0
    code: int = 0
    fact: str | None = None
    take: tuple[tuple[str, str, int, int, bool], ...] = ()
    shared: bool = False
    undo: str | None = None

    def __post_init__(self) -> None:
        """Catch operations that no caller may make."""
        assert 0 <= self.amount_utok <= AMOUNT_UTOK_MAX
        assert (self.kind in (Kind.HOLD, Kind.DIRECT)) == bool(self.legs)
        assert len(self.legs) <= LEGS_MAX
        assert self.kind != Kind.HOLD or self.ttl_s > 0

    def digest(self) -> bytes:
        """16 bytes that tell this operation from another one with the same id."""
        body = _HEAD.pack(self.kind, self.amount_utok, self.code)
        for leg in self.legs:
            body += _LEG.pack(leg.debit, leg.credit, leg.amount_utok, leg.cascade)
        return hashlib.blake2b(body, digest_size=16).digest()


NOTES_FROM = 100
"""Rows of a posting statement with a status from here on are notes about their operation, not outcomes."""


@dataclass(frozen=True, slots=True)
class Note:
    """A figure that came with an outcome; what it means, its sender knows by the kind."""

    kind: int
    first: int
    second: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation.

    Attributes:
        status: see Status.
        total_utok: what the wallet legs now hold or have paid (on a replay: what they did then).
        available_utok: what the operation's wallet accounts have left to spend.
        notes: what else ``metering.post`` has to say, none of it the ledger's.
    """

    status: Status
    total_utok: int
    available_utok: int
    notes: tuple[Note, ...] = ()

    @property
    def applied(self) -> bool:
        """The effect is in the log, from this call or an earlier one."""
        return self.status in (Status.APPLIED, Status.REPLAYED, Status.SETTLED_LATE)


@dataclass(frozen=True, slots=True)
class Wallet:
    """A project's accounts, in the order in which they are spent."""

    lane: int
    allowance: int
    prepaid: int

    def legs(self) -> tuple[Leg, ...]:
        """The legs of a hold on this wallet."""
        revenue = operator_account(AccountCode.REVENUE, self.lane)
        return (Leg(self.allowance, revenue), Leg(self.prepaid, revenue))


@dataclass(frozen=True, slots=True)
class Balances:
    """What a wallet holds, in micro-Tokens."""

    allowance_utok: int
    prepaid_utok: int
    held_utok: int

    @property
    def available_utok(self) -> int:
        """What new requests may hold."""
        return self.allowance_utok + self.prepaid_utok
