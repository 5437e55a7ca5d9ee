"""A quote as a document that is signed, and checking one without the server that made it.  Pure.

What is signed: ``taximeter-quote/1``, a line feed, and the document without the members of ``UNSIGNED`` as canonical JSON.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from taximeter.kernel.canonical import canonical_json
from taximeter.kernel.ids import encode_id
from taximeter.kernel.signatures import ALGORITHM, PublicKey, SigningKey
from taximeter.kernel.units import format_tokens
from taximeter.metering.fares import Fare
from taximeter.metering.model import QUOTE_PREFIX, fare_lines, jsonable_work
from taximeter.metering.quotes.fingerprint import to_text
from taximeter.metering.quotes.words import told

CONTEXT = "taximeter-quote/1"
# What may stand beside a quote and is not part of the offer.
UNSIGNED = frozenset({"signature", "state", "receipt", "alternatives"})


class Validity(msgspec.Struct, frozen=True):
    """For whom an offer is, and for how long."""

    quote_id: UUID
    project_id: UUID
    plan: str
    issued_at: datetime
    expires_at: datetime


class InvalidQuote(ValueError):
    """A document is no quote, or not what was signed; the message says why."""


def priced(fare: Fare) -> dict[str, Any]:
    """What a fare says about the price: Tokens and money, line by line, by which versions.  Also for fares that nobody is bound to."""
    expected, most = format_tokens(fare.expected_utok), format_tokens(fare.maximum_utok)
    return {
        "model": fare.model.name,
        "modality": fare.model.modality,
        "tokens_expected": expected,
        "tokens_max": most,
        "money": money(fare),
        "breakdown": [{**line, "text": words.text} for line, words in zip(fare_lines(fare), told(fare), strict=True)],
        "work_expected": jsonable_work(fare.estimate.expected),
        "work_max": jsonable_work(fare.estimate.maximum),
        "card": fare.card_name,
        "rate_card": fare.parts.rate_card,
        "basis": fare.priced.card.basis,
        "tariff": fare.parts.tariff,
        "versions": versions(fare),
        "service_tier": fare.tier,
        "multiplier": fare.parts.multiplier,
        "multipliers": multipliers(fare),
    }


def offer(fare: Fare, validity: Validity, digest: bytes) -> dict[str, Any]:
    """The document of a quote, not signed yet."""
    document = priced(fare)
    document["id"] = encode_id(QUOTE_PREFIX, validity.quote_id)
    document["object"] = "quote"
    document["project"] = encode_id("prj", validity.project_id)
    document["plan"] = validity.plan
    document["fingerprint"] = to_text(digest)
    document["issued_at"] = validity.issued_at.isoformat()
    document["expires_at"] = validity.expires_at.isoformat()
    return document


def sign(document: Mapping[str, Any], key: SigningKey) -> str:
    """The signed document, as one line of JSON: the canonical text with the signature behind it."""
    body = canonical_json(document)
    signature = {"algorithm": ALGORITHM, "key": key.id, "value": key.sign(CONTEXT, body)}
    return f'{body[:-1].decode()},"signature":{canonical_json(signature).decode()}}}'


def read_quote(text: str | bytes) -> dict[str, Any]:
    """A quote from JSON.  Raises InvalidQuote, also for a member that stands twice: readers might not agree on which one counts."""
    try:
        document = json.loads(text, object_pairs_hook=_no_doubles, parse_float=_no_fraction, parse_constant=_no_fraction)
    except (ValueError, RecursionError) as error:
        message = f"this is not the JSON of a quote ({error})"
        raise InvalidQuote(message) from error
    if not isinstance(document, dict) or document.get("object") != "quote":
        message = 'this is not a quote: no object with "object": "quote"'
        raise InvalidQuote(message)
    return document


def verify_quote(document: Mapping[str, Any], keys: Iterable[PublicKey], revoked: Mapping[str, datetime] | None = None) -> PublicKey:
    """Check a quote's signature; returns the key that has made it.

    Says nothing about time and use: ``expires_at`` is in the document, and whether it was used only the server knows.
    Raises InvalidQuote when it is not signed by one of the keys, was changed since, or was issued when its key was not trusted any more.

    Args:
        document: as ``read_quote`` gives it.
        keys: those that are trusted, or were.
        revoked: from when on some of them are not, by their ids.
    """
    signature = document.get("signature")
    if not isinstance(signature, dict) or signature.keys() != {"algorithm", "key", "value"} or signature["algorithm"] != ALGORITHM:
        message = f"the quote has no signature of the kind {ALGORITHM}"
        raise InvalidQuote(message)
    key = next((key for key in keys if key.id == signature["key"]), None)
    if key is None:
        message = f"the quote is signed with the key {str(signature['key'])[:60]}, which is not among those given"
        raise InvalidQuote(message)
    signed = {name: value for name, value in document.items() if name not in UNSIGNED}
    try:
        body = canonical_json(signed)
    except (TypeError, UnicodeEncodeError, RecursionError) as error:
        message = f"the quote cannot be written as canonical JSON ({error})"
        raise InvalidQuote(message) from error
    if not key.verifies(signature["value"], CONTEXT, body):
        message = "the quote is not what was signed: the signature does not fit it"
        raise InvalidQuote(message)
    start = (revoked or {}).get(key.id)
    if start is not None and issued_at(document) >= start:
        message = f"the quote was issued at {document['issued_at']}, and its key {key.id} is revoked for what was issued from {start.isoformat()} on"
        raise InvalidQuote(message)
    return key


def issued_at(document: Mapping[str, Any]) -> datetime:
    """When a quote was made, by what it says.  Raises InvalidQuote."""
    try:
        found = datetime.fromisoformat(document["issued_at"])
    except (KeyError, TypeError, ValueError) as error:
        message = "the quote does not say when it was issued"
        raise InvalidQuote(message) from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def money(fare: Fare) -> dict[str, str]:
    """What a fare costs in its tariff's currency: billionths as texts, and decimals to read."""
    told = fare.money
    return {
        "currency": told.currency,
        "price_nano_per_token": str(told.price_nano),
        "expected_nano": str(told.expected_nano),
        "maximum_nano": str(told.maximum_nano),
        "expected": fare.buyer.money_text(told.expected_nano),
        "maximum": fare.buyer.money_text(told.maximum_nano),
    }


def versions(fare: Fare) -> dict[str, str | None]:
    """What the fare was computed by; whatever is published later, the same comes out again."""
    by = fare.versions
    return {"model": by.model, "meter": fare.model.meter, "rate_card": by.card, "tariff": by.tariff, "plan": by.plan}


def multipliers(fare: Fare) -> list[dict[str, str]]:
    """What lies between Tokens consumed and charged: each factor, and what it changes.  With the breakdown they add up to the fare."""
    return [
        {
            "name": each.name,
            "label": each.label,
            "factor": each.factor,
            "tokens_expected": format_tokens(each.expected_utok),
            "tokens_max": format_tokens(each.maximum_utok),
        }
        for each in fare.parts.multipliers
    ]


def told_lines(fare: Fare) -> list[dict[str, Any]]:
    """The breakdown as a page tells it: both quantities where they differ, no term that counts nothing, and who has which share of operations.

    Quotes and receipts keep the quantities and rates of ``fare_lines``: what is signed or stored is written in one way.
    """
    return [line.to_page() for line in told(fare)]


def _no_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        message = "a member stands twice"
        raise ValueError(message)
    return members


def _no_fraction(text: str) -> None:
    message = f"{text[:40]} is not a whole number; a quote has no others"
    raise ValueError(message)
