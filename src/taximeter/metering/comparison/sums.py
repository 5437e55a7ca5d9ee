"""One receipt after the other, by both cards or tariffs.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from taximeter import pricing
from taximeter.kernel.errors import Refusal
from taximeter.metering.comparison.model import Comparison, Left, Pair, Sums
from taximeter.metering.comparison.sides import NOT_KEPT, Held, Rated, Side

NOTHING = "nothing was delivered"
NO_PRICE = "an earlier release kept no price with it"


@dataclass(frozen=True, slots=True)
class Comparer:
    """Rates work by two sides, each receipt rounded as it would have been settled.

    Cards are compared by what is consumed, without caps and multipliers; beside that stands what it costs, by the factors and the
    price that the receipt was held by.  Tariffs are compared by what is charged, and by what that costs.
    """

    first: Side
    second: Side
    catalog: pricing.Catalog | None = None
    found: Comparison = field(default_factory=Comparison)

    @property
    def of_tariffs(self) -> bool:
        """Whether it compares tariffs."""
        return self.first.tariff is not None

    def add(self, project_id: UUID, model: str, work: Mapping[str, int], held: Held = NOT_KEPT) -> None:
        """One receipt.  One that a card does not cover, or a tariff has no price for, is counted as left out, with the reason."""
        cards = self._cards(work, held)
        if isinstance(cards, str):
            _count(self.found.left_out, model, cards)
            return
        utok = pricing.rate(cards[0], work).total_utok, pricing.rate(cards[1], work).total_utok
        charged = self._charged((Rated(cards[0], work, utok[0]), Rated(cards[1], work, utok[1])), held)
        if isinstance(charged, str):
            _count(self.found.left_out if self.of_tariffs else self.found.unpriced, model, charged)
            if self.of_tariffs:
                return
        sums = self.found.cells.setdefault((project_id, model), Sums())
        if not self.of_tariffs:
            sums.add(utok, utok)
        if not isinstance(charged, str):
            if self.of_tariffs:
                sums.add(*charged)
            sums.add_money(held.currency, charged[1])

    def _cards(self, work: Mapping[str, int], held: Held) -> tuple[pricing.RateCard, pricing.RateCard] | str:
        """Both cards, or why the receipt cannot be rated by them."""
        reason = self._alien(held) if work else NOTHING
        if reason is not None:
            return reason
        cards = []
        for side in (self.first, self.second):
            card = side.card_of(self.catalog, held)
            if card is None:
                return f"its rate card {held.rate_card} is not published"
            lacking = card.priced - work.keys()
            if lacking:
                return f"{card.id} prices {', '.join(sorted(lacking))}, which was not measured"
            unknown = work.keys() - card.known
            if unknown:
                return f"{card.id} does not know {', '.join(sorted(unknown))}: it neither prices that nor lists it under unpriced"
            cards.append(card)
        return cards[0], cards[1]

    def _alien(self, held: Held) -> str | None:
        """Why tariffs say nothing about a receipt."""
        if not self.of_tariffs:
            return None
        if not held.model:
            return NO_PRICE
        name = held.tariff.partition("@")[0]
        known = name in {str(side.tariff).partition("@")[0] for side in (self.first, self.second)}
        return None if known else f"it was held by the tariff {name}"

    def _charged(self, consumed: tuple[Rated, Rated], held: Held) -> tuple[Pair, Pair] | str:
        """Micro-Tokens and money by both, or why there are none."""
        if not held.model:
            return NO_PRICE
        try:
            first = self.first.charge(self.catalog, consumed[0], held)
            second = first if self.second == self.first else self.second.charge(self.catalog, consumed[1], held)
        except Refusal as refusal:
            return refusal.message
        return (first[0], second[0]), (first[1], second[1])


def _count(counts: dict[Left, int], model: str, reason: str) -> None:
    left = Left(model, reason)
    counts[left] = counts.get(left, 0) + 1
