"""From measured work to a bill, and from bills to facts.  Pure."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from taximeter import meters, pricing
from taximeter.identity import Caller
from taximeter.kernel.texts import storable_throughout
from taximeter.kernel.units import format_tokens
from taximeter.metering.fares import Fare
from taximeter.metering.inputs import fare_fact
from taximeter.metering.model import Order, Outcome, jsonable_work
from taximeter.pricing import RateCard

FINGERPRINT_BYTES = 32
# What a receipt can hold, with room for sums of many: a report above it would be charged by nobody, and its hold would wait for its end.
CONSUMED_UTOK_MAX = 10**17


# What a receipt's detail says besides what the engine said.
_OURS = frozenset({"reported", "multiplier", "multipliers"})


class Bill(msgspec.Struct, frozen=True):
    """What a request is charged, and why.

    Attributes:
        reported: what the engine reported; empty when it did not, or was not asked.
        multiplier: the product of all factors, exactly.
        multipliers: what each factor changed: with ``consumed_utok``, they add up to ``charged_utok``.
    """

    work: Mapping[str, int]
    measured: bool
    consumed_utok: int
    charged_utok: int
    lines: tuple[Mapping[str, Any], ...]
    reported: Mapping[str, int] = {}
    multiplier: str = "1"
    multipliers: tuple[Mapping[str, Any], ...] = ()


NOTHING = Bill(work={}, measured=True, consumed_utok=0, charged_utok=0, lines=())


class Terms(msgspec.Struct, frozen=True):
    """What a request was quoted by, and is therefore settled by."""

    card: RateCard
    meter: str
    profile: Mapping[str, Any]
    estimate: meters.Estimate
    factors: pricing.Factors
    maximum_utok: int


def terms_of(fare: Fare) -> Terms:
    """The terms of a fare that was just quoted."""
    return Terms(fare.priced.card, fare.model.meter, fare.model.profile, fare.estimate, fare.parts.factors, fare.maximum_utok)


def bill(terms: Terms, reported: Mapping[str, int], *, measured: bool) -> Bill:
    """Rate what the engine reported.  Never above the quoted maximum.

    Raises BadReport when the report lacks a quantity or holds nonsense.
    """
    work = meters.get(terms.meter).actual(reported, terms.estimate, terms.profile)
    consumption = pricing.rate(terms.card, work)
    if consumption.total_utok > CONSUMED_UTOK_MAX:
        message = f"the engine reported work worth {format_tokens(consumption.total_utok)} Tokens, which cannot be; the request was not charged"
        raise meters.BadReport(message)
    factors, consumed_utok = terms.factors, consumption.total_utok
    charged_utok = consumption.charge(factors, terms.maximum_utok)
    assert 0 <= charged_utok <= terms.maximum_utok
    lines = tuple(
        {"label": line.label, "quantity": line.quantity, "rate": line.rate, "tokens": format_tokens(line.amount_utok)} for line in consumption.lines
    )
    if factors.plain and charged_utok == consumed_utok:
        return Bill(work, measured, consumed_utok, charged_utok, lines, reported)
    changes = tuple(line.to_api() for line in consumption.changes(factors, terms.maximum_utok))
    return Bill(work, measured, consumed_utok, charged_utok, lines, reported, factors.multiplier(work), changes)


def request_fact(caller: Caller, fare: Fare, process_id: UUID | None, end_user: str | None) -> dict[str, Any]:
    """The row of ``metering.requests`` that is written with the hold; ids become texts when it is encoded."""
    return {
        "project_id": caller.project_id,
        "key_id": caller.key_id,
        "process_id": process_id,
        "model": fare.model.name,
        "modality": fare.model.modality,
        "rate_card": fare.parts.rate_card,
        "tariff": fare.parts.tariff,
        "multiplier": fare.parts.multiplier,
        "fare": fare_fact(fare),
        "end_user": end_user,
    }


def key_fact(order: Order) -> dict[str, Any]:
    """The row of ``metering.idempotency`` that is written with the hold of an order that has a key."""
    assert len(order.fingerprint) == FINGERPRINT_BYTES
    return {
        "project_id": str(order.caller.project_id),
        "key": order.idempotency_key,
        "fingerprint": order.fingerprint.hex(),
        # Streams have been read when they end, and speech is large: only these are kept for a repeat.
        "keeps_answer": order.modality in ("chat", "embeddings") and not order.stream,
    }


def receipt_fact(charge: Bill, outcome: Outcome, reason: str | None, detail: Mapping[str, Any], engine_ms: int) -> dict[str, Any]:
    """The row of ``metering.receipts`` that is written with the resolution."""
    kept = {name: value for name, value in detail.items() if name not in _OURS}
    if charge.reported:
        kept["reported"] = jsonable_work(charge.reported)
    if charge.multipliers:
        kept["multiplier"] = charge.multiplier
        kept["multipliers"] = list(charge.multipliers)
    return {
        "outcome": outcome,
        "reason": reason,
        "work": jsonable_work(charge.work),
        "measured": charge.measured,
        "consumed_utok": charge.consumed_utok,
        "lines": list(charge.lines),
        "detail": kept,
        "engine_ms": engine_ms,
    }


def encode_fact(fact: Mapping[str, Any]) -> str:
    """A fact as the JSON text that the posting function reads."""
    try:
        text = msgspec.json.encode(fact).decode()
    except UnicodeEncodeError:
        text = ""
    if not text or "\\u0000" in text:
        return msgspec.json.encode(storable_throughout(fact)).decode()
    return text


def whole_days(start: datetime, end: datetime) -> tuple[date, date]:
    """The days in UTC that lie in a span as a whole: the first, and the day after the last.  The same day twice when there is none."""
    first, after = start.astimezone(UTC), end.astimezone(UTC).date()
    day = first.date()
    if first > datetime(day.year, day.month, day.day, tzinfo=UTC):
        day += timedelta(days=1)
    return day, max(day, after)
