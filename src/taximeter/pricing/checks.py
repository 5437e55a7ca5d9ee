"""What one document cannot know about itself: references, units, duplicates.  Pure."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, time
from difflib import get_close_matches
from typing import Any, Protocol

from taximeter.pricing.currencies import MINOR_UNITS
from taximeter.pricing.errors import Problem
from taximeter.pricing.model import MULTIPLIERS, Document, Kind, ModelEntry, Plan, RateCard, Tariff
from taximeter.pricing.rules import ROUNDING_LABEL
from taximeter.pricing.tariffs import STANDARD, TIERS

MODELS_SHOWN = 3


# The meters that come with the program are named after what they measure; those of packages may measure anything.
MODALITIES = {
    "text": "chat",
    "embeddings": "embeddings",
    "speech": "speech",
    "video": "video",
    "images": "images",
    "classification": "classification",
}


class MeterBook(Protocol):
    """What the meters produce, as far as prices must know."""

    def quantities(self, meter: str) -> frozenset[str] | None:
        """Quantities of a meter's work; None when there is no such meter."""
        ...

    def held_as(self, meter: str) -> Sequence[tuple[str, str]]:
        """Pairs (a, b): a hold counts b as a, so b must not cost more."""
        ...

    def held_when(self, meter: str) -> Mapping[str, str]:
        """Quantities that a hold counts only where the model's entry has a key, and that key."""
        ...

    def profile_problem(self, meter: str, profile: Mapping[str, Any]) -> tuple[str, str] | None:
        """What is wrong with a model's profile, as (key, message)."""
        ...


def problems(documents: Sequence[Document], existing: Sequence[Document], meters: MeterBook | None) -> list[Problem]:
    """Every fault between ``documents``, and between them and those published already."""
    found = _duplicates(documents)
    fresh = {document.key for document in documents}
    published = {document.key for document in existing}
    everything = [*documents, *(document for document in existing if document.key not in fresh)]
    newest = _Newest(everything)
    for document in documents:
        if document.key not in published:
            # What an earlier release has published stays as it is.
            found += _dates(document, everything)
            found += _names(document)
            found += _terms(document, newest)
        if isinstance(document.entry, ModelEntry):
            found += _references(document, document.entry, newest)
            if meters is not None:
                found += _meter(document, document.entry, meters)
                if document.key not in published:
                    found += _modality(document, document.entry)
    if meters is not None:
        for document in everything:
            if isinstance(document.entry, ModelEntry) and newest.get("model", document.entry.name) is document:
                found += _units(document, document.entry, newest, meters, fresh)
                found += _holds(document, document.entry, newest, meters, fresh - published)
        found += _bands([document for document in documents if document.key not in published], everything, newest, meters)
    # A fault of a card is found with every model that uses it, and told once.
    return list(dict.fromkeys(found))


def offers(documents: Sequence[Document], existing: Sequence[Document]) -> list[Problem]:
    """Service tiers and size classes of models that no tariff prices: a model could not be sold as it is offered."""
    fresh = {document.key for document in documents}
    everything = [*documents, *(document for document in existing if document.key not in fresh)]
    newest = _Newest(everything)
    found = []
    lacking_by: dict[tuple[Kind, str, int], _Lacking] = {}
    for document in everything:
        model = document.entry
        if not isinstance(model, ModelEntry) or newest.get("model", model.name) is not document:
            continue
        for name, choice in model.cards.items():
            tariff_document = newest.get("tariff", choice.tariff)
            if tariff_document is None or not isinstance(tariff_document.entry, Tariff) or not {document.key, tariff_document.key} & fresh:
                continue
            tariff = tariff_document.entry
            by_model = document.key in fresh
            lacking = [tier for tier in model.tiers if tier != STANDARD and tier not in tariff.service_tiers]
            if lacking and name == model.default_card:
                if by_model:
                    message = f"{model.id} offers {', '.join(lacking)}, for which the tariff {tariff.id} has no factor under service_tiers"
                    found.append(_at(document, "tiers", message))
                else:
                    known = lacking_by.setdefault(tariff_document.key, _Lacking(tariff_document))
                    known.models.append(model.id)
                    known.tiers.update(lacking)
            if model.size_class is not None and tariff.size_classes and model.size_class not in tariff.size_classes:
                message = f"{model.id} is of size class {model.size_class}, for which the tariff {tariff.id} has no factor under size_classes"
                found.append(_at(document, "size_class", message) if by_model else _at(tariff_document, "size_classes", message))
    return list(dict.fromkeys([*found, *(each.problem() for each in lacking_by.values())]))


