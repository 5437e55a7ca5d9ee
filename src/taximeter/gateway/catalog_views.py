"""The catalog as the admin API shows it: what is published, and what is in force.  Pure."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Protocol

from taximeter.kernel.units import format_tokens
from taximeter.pricing import Catalog


class Entry(Protocol):
    """What every published version has."""

    @property
    def id(self) -> str:
        """``name@version``."""
        ...

    @property
    def name(self) -> str:
        """What others refer to."""
        ...

    @property
    def version(self) -> int:
        """From 1 up."""
        ...

    @property
    def effective_from(self) -> datetime:
        """When it comes into force."""
        ...

    @property
    def notes(self) -> str:
        """For people."""
        ...


def models(catalog: Catalog) -> list[dict[str, Any]]:
    """The models in force."""
    return [
        {
            **_head(entry, in_force=True),
            "title": entry.title,
            "modality": entry.modality,
            "engine": entry.engine,
            "engine_model": entry.engine_model,
            "meter": entry.meter,
            "cards": {name: {"rate_card": choice.rate_card, "tariff": choice.tariff} for name, choice in entry.cards.items()},
            "default_card": entry.default_card,
        }
        for _, entry in sorted(catalog.models.items())
    ]


def rate_cards(catalog: Catalog) -> list[dict[str, Any]]:
    """Every published rate card."""
    return [
        {
            **_head(card, in_force=_in_force(card, catalog.cards)),
            "lines": [{"label": line.label, "rate": rate} for line, rate in zip(card.lines, card.rates, strict=True)],
            "unpriced": sorted(card.unpriced),
            "round_to": card.round_to,
        }
        for key, card in sorted(catalog.cards.items())
        if key == card.id
    ]


def tariffs(catalog: Catalog) -> list[dict[str, Any]]:
    """Every published tariff."""
    return [
        {
            **_head(tariff, in_force=_in_force(tariff, catalog.tariffs)),
            "currency": tariff.currency,
            "price_nano_per_token": str(tariff.price_nano),
            "multipliers": {name: str(factor) for name, factor in tariff.multipliers.items()},
        }
        for key, tariff in sorted(catalog.tariffs.items())
        if key == tariff.id
    ]


def plans(catalog: Catalog) -> list[dict[str, Any]]:
    """The plans in force; null means no limit of this kind."""
    return [
        {
            **_head(plan, in_force=True),
            "allowance": format_tokens(plan.allowance_utok),
            "allowance_period": plan.allowance_period,
            "request_tokens_max": None if plan.request_utok_max is None else format_tokens(plan.request_utok_max),
            "requests_per_minute": plan.requests_per_minute,
            "concurrent_max": plan.concurrent_max,
            "postpaid": plan.postpaid,
        }
        for _, plan in sorted(catalog.plans.items())
    ]


def _head(entry: Entry, *, in_force: bool) -> dict[str, Any]:
    return {
        "id": entry.id,
        "name": entry.name,
        "version": entry.version,
        "effective_from": entry.effective_from.isoformat(),
        "in_force": in_force,
        "notes": entry.notes,
    }


def _in_force(entry: Entry, published: Mapping[str, Entry]) -> bool:
    current = published.get(entry.name)
    return current is not None and current.id == entry.id
