"""What one receipt costs by a card or a tariff, in Tokens and in money.  Pure.

The arithmetic is that of the settlement: one rounding a line, one for the charge, one for the money, and never above what would have
been quoted at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from taximeter import pricing
from taximeter.metering.inputs import OF_TARIFF
from taximeter.metering.model import Price
from taximeter.pricing import Buyer, Versions


class Held(msgspec.Struct, frozen=True):
    """What a request was held by, as far as it counts here; an earlier release kept less.

    Attributes:
        rate_card: ``name@version``.
        tariff: the same.
        model: the same; empty: it was not kept, and neither was anything below.
        card: which of the model's cards.
        plan: ``name@version``, or a name alone; None: nobody's in particular.
        service_tier: the tier.
        currency: of the price.
        price_nano: money for one Token.
        maximum_utok: what was quoted at most.
        work_max: the work of that.
        factors: from consumed to charged.
    """

    rate_card: str = ""
    tariff: str = ""
    model: str = ""
    card: str = ""
    plan: str | None = None
    service_tier: str = "standard"
    currency: str = ""
    price_nano: int = 0
    maximum_utok: int = 0
    work_max: Mapping[str, int | str] = {}
    factors: pricing.Factors = pricing.Factors()


NOT_KEPT = Held()


class Rated(msgspec.Struct, frozen=True):
    """Work, and the micro-Tokens that it consumes by a card."""

    card: pricing.RateCard
    work: Mapping[str, int]
    utok: int


@dataclass(frozen=True, slots=True)
class Side:
    """By what a receipt is priced.

    Attributes:
        card: this rate card; None: its own.
        tariff: this tariff (``name@version``), for the receipt's own model, tier, plan and currency; None: what it was held by.
    """

    card: pricing.RateCard | None = None
    tariff: str | None = None

    def card_of(self, catalog: pricing.Catalog | None, held: Held) -> pricing.RateCard | None:
        """The card for a receipt; None: its own is not published."""
        if self.card is not None:
            return self.card
        return None if catalog is None else catalog.cards.get(held.rate_card)

    def charge(self, catalog: pricing.Catalog | None, consumed: Rated, held: Held) -> tuple[int, int]:
        """Micro-Tokens charged, and what they are in billionths of ``held.currency``.

        Raises a refusal when the tariff has no price for it, or the card none for the work that the hold would have been for.
        """
        if self.tariff is None:
            factors, price = held.factors, Price(held.currency, held.price_nano)
        else:
            assert catalog is not None
            factors, price = _by_tariff(catalog, self.tariff, held)
        maximum_utok = held.maximum_utok
        if self.tariff is not None or consumed.card.id != held.rate_card:
            most = {name: int(value) for name, value in held.work_max.items()}
            maximum_utok = factors.charge(pricing.rate(consumed.card, most).total_utok, most)
        charged_utok = factors.charge(consumed.utok, consumed.work, maximum_utok)
        return charged_utok, price.amount_nano(charged_utok)


def _by_tariff(catalog: pricing.Catalog, tariff: str, held: Held) -> tuple[pricing.Factors, Price]:
    """The factors and the price by a tariff, of what the receipt was: a surge of its moment counts as it did."""
    extra = tuple(multiplier for multiplier in held.factors.fixed if multiplier.name not in OF_TARIFF)
    plan = held.plan or ""
    versions = Versions(model=held.model, card=held.rate_card, tariff=tariff, plan=plan if "@" in plan else None)
    buyer = Buyer(plan=plan.partition("@")[0] or None, currency=held.currency, extra=extra)
    priced = catalog.priced(held.model.partition("@")[0], held.card, versions)
    price = priced.price(buyer)
    return priced.factors(priced.tier(held.service_tier), buyer), Price(price.currency, price.price_nano)
