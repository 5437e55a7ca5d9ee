"""Orders and receipts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import Any, Literal
from uuid import UUID

from taximeter.engines import Modality
from taximeter.identity import Caller
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import UTOK_PER_TOKEN, divide_half_even, format_tokens
from taximeter.metering.fares import Fare

RECEIPT_PREFIX = "rcp"
QUOTE_PREFIX = "quo"
VIDEO_PREFIX = "video"
REFUND_PREFIX = "rfd"
# JSON numbers above this lose digits in JavaScript and in many other readers.
SAFE_INTEGER_MAX = 2**53

Outcome = Literal["completed", "truncated", "disconnected", "cancelled", "failed", "expired"]
Settlement = Literal["settled", "pending"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One request to be metered.

    Attributes:
        request: the body in OpenAI's shape, without ``model`` and what only concerns the form of the answer.
        stream: the caller reads the answer while it is made; what was sent counts as delivered.
        tokens_max_utok: refuse when the request may cost more.
        multiplier_max: refuse when a Token consumed costs more; None: whatever it costs.
        quote_id: the quote to be held to, as the caller sent it.
        idempotency_key: the caller's name for this request, for repeats.
        fingerprint: SHA-256 of what the caller sent; with a key only.
        deadline_ms: when the result is worthless, in Unix milliseconds; None: the caller did not say.
    """

    caller: Caller
    model: str
    modality: Modality
    request: dict[str, Any]
    stream: bool = False
    tokens_max_utok: int | None = None
    multiplier_max: Fraction | None = None
    quote_id: str | None = None
    idempotency_key: str | None = None
    fingerprint: bytes = b""
    deadline_ms: int | None = None


def jsonable_work(work: Mapping[str, int]) -> dict[str, int | str]:
    """Work for JSON: integers, as strings when a reader could lose digits."""
    return {name: value if value <= SAFE_INTEGER_MAX else str(value) for name, value in work.items()}


