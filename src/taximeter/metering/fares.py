"""Fares: model, meter, card and tariff put together.  Pure; the same code quotes in a page, on the command line and for a hold."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from taximeter import meters, pricing
from taximeter.pricing import Buyer, Versions

ANYONE = Buyer()


class Money(msgspec.Struct, frozen=True):
    """What a fare is in money, in billionths (``_nano``) of the currency's unit.

    Attributes:
        currency: ISO 4217.
        price_nano: for one Token.
        expected_nano: likely.
        maximum_nano: at most.
    """

    currency: str
    price_nano: int
    expected_nano: int
    maximum_nano: int


class Fare(msgspec.Struct, frozen=True):
    """What a request will cost, before anything is held.

    Attributes:
        model: the model's entry in the catalog.
        card_name: which of its cards was used (``calibrated``).
        priced: that card and its tariff.
        estimate: expected and maximum work, the engine's bound, and the normalised request.
        parts: charged and consumed Tokens, line by line.
        tier: the service tier that it is for.
        buyer: whom it is for.
    """

    model: pricing.ModelEntry
    card_name: str
    priced: pricing.Priced
    estimate: meters.Estimate
    parts: pricing.FareParts
    tier: str = "standard"
    buyer: Buyer = ANYONE

    @property
    def expected_utok(self) -> int:
        """What is likely charged."""
        return self.parts.expected_utok

    @property
    def maximum_utok(self) -> int:
        """What is charged at most: the amount to hold."""
        return self.parts.maximum_utok

    @property
    def model_id(self) -> str:
        """``name@version`` of the model."""
        return self.model.id

    @property
    def versions(self) -> Versions:
        """What to price by to get the same fare again, whatever is published since."""
        plan = self.priced.plan
        return Versions(model=self.model.id, card=self.parts.rate_card, tariff=self.parts.tariff, plan=None if plan is None else plan.id)

    @property
    def money(self) -> Money:
        """The fare in money."""
        price = self.priced.price(self.buyer)
        return Money(price.currency, price.price_nano, price.amount_nano(self.expected_utok), price.amount_nano(self.maximum_utok))


def quote_fare(
    catalog: pricing.Catalog,
    model_name: str,
    request: Mapping[str, Any],
    card: str | None = None,
    *,
    buyer: Buyer = ANYONE,
    versions: Versions | None = None,
) -> Fare:
    """What ``request`` (OpenAI's body) will cost on a model of the catalog.

    Args:
        catalog: the snapshot to price by.
        model_name: the model.
        request: the body that the caller would send.  Its ``service_tier`` decides the tier; the meter does not see it.
        card: another of the model's cards than its default one.
        buyer: whose plan and currency count, and the factors of the moment.
        versions: published versions to price by, whatever is in force now.

    Raises:
        ModelNotFound, ModelNotPriced (CurrencyNotPriced, PlanNotPriced), CardNotFound: the catalog has no price.
        TierNotOffered: the model does not offer the service tier.
        InvalidRequest: the meter refuses the request (or a subclass of it).
        TokenizerUnavailable: the model's vocabulary is not on this machine.
    """
    priced = catalog.priced(model_name, card, versions, buyer)
    # A price in money that is not known is refused before anything is computed.
    priced.price(buyer)
    tier = priced.tier(request.get("service_tier"))
    if "service_tier" in request:
        request = {name: value for name, value in request.items() if name != "service_tier"}
    factors = priced.factors(tier, buyer)
    estimate = meters.get(priced.model.meter).estimate(request, priced.model.profile)
    parts = priced.fare(estimate, factors)
    return Fare(model=priced.model, card_name=priced.card_name, priced=priced, estimate=estimate, parts=parts, tier=tier, buyer=buyer)


class Meters:
    """What prices must know about the meters, to check a catalog."""

    def quantities(self, meter: str) -> frozenset[str] | None:
        """Quantities of a meter's work; None when there is no such meter."""
        found = meters.find(meter)
        return None if found is None else frozenset(found.quantities)

    def held_as(self, meter: str) -> Sequence[tuple[str, str]]:
        """Pairs (a, b): a hold counts b as a."""
        return meters.get(meter).held_as

    def held_when(self, meter: str) -> Mapping[str, str]:
        """Quantities that a hold counts only where the model's entry has a key."""
        when: Mapping[str, str] = getattr(meters.get(meter), "held_when", {})
        return when

    def profile_problem(self, meter: str, profile: Mapping[str, Any]) -> tuple[str, str] | None:
        """What is wrong with a model's profile, as (key, message)."""
        try:
            meters.get(meter).check(profile)
        except meters.BadProfile as error:
            return error.key, error.message
        return None


METERS = Meters()


def read_catalog(path: Path | None, as_of: datetime) -> pricing.Catalog:
    """A catalog from YAML files, without a database: the built-in one when no path is given.

    Raises CatalogInvalid with every fault.
    """
    return pricing.read_dir(path or pricing.builtin_dir(), as_of, METERS)