def changed(documents: Sequence[Document], existing: Sequence[Document]) -> list[Document]:
    """Those of ``documents`` whose version is published with other content."""
    digests = {document.key: document.sha256 for document in existing}
    return [document for document in documents if digests.get(document.key, document.sha256) != document.sha256]


@dataclass(frozen=True, slots=True)
class _Lacking:
    """The service tiers that a tariff lacks, told once for all models that offer them."""

    tariff: Document
    models: list[str] = field(default_factory=list)
    tiers: set[str] = field(default_factory=set)

    def problem(self) -> Problem:
        tiers = ", ".join(tier for tier in TIERS if tier in self.tiers)
        more = f" and {len(self.models) - MODELS_SHOWN} more" if len(self.models) > MODELS_SHOWN else ""
        offer = "offers" if len(self.models) == 1 else "offer"
        who = f"{', '.join(self.models[:MODELS_SHOWN])}{more} {offer}"
        message = f"the tariff {self.tariff.entry.id} has no factor under service_tiers for {tiers}, which {who}"
        return _at(self.tariff, "service_tiers", message)


class _Newest:
    def __init__(self, documents: Iterable[Document]) -> None:
        self._by_name: dict[tuple[Kind, str], Document] = {}
        for document in documents:
            kind, name, version = document.key
            self._by_name[kind, f"{name}@{version}"] = document
            known = self._by_name.get((kind, name))
            if known is None or known.entry.version < version:
                self._by_name[kind, name] = document

    def get(self, kind: Kind, reference: str) -> Document | None:
        return self._by_name.get((kind, reference))


def _at(document: Document, path: str, message: str) -> Problem:
    return Problem(document.file, document.lines.get(path, document.line), message)


def _duplicates(documents: Sequence[Document]) -> list[Problem]:
    seen: dict[tuple[Kind, str, int], Document] = {}
    found = []
    for document in documents:
        first = seen.setdefault(document.key, document)
        if first is not document:
            kind, name, version = document.key
            found.append(_at(document, "name", f"the {kind} {name}@{version} stands in {first.file}:{first.line} already"))
    return found


def _dates(document: Document, everything: Sequence[Document]) -> list[Problem]:
    """The dates of the versions of a name must rise with them: two cannot begin together, or a later one before an earlier one."""
    kind, name, version = document.key
    others = [other for other in everything if other.key[:2] == (kind, name)]
    before = max((other for other in others if other.entry.version < version), key=lambda each: each.entry.version, default=None)
    after = min((other for other in others if other.entry.version > version), key=lambda each: each.entry.version, default=None)
    since = document.entry.effective_from
    if before is not None and before.entry.effective_from >= since:
        message = (
            f"{kind} {name}@{version} overlaps {name}@{before.entry.version}, which comes into force on {_day(before.entry.effective_from)};"
            " effective_from must be later than that"
        )
        return [_at(document, "effective_from", message)]
    if after is not None and after.entry.effective_from <= since:
        message = (
            f"{kind} {name}@{version} overlaps {name}@{after.entry.version}, which comes into force on {_day(after.entry.effective_from)};"
            " effective_from must be earlier than that"
        )
        return [_at(document, "effective_from", message)]
    return []


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}" if moment.time() == time() else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _names(document: Document) -> list[Problem]:
    """Names that this release would ignore or mistake.  Stored documents of an earlier one may have them, so they are no faults of reading."""
    entry = document.entry
    if isinstance(entry, Tariff):
        known = ", ".join(MULTIPLIERS)
        unknown = [name for name in entry.multipliers if name not in MULTIPLIERS]
        return [_at(document, f"multipliers.{name}", f"there is no multiplier {name[:40]!r}; there is {known}") for name in unknown]
    if isinstance(entry, RateCard):
        message = f"the label {ROUNDING_LABEL!r} is what the line of a rounded total is called; give the line another"
        return [_at(document, f"lines[{index}].label", message) for index, line in enumerate(entry.lines) if line.label == ROUNDING_LABEL]
    return []


