"""One receipt after the other, by both cards.  Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from taximeter import pricing
from taximeter.metering.comparison.model import Comparison, Left, Sums

NOTHING = "nothing was delivered"


@dataclass(frozen=True, slots=True)
class Comparer:
    """Rates work by two cards, each receipt rounded as it would have been settled: without caps and multipliers."""

    first: pricing.RateCard
    second: pricing.RateCard
    found: Comparison = field(default_factory=Comparison)

    def add(self, project_id: UUID, model: str, work: Mapping[str, int]) -> None:
        """One receipt.  Work that a card does not cover is counted as left out, with the card's reason."""
        reason = NOTHING if not work else self._refusal(work)
        if reason is not None:
            left = Left(model, reason)
            self.found.left_out[left] = self.found.left_out.get(left, 0) + 1
            return
        amounts = pricing.rate(self.first, work).total_utok, pricing.rate(self.second, work).total_utok
        self.found.cells.setdefault((project_id, model), Sums()).add(*amounts)

    def _refusal(self, work: Mapping[str, int]) -> str | None:
        for card in (self.first, self.second):
            lacking = card.priced - work.keys()
            if lacking:
                return f"{card.id} prices {', '.join(sorted(lacking))}, which was not measured"
            unknown = work.keys() - card.known
            if unknown:
                return f"{card.id} does not know {', '.join(sorted(unknown))}: it neither prices that nor lists it under unpriced"
        return None
