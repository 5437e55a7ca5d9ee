"""The catalog as the admin API shows it: every published version, what is in force, and when.  Pure."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

from taximeter.kernel.units import format_tokens
from taximeter.pricing import Catalog

Kind = Literal["model", "rate_card", "tariff", "plan"]


def models(catalog: Catalog) -> list[dict[str, Any]]:
    """Every published model."""
    return _versions(
        catalog,
        "model",
        lambda entry: {
            "title": entry.title,
            "modality": entry.modality,
            "engine": entry.engine,
            "engine_model": entry.engine_model,
            "meter": entry.meter,
            "cards": {name: {"rate_card": choice.rate_card, "tariff": choice.tariff} for name, choice in entry.cards.items()},
            "default_card": entry.default_card,
            "tiers": list(entry.tiers),
            "size_class": entry.size_class,
        },
    )


def rate_cards(catalog: Catalog) -> list[dict[str, Any]]:
    """Every published rate card."""
    return _versions(
        catalog,
        "rate_card",
        lambda card: {
            "lines": [{"label": line.label, "rate": rate, "borne": line.borne} for line, rate in zip(card.lines, card.rates, strict=True)],
            "basis": card.basis,
            "unpriced": sorted(card.unpriced),
            "round_to": card.round_to,
        },
    )


def tariffs(catalog: Catalog) -> list[dict[str, Any]]:
    """Every published tariff."""
    return _versions(
        catalog,
        "tariff",
        lambda tariff: {
            "currency": tariff.currency,
            "price_nano_per_token": str(tariff.price_nano),
            "prices": [{"plan": price.plan, "currency": price.currency, "price_nano_per_token": str(price.price_nano)} for price in tariff.prices],
            "multipliers": {name: str(factor) for name, factor in tariff.multipliers.items()},
            "service_tiers": {name: _text(factor) for name, factor in tariff.service_tiers.items()},
            "size_classes": {name: _text(factor) for name, factor in tariff.size_classes.items()},
            "context_bands": [{"quantity": band.quantity, "above": band.above, "factor": band.factor} for band in tariff.context_bands],
            "committed_volume": None if tariff.committed is None else _committed(tariff.committed),
            "multiplier_max": None if tariff.multiplier_max is None else _text(tariff.multiplier_max),
        },
    )


def plans(catalog: Catalog) -> list[dict[str, Any]]:
    """Every published plan; null means no limit of this kind."""
    return _versions(
        catalog,
        "plan",
        lambda plan: {
            "allowance": format_tokens(plan.allowance_utok),
            "allowance_period": plan.allowance_period,
            "allowance_modality": plan.allowance_modality,
            "request_tokens_max": _limit(plan.request_utok_max),
            "request_caps": {name: format_tokens(cap) for name, cap in plan.request_caps.items()},
            "above_cap": plan.above_cap,
            "requests_per_minute": plan.requests_per_minute,
            "tokens_per_minute": _limit(plan.tokens_per_minute_utok),
            "concurrent_max": plan.concurrent_max,
            "postpaid": plan.postpaid,
            "credit_line_tokens": _limit(plan.credit_line_utok),
            "committed_tokens": format_tokens(plan.committed_utok),
            "queue_weight": plan.queue_weight,
        },
    )


def _limit(amount_utok: int | None) -> str | None:
    return None if amount_utok is None else format_tokens(amount_utok)


def _versions(catalog: Catalog, kind: Kind, rest: Callable[[Any], dict[str, Any]]) -> list[dict[str, Any]]:
    """All versions of a kind by name and version; each entry is of the kind that was asked for."""
    found = []
    for version in catalog.history(kind):
        entry = version.document.entry
        found.append(
            {
                "id": entry.id,
                "name": entry.name,
                "version": entry.version,
                "effective_from": entry.effective_from.isoformat(),
                "in_force": version.state == "in_force",
                "state": version.state,
                "in_force_from": version.in_force_from.isoformat(),
                "in_force_until": None if version.in_force_until is None else version.in_force_until.isoformat(),
                "published_at": None if version.document.published_at is None else version.document.published_at.isoformat(),
                "notes": entry.notes,
                **rest(entry),
            }
        )
    return found


def _text(factor: Fraction) -> str:
    """An exact decimal: factors are written as decimals in the catalog."""
    return format((Decimal(factor.numerator) / Decimal(factor.denominator)).normalize(), "f")


def _committed(committed: Any) -> dict[str, Any]:  # noqa: ANN401 - a part of a tariff, which has no name on pricing's face
    tiers = [
        {"up_to_tokens": None if tier.up_to_utok is None else format_tokens(tier.up_to_utok), "factor": _text(tier.factor)}
        for tier in committed.tiers
    ]
    return {"mode": committed.mode, "tiers": tiers}