def _terms(document: Document, newest: _Newest) -> list[Problem]:
    if isinstance(document.entry, Tariff):
        return _money(document, document.entry, newest)
    return _plan(document, document.entry, newest) if isinstance(document.entry, Plan) else []


def _money(document: Document, tariff: Tariff, newest: _Newest) -> list[Problem]:
    found = []
    for index, price in enumerate(tariff.prices):
        path = f"prices[{index}]." if "prices" in document.lines else ""
        if price.currency not in MINOR_UNITS:
            near = get_close_matches(price.currency, MINOR_UNITS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            found.append(_at(document, f"{path}currency", f"currency is {price.currency!r}, which is none by ISO 4217{hint}"))
        if price.plan is not None and newest.get("plan", price.plan) is None:
            found.append(_at(document, f"{path}plan", f"there is no plan {price.plan!r}"))
    return found


def _plan(document: Document, plan: Plan, newest: _Newest) -> list[Problem]:
    """A cap that would never count, and a line that nobody could draw on."""
    found = []
    for name in plan.request_caps:
        if name not in MODALITIES.values() and name != "other" and newest.get("model", name) is None:
            message = f"{name!r} is neither a modality nor a model, so the cap would never count"
            found.append(_at(document, f"request_caps.{name}", message))
    if plan.credit_line_utok is not None and not plan.postpaid:
        found.append(_at(document, "credit_line_tokens", "credit_line_tokens counts for postpaid plans alone; write postpaid: true"))
    if plan.allowance_modality is not None and plan.allowance_period == "none":
        found.append(_at(document, "allowance_modality", "allowance_modality says what an allowance is for, and this plan has none"))
    return found


def _bands(fresh: Sequence[Document], everything: Sequence[Document], newest: _Newest, meters: MeterBook) -> list[Problem]:
    """Bands that would never count: on a quantity that no model of the tariff has (a misspelled one, most likely), or that holds lack."""
    found = []
    for document in fresh:
        if not isinstance(document.entry, Tariff) or newest.get("tariff", document.entry.name) is not document:
            continue
        models = [
            model.entry
            for model in everything
            if isinstance(model.entry, ModelEntry)
            and newest.get("model", model.entry.name) is model
            and any(newest.get("tariff", choice.tariff) is document for choice in model.entry.cards.values())
        ]
        for index, band in enumerate(document.entry.context_bands):
            message = _band_problem(document.entry, band.quantity, models, meters)
            if message:
                found.append(_at(document, f"context_bands[{index}].quantity", message))
    return found


def _band_problem(tariff: Tariff, quantity: str, models: Sequence[ModelEntry], meters: MeterBook) -> str:
    producing = [model for model in models if quantity in (meters.quantities(model.meter) or ())]
    if models and not producing:
        return f"no meter of a model with the tariff {tariff.id} produces {quantity!r}, so the band would never count"
    for model in producing:
        held = next((held for held, other in meters.held_as(model.meter) if other == quantity), None)
        if held is not None:
            # The maximum has none of it, so its factor lacks the band, and no charge exceeds the maximum.
            return f"a hold of {model.id} counts {quantity} as {held} (meter {model.meter}), so the band could never be charged; set it on another"
    return ""


def _references(document: Document, model: ModelEntry, newest: _Newest) -> list[Problem]:
    found = []
    for name, choice in model.cards.items():
        if newest.get("rate_card", choice.rate_card) is None:
            found.append(_at(document, f"cards.{name}.rate_card", f"there is no rate card {choice.rate_card!r}"))
        if newest.get("tariff", choice.tariff) is None:
            found.append(_at(document, f"cards.{name}.tariff", f"there is no tariff {choice.tariff!r}"))
    return found


def _meter(document: Document, model: ModelEntry, meters: MeterBook) -> list[Problem]:
    if meters.quantities(model.meter) is None:
        return [_at(document, "meter.id", f"there is no meter {model.meter!r}")]
    problem = meters.profile_problem(model.meter, model.profile)
    if problem is None:
        return []
    key, message = problem
    return [_at(document, f"meter.{key}" if f"meter.{key}" in document.lines else "meter", f"{key}: {message}" if key else message)]


def _modality(document: Document, model: ModelEntry) -> list[Problem]:
    """A meter of another modality would refuse every request."""
    measured = MODALITIES.get(model.meter.partition(".")[0], model.modality)
    if measured == model.modality:
        return []
    message = f"the meter {model.meter} measures {measured}, and modality is {model.modality}"
    return [_at(document, "meter.id", message)]


def _units(document: Document, model: ModelEntry, newest: _Newest, meters: MeterBook, fresh: set[tuple[Kind, str, int]]) -> list[Problem]:
    produced = meters.quantities(model.meter)
    if produced is None:
        return []
    found = []
    for name, choice in model.cards.items():
        card_document = newest.get("rate_card", choice.rate_card)
        if card_document is None or not isinstance(card_document.entry, RateCard) or not {document.key, card_document.key} & fresh:
            continue
        card = card_document.entry
        # Shown at the card when it is new, else at the model that chose it.
        place = (card_document, "lines") if card_document.key in fresh else (document, f"cards.{name}.rate_card")
        for quantity in sorted(card.quantities() - produced):
            where = _path_of(card_document, card, quantity) if place[0] is card_document else place[1]
            message = f"card {card.id} prices {quantity!r}, which the meter {model.meter} of {model.id} does not produce"
            found.append(_at(place[0], where, message))
        lacking = sorted(produced - card.quantities() - card.unpriced)
        if lacking:
            message = (
                f"card {card.id} neither prices {', '.join(lacking)} nor lists it under unpriced; the meter {model.meter} of {model.id} produces it"
            )
            found.append(_at(*place, message))
        for held, other in meters.held_as(model.meter):
            if {held, other} <= card.quantities() and card.tokens_per_unit(other) > card.tokens_per_unit(held):
                message = f"card {card.id} prices {other} above {held}; a hold counts the one as the other, so it could be exceeded"
                where = _path_of(card_document, card, other, "tokens") if place[0] is card_document else place[1]
                found.append(_at(place[0], where, message))
    return found


def _holds(document: Document, model: ModelEntry, newest: _Newest, meters: MeterBook, new: AbstractSet[tuple[Kind, str, int]]) -> list[Problem]:
    """What costs something and is held as something that costs nothing: it would be held for nothing, and no charge exceeds its hold."""
    found: list[Problem] = []
    if meters.quantities(model.meter) is None:
        return found
    for name, choice in model.cards.items():
        card_document = newest.get("rate_card", choice.rate_card)
        if card_document is None or not isinstance(card_document.entry, RateCard) or not {document.key, card_document.key} & new:
            continue
        card, when = card_document.entry, meters.held_when(model.meter)
        for held, other in meters.held_as(model.meter):
            counts = held not in when or model.profile.get(when[held])
            if counts and other in card.priced and held in card.unpriced and card.tokens_per_unit(other) > 0:
                message = (
                    f"card {card.id} prices {other} and lists {held} as unpriced; a hold of {model.id} counts the one as the other,"
                    f" so nothing would be held and nothing charged for it: price {held} at least as high"
                )
                at_card = card_document.key in new
                where = _path_of(card_document, card, other) if at_card else f"cards.{name}.rate_card"
                found.append(_at(card_document if at_card else document, where, message))
    return found


def _path_of(document: Document, card: RateCard, quantity: str, key: str = "quantity") -> str:
    for index, line in enumerate(card.lines):
        for position, term in enumerate(line.terms):
            if term.quantity == quantity:
                inner = f"lines[{index}].terms[{position}].{key}"
                return inner if inner in document.lines else f"lines[{index}].{key}"
    return "lines"
