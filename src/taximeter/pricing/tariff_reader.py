"""From a tariff's tree to a tariff: prices by plan and currency, and factors."""

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal, cast

from taximeter.kernel.units import AMOUNT_UTOK_MAX, NANO_PER_UNIT, UTOK_PER_TOKEN, round_half_even
from taximeter.pricing.model import BASE_MULTIPLIER, Tariff
from taximeter.pricing.nodes import Node, Reader, decimal_of
from taximeter.pricing.tariffs import TIERS, CommittedVolume, ContextBand, TokenPrice, VolumeTier, exact_text

CURRENCY = re.compile(r"[A-Z]{3}")
WORD = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
PRICE_MAX_NANO = 10**15
MULTIPLIER_MAX = 1000
BANDS_MAX = 50
THRESHOLD_MAX = 10**18

Head = tuple[str, int, datetime]


def read_tariff(reader: Reader, head: Head) -> Tariff:
    """A tariff; its faults go to the reader's problems."""
    prices = _prices(reader)
    multipliers: dict[str, Decimal] = {}
    for name, value in (reader.entries("multipliers") if reader.take("multipliers", required=False) else {}).items():
        number = decimal_of(value)
        if number is None or not 0 < number <= MULTIPLIER_MAX:
            reader.fault(value.line, f"multiplier {name} must be a decimal above 0 and at most {MULTIPLIER_MAX}")
        else:
            multipliers[name] = number
    multipliers.setdefault(BASE_MULTIPLIER, Decimal(1))
    return Tariff(
        *head,
        currency=prices[0].currency,
        price_nano=prices[0].price_nano,
        multipliers=multipliers,
        notes=reader.text("notes", default=""),
        prices=prices,
        service_tiers=_named(reader, "service_tiers", "service tier", TIERS),
        size_classes=_named(reader, "size_classes", "size class"),
        context_bands=_bands(reader),
        committed=_committed(reader),
        multiplier_max=_cap(reader),
    )


def _prices(reader: Reader) -> tuple[TokenPrice, ...]:
    """At least one: a faulty tariff is not used, but read to its end."""
    free = reader.flag("free")
    node = reader.take("prices", required=False)
    if node is None:
        return (_price(reader, None, free=free),)
    for key in ("currency", "price_per_token"):
        if reader.take(key, required=False) is not None:
            reader.fault(reader.line(key), f"{key} stands in each of the prices here; leave it out beside them")
    found: list[TokenPrice] = []
    for item in reader.items("prices"):
        child = reader.child(item)
        plan = child.text("plan", default="") or None
        if plan is not None and not WORD.fullmatch(plan):
            child.fault(child.line("plan"), "plan must be the name of a plan")
        price = _price(child, plan, free=child.flag("free") or free)
        child.end()
        if any((other.plan, other.currency) == (price.plan, price.currency) for other in found):
            child.fault(item.line, f"there are two prices in {price.currency} for {'every other plan' if plan is None else f'the plan {plan}'}")
        found.append(price)
    if not found:
        reader.fault(node.line, "prices must hold at least one price")
    return tuple(found) or (TokenPrice(None, "", 0),)


def _price(reader: Reader, plan: str | None, *, free: bool) -> TokenPrice:
    currency = reader.text("currency")
    if currency and not CURRENCY.fullmatch(currency):
        reader.fault(reader.line("currency"), "currency must be a code of three capital letters, such as USD")
    price = reader.decimal("price_per_token") * NANO_PER_UNIT
    node = reader.take("price_per_token", required=False)
    if node is not None and decimal_of(node) is not None:
        if price < 0:
            reader.fault(node.line, "price_per_token must not be negative")
        elif price == 0 and not free:
            reader.fault(node.line, "price_per_token is 0; write free: true if that is meant")
        elif price.denominator != 1 or price > PRICE_MAX_NANO:
            reader.fault(node.line, "price_per_token must have at most nine decimals and be at most 1000000")
    return TokenPrice(plan, currency, round_half_even(price))