def fare_lines(fare: Fare) -> list[dict[str, Any]]:
    """The breakdown of a fare, one object a line; Tokens consumed as decimal strings."""
    return [
        {
            "label": line.label,
            "quantity": line.quantity,
            "rate": line.rate,
            "tokens_expected": format_tokens(line.expected_utok),
            "tokens_max": format_tokens(line.maximum_utok),
        }
        for line in fare.parts.lines
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundOrder:
    """A refund that is asked for.

    Attributes:
        id: made from the request and the reference.
        amount_utok: None: all that is left.
    """

    id: UUID
    request_id: UUID
    reference: str
    amount_utok: int | None
    reason: str
    operator: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """Tokens that an operator gave back for a settled request.

    Attributes:
        id: also the id of the transfer in the ledger.
        amount_utok: the sum of the next two.
        prepaid_utok: what went back to the account of bought Tokens; it goes first.
        allowance_utok: what went back to the account of granted Tokens.
        operator: who did it, as he said: ``admin`` for the admin key, ``cli:`` and a user for the command line.
        replayed: it was made before, under the same reference.
    """

    id: UUID
    request_id: UUID
    reference: str
    amount_utok: int
    prepaid_utok: int
    allowance_utok: int
    reason: str
    operator: str
    created_at: datetime
    replayed: bool = False

    @property
    def public_id(self) -> str:
        """``rfd_...``."""
        return encode_id(REFUND_PREFIX, self.id)

    def to_api(self) -> dict[str, Any]:
        """One entry of a receipt's ``refunds``."""
        return {
            "id": self.public_id,
            "object": "refund",
            "receipt": encode_id(RECEIPT_PREFIX, self.request_id),
            "tokens": format_tokens(self.amount_utok),
            "to_prepaid": format_tokens(self.prepaid_utok),
            "to_allowance": format_tokens(self.allowance_utok),
            "reason": self.reason,
            "reference": self.reference,
            "operator": self.operator,
            "transfer": f"{self.id}/0",
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Price:
    """Money for one Token.

    Attributes:
        currency: ISO 4217.
        price_nano: billionths of its unit.
    """

    currency: str
    price_nano: int

    def amount_nano(self, amount_utok: int) -> int:
        """What so many micro-Tokens are in money."""
        return divide_half_even(amount_utok * self.price_nano, UTOK_PER_TOKEN)

    def to_api(self, amount_utok: int) -> dict[str, str]:
        """The ``money`` of a receipt; amounts as texts, because JavaScript's numbers lose digits."""
        return {"currency": self.currency, "amount_nano": str(self.amount_nano(amount_utok)), "price_nano": str(self.price_nano)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What was measured, consumed and charged for one request.

    Attributes:
        outcome: None while the request runs.
        reason: why it ended so, when not simply completed.
        work: physical quantities that were billed.
        measured: False when the engine could not count a quantity and it was estimated.
        lines: Tokens consumed, line by line, as the card rates them.
        balance_utok: what the wallet had left after the settlement; None when read back later.
        quote: the public id of the quote that the request was held to.
        refunds: what was given back of the charge since, oldest first; the charge itself is never rewritten.
        service_tier: the tier it was held for, and ran in.
        multipliers: what each factor changed: with the consumed Tokens, they add up to the charge.
        price: what it was charged in money; None: an earlier release did not say.
        in_motion: prices move with the load here, so that the multiplier is told even when it is 1.
        waited: what the answer's headers tell of its wait for a slot; not kept.
    """

    id: UUID
    model: str
    modality: str
    rate_card: str
    tariff: str
    multiplier: str
    held_utok: int
    created_at: datetime
    outcome: Outcome | None = None
    reason: str | None = None
    work: Mapping[str, int] = field(default_factory=dict)
    measured: bool = True
    consumed_utok: int = 0
    charged_utok: int = 0
    settlement: Settlement = "pending"
    lines: tuple[Mapping[str, Any], ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    engine_ms: int = 0
    settled_at: datetime | None = None
    balance_utok: int | None = None
    quote: str | None = None
    refunds: tuple[Refund, ...] = ()
    service_tier: str = "standard"
    multipliers: tuple[Mapping[str, Any], ...] = ()
    price: Price | None = None
    in_motion: bool = False
    waited: Mapping[str, str] = field(default_factory=dict)

    @property
    def public_id(self) -> str:
        """``rcp_...``."""
        return encode_id(RECEIPT_PREFIX, self.id)

    @property
    def refunded_utok(self) -> int:
        """What was given back, in all."""
        return sum(refund.amount_utok for refund in self.refunds)

    def to_api(self, basis: str | None = None) -> dict[str, Any]:
        """The body of ``GET /v1/receipts/{id}``; ``basis`` is that of its rate card, which the catalog knows."""
        return {
            "id": self.public_id,
            "object": "receipt",
            "model": self.model,
            "modality": self.modality,
            "outcome": self.outcome,
            "reason": self.reason,
            "work": jsonable_work(self.work),
            "measured": self.measured,
            "tokens_held": format_tokens(self.held_utok),
            "tokens_consumed": format_tokens(self.consumed_utok),
            "tokens_charged": format_tokens(self.charged_utok),
            "tokens_refunded": format_tokens(self.refunded_utok),
            "rate_card": self.rate_card,
            "basis": basis,
            "tariff": self.tariff,
            "service_tier": self.service_tier,
            "multiplier": self.multiplier,
            "quote": self.quote,
            "multipliers": [dict(line) for line in self.multipliers],
            "money": None if self.price is None else self.price.to_api(self.charged_utok),
            "settlement": self.settlement,
            "lines": [dict(line) for line in self.lines],
            "detail": dict(self.detail),
            "engine_ms": self.engine_ms,
            "transfers": {"hold": f"{self.id}/0", "resolution": f"{self.id}/1" if self.outcome else None},
            "created_at": self.created_at.isoformat(),
            "settled_at": self.settled_at.isoformat() if self.settled_at else None,
            "refunds": [refund.to_api() for refund in self.refunds],
        }

    def extra(self) -> dict[str, Any]:
        """The ``taximeter`` object inside an answer's body."""
        return {
            "receipt": self.public_id,
            "tokens_held": format_tokens(self.held_utok),
            "tokens_consumed": format_tokens(self.consumed_utok),
            "tokens_charged": format_tokens(self.charged_utok),
            "balance": None if self.balance_utok is None else format_tokens(self.balance_utok),
            "rate_card": self.rate_card,
            "settlement": self.settlement,
            "measured": self.measured,
            "outcome": self.outcome,
        }

    def headers(self, extra: Mapping[str, Any] | None = None) -> dict[str, str]:
        """The ``taximeter-*`` headers of an answer that is complete; ``extra`` is that of this receipt, if it was made before."""
        told = self.extra() if extra is None else extra
        headers = {
            "taximeter-receipt": told["receipt"],
            "taximeter-tokens-held": told["tokens_held"],
            "taximeter-tokens-consumed": told["tokens_consumed"],
            "taximeter-tokens-charged": told["tokens_charged"],
            "taximeter-rate-card": self.rate_card,
        }
        if told["balance"] is not None:
            headers["taximeter-balance"] = told["balance"]
        return {**headers, **quote_header(self.quote), **multiplier_header(self.multiplier, in_motion=self.in_motion), **self.waited}


def multiplier_header(multiplier: str, *, in_motion: bool) -> dict[str, str]:
    """The header that says what consumed Tokens were multiplied by; none for 1 where prices do not move."""
    return {"taximeter-multiplier": multiplier} if in_motion or multiplier != "1" else {}


def quote_header(quote: str | None) -> dict[str, str]:
    """The header that names the quote a request was held to."""
    return {} if quote is None else {"taximeter-quote": quote}


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request, as it was sent."""

    status: int
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Earlier:
    """The request that an idempotency key names.

    Attributes:
        same: it was the same request, by its fingerprint.
        released: it ended without a charge; the key is free.
        running: it has not ended, or its answer may still be on the way to be kept.
        answer: what it was answered with, when that was kept.
    """

    request_id: UUID
    same: bool
    released: bool
    running: bool
    answer: Answer | None
