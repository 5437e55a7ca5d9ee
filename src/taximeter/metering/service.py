"""Rides and the list of models."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from taximeter import pricing
from taximeter.engines import Job
from taximeter.identity import Caller
from taximeter.kernel.errors import Refusal
from taximeter.kernel.ids import encode_id
from taximeter.ledger import Status
from taximeter.metering.approvals import Parking
from taximeter.metering.desk import Desk, Held, buyer_of, hold_with_fresh_terms, must_wait, price_order, rider_of, slots_of
from taximeter.metering.errors import QuoteUsed
from taximeter.metering.fares import Fare, quote_fare
from taximeter.metering.model import Order
from taximeter.metering.quotes import open_offer, taken
from taximeter.metering.repeats import Repeats, in_progress
from taximeter.metering.ride import Ride
from taximeter.metering.store import MeteringStore

log = logging.getLogger(__name__)

_SAMPLES: Mapping[str, dict[str, Any]] = {"chat": {"messages": [{"role": "user", "content": "Hello"}]}, "embeddings": {"input": "Hello"}}


class Metering:
    """Opens rides, and lists the models."""

    def __init__(self, desk: Desk, store: MeteringStore) -> None:
        self._desk = desk
        self._store = store
        self._repeats = Repeats(desk, store)
        self._parking = Parking(desk, store)

    def warm_up(self) -> None:
        """Load what estimates need (vocabularies), so that no request waits for it.  Blocks for up to a second: call it in a thread."""
        for entry in self._desk.catalog.models.values():
            sample = _SAMPLES.get(entry.modality)
            if sample is not None:
                try:
                    quote_fare(self._desk.catalog, entry.name, sample)
                except Refusal as refusal:
                    log.warning("%s cannot be quoted: %s", entry.name, refusal.message)

    async def open(self, order: Order) -> Ride:
        """Price an order and hold its maximum; the ride then runs it.

        Raises what ``open_offer``, ``price_order``, ``Guard.enter`` and ``hold_with_fresh_terms`` raise; FlexUnavailable;
        EngineUnavailable when no engine runs the model; AbovePlanCap and what ``Parking.refusal`` raises (NeedsApproval among it) when
        it is above its plan's cap and not approved; what ``Repeats.answer`` raises (Replayed among it) when it repeats an earlier one.
        """
        desk = self._desk
        earlier = await self._repeats.find(order)
        if earlier is not None:
            await self._repeats.answer(order.caller, earlier)
        try:
            offer = await open_offer(desk, self._store, order)
        except QuoteUsed:
            # The first of two with one key may have used it since the look at the key.
            earlier = await self._repeats.find(order)
            if earlier is None:
                raise
            await self._repeats.answer(order.caller, earlier)
        fare = price_order(desk, order, offer)
        desk.surge.check_calm(fare.model.engine, fare.tier)
        engine = desk.engine_of(fare)
        if must_wait(desk, order, fare, offer):
            raise await self._parking.refusal(order, fare)
        timeout_s = desk.timeout_s(order.modality)
        wait_s = 0.0 if slots_of(engine) is None else min(desk.settings.queue_wait_max_s, timeout_s)
        passage = desk.guard.enter(engine, fare, rider_of(desk, order, fare), wait_s + timeout_s, order.caller.project_id)
        try:
            request_id, order, outcome = await self._hold(order, fare, int(wait_s + timeout_s) + desk.settings.hold_ttl_s)
        except BaseException:
            passage.given_back()
            raise
        job = Job(
            id=encode_id("req", request_id),
            modality=order.modality,
            model=fare.model.engine_model or fare.model.name,
            request=_engine_request(order, fare),
            bound=dict(fare.estimate.bound),
            deadline_s=timeout_s,
        )
        return Ride(desk, order, fare, engine, job, request_id, outcome, passage)

    async def _hold(self, order: Order, fare: Fare, ttl_s: int) -> tuple[UUID, Order, Held]:
        request_id, order, outcome = await hold_with_fresh_terms(self._desk, order, fare, ttl_s=ttl_s, job=None)
        if outcome.status in (Status.KEY_USED, Status.QUOTE_USED):
            # Another request took the key or the quote in the meantime; that may have been the first of two with one key.
            earlier = await self._repeats.find(order)
            if earlier is None:
                raise in_progress() if outcome.status is Status.KEY_USED else await taken(self._store, order)
            await self._repeats.answer(order.caller, earlier)
        return request_id, order, outcome

    async def keep_answer(self, request_id: UUID, status: int, content_type: str, body: bytes) -> None:
        """Keep the answer to an order with an idempotency key, for repeats.  Best effort."""
        await self._repeats.keep(request_id, status, content_type, body)

    def models(self, caller: Caller | None = None) -> Sequence[dict[str, Any]]:
        """The models of the catalog as ``GET /v1/models`` lists them, with what they cost the caller; without one, at list prices."""
        buyer = pricing.Buyer() if caller is None else buyer_of(caller)
        return [self._model(entry, buyer) for _, entry in sorted(self._desk.catalog.models.items())]

    def _model(self, entry: pricing.ModelEntry, buyer: pricing.Buyer) -> dict[str, Any]:
        view: dict[str, Any] = {
            "id": entry.name,
            "object": "model",
            "created": int(entry.effective_from.timestamp()),
            "owned_by": "taximeter",
            "modality": entry.modality,
            "title": entry.title,
            "available": entry.engine in self._desk.engines,
        }
        try:
            priced = self._desk.catalog.priced(entry.name, buyer=buyer)
            price = priced.price(buyer)
            tiers = {tier: priced.factors(tier, self._desk.surge.buyer(buyer, entry.engine, tier)).multiplier({}) for tier in priced.offered()}
        except pricing.ModelNotPriced:
            return {**view, "available": False, "price": None}
        card = priced.card
        view["price"] = {
            "rate_card": card.id,
            "basis": card.basis,
            "rates": [{"label": line.label, "rate": rate, "borne": line.borne} for line, rate in zip(card.lines, card.rates, strict=True)],
            "tariff": priced.tariff.id,
            "currency": price.currency,
            "price_nano_per_token": str(price.price_nano),
            "multiplier": tiers["standard"],
            "service_tiers": tiers,
        }
        surge = self._desk.surge.summary(entry.engine)
        if surge is not None:
            view["price"]["surge"] = surge
        return view


def _engine_request(order: Order, fare: Fare) -> dict[str, Any]:
    """What the engine is asked: an upstream that has tiers must know which was paid for."""
    if order.modality != "chat":
        return dict(fare.estimate.request)
    tier = {} if fare.tier == "standard" else {"service_tier": fare.tier}
    return {**fare.estimate.request, **tier, "stream": order.stream}
