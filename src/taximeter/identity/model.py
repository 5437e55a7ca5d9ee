"""Who is who: organisation > project > API key, and the Caller that a key proves."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from taximeter.identity.terms import NO_TERMS, Terms

DEFAULT_PLAN = "standard"
DEFAULT_CURRENCY = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The proven sender of a request, with all that metering needs to charge it.

    Attributes:
        lane: the ledger lane of the project's accounts.
        allowance_account: the wallet's account of expiring Tokens, as the ledger numbers it.
        prepaid_account: the wallet's account of bought Tokens.
        requests_per_minute: the key's limit; None: none.
        tokens_per_minute_utok: the key's limit; None: none.
        plan: the project's plan, by its name in the catalog.
        currency: what the project pays in, by ISO 4217.
        terms: what was agreed beyond that.
    """

    organisation_id: UUID
    project_id: UUID
    key_id: UUID
    key_name: str
    lane: int
    allowance_account: int
    prepaid_account: int
    requests_per_minute: int | None = None
    tokens_per_minute_utok: int | None = None
    plan: str = DEFAULT_PLAN
    currency: str = DEFAULT_CURRENCY
    terms: Terms = NO_TERMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Organisation:
    """A customer: the roof over projects.

    Attributes:
        time_zone: where its days and months begin and end, by its IANA name.
    """

    id: UUID
    name: str
    created_at: datetime
    time_zone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """A cost centre: it owns a wallet, keys, receipts and videos.

    Attributes:
        plan: by its name in the catalog; with the currency it decides what a Token costs.
        currency: what it pays in, by ISO 4217.
    """

    id: UUID
    organisation_id: UUID
    name: str
    lane: int
    allowance_account: int
    prepaid_account: int
    created_at: datetime
    plan: str = DEFAULT_PLAN
    currency: str = DEFAULT_CURRENCY


@dataclass(frozen=True, slots=True, kw_only=True)
class NewProject:
    """What is needed to record a project, its ledger accounts included."""

    id: UUID
    organisation_id: UUID
    name: str
    lane: int
    allowance_account: int
    prepaid_account: int
    plan: str = DEFAULT_PLAN
    currency: str = DEFAULT_CURRENCY


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A credential as it may be shown: without its secret, which nobody has any more."""

    id: UUID
    project_id: UUID
    name: str
    prefix: str
    requests_per_minute: int | None
    tokens_per_minute_utok: int | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How much a key may use; None: no limit of its own.

    Attributes:
        requests_per_minute: whole requests.
        tokens_per_minute_utok: what is charged, and what running requests hold.
    """

    requests_per_minute: int | None = None
    tokens_per_minute_utok: int | None = None


NO_LIMITS = KeyLimits()
Beside: TypeAlias = Callable[[Any, UUID], Awaitable[None]]
"""Writes more in the transaction that makes a key, on its connection and with its id."""


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A fresh key; ``text`` is shown to its owner once and kept nowhere."""

    key: ApiKey
    text: str


@dataclass(frozen=True, slots=True)
class KeyText:
    """A presented key, taken apart: the prefix finds the row, the hash proves it."""

    prefix: str
    secret_sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """What is needed to record a key."""

    id: UUID
    name: str
    text: KeyText
    expires_at: datetime | None
    limits: KeyLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What the store knows about a prefix at the moment of asking.

    Attributes:
        remaining_s: seconds until the key expires by the database's clock; None: never.
    """

    caller: Caller
    secret_sha256: bytes
    revoked: bool
    remaining_s: float | None
