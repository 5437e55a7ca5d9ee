"""A snapshot of everything published: which versions are in force, and what a model costs whom.  Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from taximeter.kernel.errors import InvalidRequest
from taximeter.pricing import rules
from taximeter.pricing.basis import Basis
from taximeter.pricing.currencies import MINOR_UNITS
from taximeter.pricing.errors import (
    CardNotFound,
    CurrencyNotPriced,
    ModelNotFound,
    ModelNotPriced,
    PlanNotPriced,
    TierNotOffered,
    UnknownCurrency,
    UnknownPlan,
)
from taximeter.pricing.factors import PLAIN, Factors
from taximeter.pricing.model import Document, Kind, ModelEntry, Plan, RateCard, Tariff
from taximeter.pricing.rules import Estimated, FareParts
from taximeter.pricing.tariffs import ANYONE, DEFAULT_PLAN, STANDARD, TIERS, Buyer, Multiplier, TokenPrice, Versions, exact_text

State = Literal["past", "in_force", "future"]
Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Priced:
    """A model with the card and tariff that its requests are rated by.

    Attributes:
        model: the model.
        card_name: which of its cards.
        card: that card.
        tariff: and its tariff.
        plan: the buyer's plan; None: nobody's in particular, or one that is only a name.
    """

    model: ModelEntry
    card_name: str
    card: RateCard
    tariff: Tariff
    plan: Plan | None = None

    def price(self, buyer: Buyer = ANYONE) -> TokenPrice:
        """Money for one Token.  Raises CurrencyNotPriced, PlanNotPriced."""
        listed = self.tariff.listed
        price = listed.get((buyer.plan or DEFAULT_PLAN, buyer.currency)) or listed.get((None, buyer.currency))
        if price is None:
            raise self._not_priced(buyer)
        return price

    def _not_priced(self, buyer: Buyer) -> ModelNotPriced:
        currencies = sorted({price.currency for price in self.tariff.prices})
        if buyer.currency not in currencies:
            message = f"{self.model.name} has no price in {buyer.currency[:10]}: the tariff {self.tariff.id} has one in {', '.join(currencies)}"
            return CurrencyNotPriced(message, param="model")
        message = f"{self.model.name} has no price for the plan {(buyer.plan or DEFAULT_PLAN)[:100]!r}: the tariff {self.tariff.id} has none for it"
        return PlanNotPriced(message, param="model")

    def fare(self, estimate: Estimated, factors: Factors = PLAIN) -> FareParts:
        """Expected and maximum cost of an estimate.  Raises ModelNotPriced."""
        return rules.fare(self.card, self.tariff, estimate, factors)

    def tier(self, wanted: object) -> str:
        """The service tier that a request with this ``service_tier`` gets.  Raises InvalidRequest, TierNotOffered."""
        if wanted is None or wanted in ("auto", "default", STANDARD):
            return STANDARD
        if not isinstance(wanted, str) or wanted not in TIERS:
            message = f"'service_tier' must be one of auto, default, {', '.join(TIERS)}; {self.model.name} offers {', '.join(self.offered())}"
            raise InvalidRequest(message, param="service_tier")
        if wanted not in self.offered():
            message = f"{self.model.name} has no service tier {wanted}; it offers {', '.join(self.offered())}"
            raise TierNotOffered(message, param="service_tier")
        return wanted

    def offered(self) -> tuple[str, ...]:
        """The service tiers that the model can be asked for: those it has, as far as the tariff prices them."""
        return tuple(tier for tier in TIERS if tier in self.model.tiers and (tier == STANDARD or tier in self.tariff.service_tiers))

    def factors(self, tier: str = STANDARD, buyer: Buyer = ANYONE) -> Factors:
        """The factors from consumed to charged, for a tier that is offered.  Raises ModelNotPriced."""
        tariff, size = self.tariff, self.model.size_class
        if size is not None and tariff.size_classes and size not in tariff.size_classes:
            message = f"{self.model.name} has no price: its size class {size} is not in the tariff {tariff.id}"
            raise ModelNotPriced(message, param="model")
        fixed: list[Multiplier] = []
        if tariff.base != 1:
            fixed.append(Multiplier("base", "Base", exact_text(tariff.base)))
        if tariff.service_tiers.get(tier, 1) != 1:
            fixed.append(Multiplier("service_tier", f"Service tier {tier}", exact_text(tariff.service_tiers[tier])))
        if size is not None and tariff.size_classes.get(size, 1) != 1:
            fixed.append(Multiplier("size_class", f"Model of size class {size}", exact_text(tariff.size_classes[size])))
        if tariff.committed is not None and self.plan is not None and self.plan.committed_utok:
            factor = tariff.committed.factor(self.plan.committed_utok)
            if factor != 1:
                fixed.append(Multiplier("committed_volume", tariff.committed.label(self.plan.committed_utok), exact_text(factor)))
        fixed += [multiplier for multiplier in buyer.extra if multiplier.factor != "1"]
        if not fixed and not tariff.context_bands:
            return PLAIN
        return Factors(tuple(fixed), tariff.context_bands, None if tariff.multiplier_max is None else exact_text(tariff.multiplier_max))


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """One version in the history of its name.

    Attributes:
        in_force_from: its date, and not before it was published.
        in_force_until: when a higher version came into force, or will; None: none is published.  Where that was not later, it never was.
        state: as of the snapshot.
    """

    document: Document
    in_force_from: datetime
    in_force_until: datetime | None
    state: State


@dataclass(frozen=True, slots=True)
class Catalog:
    """A consistent view of everything published, as of one moment.

    Attributes:
        seq: the last publication it contains.
        as_of: the moment that decides which versions are in force.
        next_change: when a version that is already published comes into force, if any.
        models: those in force, by name.
        plans: those in force, by name.
        cards: every version that is published, by ``name@version``, and those in force by ``name``.
        tariffs: the same.
        models_by_id: every version that is published, by ``name@version``.
        plans_by_id: the same.
        published: every document, as it was published.
    """

    seq: int
    as_of: datetime
    next_change: datetime | None
    models: Mapping[str, ModelEntry]
    plans: Mapping[str, Plan]
    cards: Mapping[str, RateCard]
    tariffs: Mapping[str, Tariff]
    models_by_id: Mapping[str, ModelEntry] = field(default_factory=dict)
    plans_by_id: Mapping[str, Plan] = field(default_factory=dict)
    published: tuple[Document, ...] = field(default=(), repr=False, compare=False)

    def model(self, name: str) -> ModelEntry:
        """One model.  Raises ModelNotFound."""
        entry = self.models.get(name)
        if entry is None:
            message = f"there is no model {name[:100]!r}; GET /v1/models lists those there are"
            raise ModelNotFound(message, param="model")
        return entry

    def basis(self, card: str) -> Basis | None:
        """What the figures of a published card (``name@version``) rest on; None: it is not published."""
        found = self.cards.get(card)
        return None if found is None else found.basis

    def priced(self, name: str, card: str | None = None, versions: Versions | None = None, buyer: Buyer = ANYONE) -> Priced:
        """A model with its default card and tariff, or with another of its cards; for a buyer with that plan.

        Args:
            name: the model.
            card: another of its cards than the default one.
            versions: these versions instead of those in force.
            buyer: who asks.

        Raises ModelNotFound, CardNotFound, PlanNotPriced, and ModelNotPriced when a card or tariff is missing or not yet in force.
        """
        by = versions or Versions()
        model = self.model(name) if by.model is None else _exactly(self.models_by_id, by.model, name)
        card_name = model.default_card if card is None else card
        choice = model.cards.get(card_name)
        if choice is None:
            message = f"{name} has no card {card_name[:100]!r}; it has {', '.join(sorted(model.cards))}"
            raise CardNotFound(message, param="card")
        if by.card is None:
            rate_card = self.cards.get(choice.rate_card)
            if rate_card is None or rate_card.effective_from > self.as_of:
                message = f"{name} has no price: its rate card {choice.rate_card} is not in force"
                raise ModelNotPriced(message, param="model")
        else:
            rate_card = _exactly(self.cards, by.card, name)
        if by.tariff is None:
            tariff = self.tariffs.get(choice.tariff)
            if tariff is None or tariff.effective_from > self.as_of:
                message = f"{name} has no price: its tariff {choice.tariff} is not in force"
                raise ModelNotPriced(message, param="model")
        else:
            tariff = _exactly(self.tariffs, by.tariff, name)
        return Priced(model=model, card_name=card_name, card=rate_card, tariff=tariff, plan=self._plan(name, by, buyer))

    def _plan(self, name: str, by: Versions, buyer: Buyer) -> Plan | None:
        if by.plan is not None:
            return _exactly(self.plans_by_id, by.plan, name)
        if buyer.plan is None:
            return None
        plan = self.plans.get(buyer.plan)
        # What every project has from the start need not be published: it is then a name without a commitment.
        if plan is None and buyer.plan != DEFAULT_PLAN:
            message = f"{name} has no price for the plan {buyer.plan[:100]!r}, which is not in force; ask your administrator"
            raise PlanNotPriced(message, param="model")
        return plan

    def check_buyer(self, plan: str | None, currency: str | None) -> None:
        """Raises UnknownPlan or UnknownCurrency for what no project can have; None is not checked."""
        if plan is not None and plan not in self.plans and plan != DEFAULT_PLAN:
            message = f"there is no plan {plan[:100]!r} in force; there are {', '.join(sorted({*self.plans, DEFAULT_PLAN}))}"
            raise UnknownPlan(message, param="plan")
        if currency is not None and currency not in MINOR_UNITS:
            message = f"{currency[:20]!r} is not a currency by ISO 4217, such as USD"
            raise UnknownCurrency(message, param="currency")

    def history(self, kind: Kind) -> tuple[PublishedVersion, ...]:
        """Every published version of a kind, by name and version, with the time it was or will be in force."""
        of_kind = sorted((document for document in self.published if document.kind == kind), key=lambda each: each.key[1:])
        current: Mapping[str, ModelEntry | Plan | RateCard | Tariff] = {
            "model": self.models,
            "plan": self.plans,
            "rate_card": self.cards,
            "tariff": self.tariffs,
        }[kind]  # type: ignore[assignment]  # each holds entries of one kind
        return tuple(self._version(document, of_kind, current) for document in of_kind)

    def _version(
        self, document: Document, others: Iterable[Document], current: Mapping[str, ModelEntry | Plan | RateCard | Tariff]
    ) -> PublishedVersion:
        name, version = document.key[1:]
        later = [other.in_force_from for other in others if other.key[1] == name and other.key[2] > version]
        now = current.get(name)
        state: State = "past"
        if document.in_force_from > self.as_of:
            state = "future"
        elif now is not None and now.version == version:
            state = "in_force"
        return PublishedVersion(document, document.in_force_from, min(later, default=None), state)


def _exactly(published: Mapping[str, Found], version: str, name: str) -> Found:
    found = published.get(version)
    if found is None:
        message = f"{name} has no price by {version[:120]}, which is not published"
        raise ModelNotPriced(message, param="model")
    return found
