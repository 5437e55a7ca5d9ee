"""Fares: model, meter, card and tariff put together.  Pure; the same code quotes in a page, on the command line and for a hold."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from taximeter import meters, pricing


class Fare(msgspec.Struct, frozen=True):
    """What a request will cost, before anything is held.

    Attributes:
        model: the model's entry in the catalog.
        card_name: which of its cards was used (``calibrated``).
        priced: that card and its tariff.
        estimate: expected and maximum work, the engine's bound, and the normalised request.
        parts: charged and consumed Tokens, line by line.
    """

    model: pricing.ModelEntry
    card_name: str
    priced: pricing.Priced
    estimate: meters.Estimate
    parts: pricing.FareParts

    @property
    def expected_utok(self) -> int:
        """What is likely charged."""
        return self.parts.expected_utok

    @property
    def maximum_utok(self) -> int:
        """What is charged at most: the amount to hold."""
        return self.parts.maximum_utok


def quote_fare(
    catalog: pricing.Catalog, model_name: str, request: Mapping[str, Any], card: str | None = None, multiplier: Decimal | None = None
) -> Fare:
    """What ``request`` (OpenAI's body) will cost on a model of the catalog.

    Args:
        catalog: the snapshot to price by.
        model_name: the model.
        request: the body that the caller would send.
        card: another of the model's cards than its default one.
        multiplier: consumed to charged; None takes the tariff's base.

    Raises:
        ModelNotFound, ModelNotPriced, CardNotFound: the catalog has no price.
        InvalidRequest: the meter refuses the request (or a subclass of it).
        TokenizerUnavailable: the model's vocabulary is not on this machine.
    """
    priced = catalog.priced(model_name, card)
    estimate = meters.get(priced.model.meter).estimate(request, priced.model.profile)
    parts = pricing.fare(priced.card, priced.tariff, estimate, multiplier)
    return Fare(model=priced.model, card_name=priced.card_name, priced=priced, estimate=estimate, parts=parts)


class Meters:
    """What prices must know about the meters, to check a catalog."""

    def quantities(self, meter: str) -> frozenset[str] | None:
        """Quantities of a meter's work; None when there is no such meter."""
        found = meters.find(meter)
        return None if found is None else frozenset(found.quantities)

    def held_as(self, meter: str) -> Sequence[tuple[str, str]]:
        """Pairs (a, b): a hold counts b as a."""
        return meters.get(meter).held_as

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
