"""Holding a request to its quote: the offer that it names, and whether it is what was offered."""

import asyncio

import msgspec

from taximeter.admission import surge
from taximeter.identity import Caller
from taximeter.kernel.ids import decode_id, encode_id
from taximeter.metering.desk import Desk
from taximeter.metering.errors import QuoteExpired, QuoteKeyRevoked, QuoteMismatch, QuoteNotFound, QuoteUsed
from taximeter.metering.fares import Fare
from taximeter.metering.model import QUOTE_PREFIX, RECEIPT_PREFIX, Order
from taximeter.metering.quotes.fingerprint import differences, fingerprint, job_of, parts_of
from taximeter.metering.quotes.store import Kept, QuoteStore
from taximeter.metering.store import MeteringStore
from taximeter.pricing import Buyer, Versions

HEADER = "taximeter-quote"
_FIELDS_SHOWN = 5
# A catalog is looked for during two times its refresh, ten times in each.
_LOOKS = 20


class Offer(msgspec.Struct, frozen=True):
    """What a quote has promised.

    Attributes:
        kept: the quote on record.
        versions: to price by.
        buyer: whose price it was; a plan that has changed since changes nothing.
    """

    kept: Kept
    versions: Versions
    buyer: Buyer

    @property
    def approved(self) -> bool:
        """Whether an operator has approved it, above its plan's cap."""
        return self.kept.approved

    def held_to(self, fare: Fare) -> Fare:
        """The fare of a request, at the quoted maximum.  Raises QuoteMismatch when it is another job than the one that was quoted."""
        job = job_of(fare)
        if fingerprint(job) != self.kept.fingerprint:
            raise mismatch(differences(self.kept.parts, parts_of(job)))
        if fare.maximum_utok == self.kept.maximum_utok:
            return fare
        return msgspec.structs.replace(fare, parts=msgspec.structs.replace(fare.parts, maximum_utok=self.kept.maximum_utok))


async def find_offer(store: QuoteStore, caller: Caller, quote_id: str) -> Kept:
    """One of the caller's quotes.  Raises QuoteNotFound, for somebody else's as well."""
    wanted = decode_id(QUOTE_PREFIX, quote_id)
    kept = None if wanted is None else await store.find(caller.project_id, wanted)
    if kept is None:
        message = "there is no quote with this id, or its time was over long ago; ask for a new one with POST /v1/quotes"
        raise QuoteNotFound(message, param=HEADER)
    return kept


async def open_offer(desk: Desk, store: MeteringStore, order: Order) -> Offer | None:
    """The offer that an order names; None when it names none.

    Raises QuoteNotFound, QuoteUsed, QuoteExpired, QuoteKeyRevoked, and QuoteMismatch when it is for another model.
    """
    if order.quote_id is None:
        return None
    kept = await find_offer(QuoteStore(store.pool), order.caller, order.quote_id)
    if kept.used_by is not None:
        raise used(kept)
    if kept.expired:
        message = f"the quote was good until {kept.expires_at.isoformat()}; ask for a new one with POST /v1/quotes; nothing was run or charged"
        raise QuoteExpired(message, param=HEADER)
    if kept.revoked:
        message = "the quote was signed with a key that had been revoked; ask for a new one with POST /v1/quotes; nothing was run or charged"
        raise QuoteKeyRevoked(message, param=HEADER)
    offer = kept.offer
    if offer["model"] != order.model:
        raise mismatch(["model"])
    by = offer["versions"]
    versions = Versions(model=by["model"], card=by["rate_card"], tariff=by["tariff"], plan=by["plan"])
    await _until_known(desk, versions)
    buyer = Buyer(plan=offer["plan"], currency=offer["money"]["currency"])
    for each in offer.get("multipliers", ()):
        if each["name"] == surge.NAME:
            # The moment of the quote counts, whatever the price has become since.
            buyer = buyer.with_factor(each["name"], each["label"], each["factor"])
    return Offer(kept, versions, buyer)


async def _until_known(desk: Desk, versions: Versions) -> None:
    """Wait for the catalog that another process has quoted by, if it was published a moment ago."""
    for _ in range(_LOOKS):
        catalog = desk.catalog
        if versions.model in catalog.models_by_id and versions.card in catalog.cards and versions.tariff in catalog.tariffs:
            return
        await asyncio.sleep(desk.settings.catalog_refresh_s / 10)


async def taken(store: MeteringStore, order: Order) -> QuoteUsed:
    """The refusal of an order whose quote another one took between the look at it and the hold.  Raises QuoteNotFound."""
    assert order.quote_id is not None
    return used(await find_offer(QuoteStore(store.pool), order.caller, order.quote_id))


def used(kept: Kept) -> QuoteUsed:
    """The refusal of a second use."""
    if kept.used_by is None:
        message = "another request has asked for this quote in the same moment; send it again, or ask for a new quote"
        return QuoteUsed(message, param=HEADER)
    receipt = encode_id(RECEIPT_PREFIX, kept.used_by)
    message = f"the quote was used by the request with the receipt {receipt}; each is for one request; nothing was run or charged"
    return QuoteUsed(message, param=HEADER, headers={"taximeter-receipt": receipt})


def mismatch(fields: list[str]) -> QuoteMismatch:
    """The refusal of a request that was not quoted, naming what differs."""
    shown = ", ".join(fields[:_FIELDS_SHOWN]) + (f" and {len(fields) - _FIELDS_SHOWN} more" if len(fields) > _FIELDS_SHOWN else "")
    message = (
        f"the request is not the one that was quoted: {shown} {'differ' if len(fields) > 1 else 'differs'}; send what was quoted, or ask for a"
        f" quote for this; nothing was run or charged"
    )
    return QuoteMismatch(message, param=fields[0] if fields else HEADER)