def _named(reader: Reader, key: str, noun: str, known: tuple[str, ...] = ()) -> Mapping[str, Fraction]:
    """Factors by name."""
    if reader.take(key, required=False) is None:
        return {}
    factors = {}
    for name, node in reader.entries(key).items():
        if known and name not in known:
            reader.fault(node.line, f"there is no {noun} {name[:40]!r}; there are {', '.join(known)}")
        elif not WORD.fullmatch(name):
            reader.fault(node.line, f"a {noun} must be lower-case letters, digits, dots, dashes and underscores")
        else:
            factors[name] = _number(reader, node, f"the factor of {noun} {name}")
    return factors


def _number(reader: Reader, node: Node, what: str) -> Fraction:
    number = decimal_of(node)
    if number is None or not 0 < number <= MULTIPLIER_MAX:
        reader.fault(node.line, f"{what} must be a decimal above 0 and at most {MULTIPLIER_MAX}")
        return Fraction(1)
    return Fraction(number)


def _factor(reader: Reader, key: str) -> Fraction:
    node = reader.take(key)
    return Fraction(1) if node is None else _number(reader, node, key)


def _cap(reader: Reader) -> Fraction | None:
    if reader.take("multiplier_max", required=False) is None:
        return None
    cap = _factor(reader, "multiplier_max")
    if cap < 1:
        reader.fault(reader.line("multiplier_max"), "multiplier_max must be at least 1: without any factor, what is consumed is charged")
    return cap


def _bands(reader: Reader) -> tuple[ContextBand, ...]:
    items = reader.items("context_bands", required=False)
    if len(items) > BANDS_MAX:
        reader.fault(reader.line("context_bands"), f"context_bands must hold at most {BANDS_MAX} bands")
    bands: list[ContextBand] = []
    for item in items:
        child = reader.child(item)
        factor = _factor(child, "factor")
        band = ContextBand(child.text("quantity"), child.whole("above", 0, THRESHOLD_MAX) or 0, exact_text(factor))
        child.end()
        below = next((other for other in reversed(bands) if other.quantity == band.quantity), None)
        if below is not None and below.above >= band.above:
            child.fault(child.line("above"), f"the bands of {band.quantity} must rise: {band.above:,} comes after {below.above:,}")
        # Else the maximum of a request could cost less than what is expected, and a hold would not cover its charge.
        if factor < (Fraction(1) if below is None else Fraction(below.factor)):
            child.fault(child.line("factor"), "a band must not be cheaper than what lies below it")
        bands.append(band)
    return tuple(bands)


def _committed(reader: Reader) -> CommittedVolume | None:
    node = reader.take("committed_volume", required=False)
    if node is None:
        return None
    child = reader.child(node)
    mode = child.text("mode", choices=("volume", "graduated"))
    tiers: list[VolumeTier] = []
    items = child.items("tiers")
    for index, item in enumerate(items):
        tier = child.child(item)
        last = index == len(items) - 1
        limit_utok = None
        if tier.take("up_to_tokens", required=not last) is not None:
            limit = tier.decimal("up_to_tokens") * UTOK_PER_TOKEN
            if limit.denominator != 1 or not 0 < limit <= AMOUNT_UTOK_MAX:
                tier.fault(tier.line("up_to_tokens"), "up_to_tokens must be a number of Tokens above 0 with at most six decimals")
            elif last:
                tier.fault(tier.line("up_to_tokens"), "the last tier has no limit; leave up_to_tokens out")
            elif tiers and limit <= (tiers[-1].up_to_utok or 0):
                tier.fault(tier.line("up_to_tokens"), "the limits of the tiers must rise")
            limit_utok = round_half_even(limit)
        tiers.append(VolumeTier(limit_utok, _factor(tier, "factor")))
        tier.end()
    if not tiers:
        child.fault(child.line("tiers"), "tiers must hold at least one tier")
    child.end()
    return CommittedVolume(cast("Literal['volume', 'graduated']", mode), tuple(tiers))
