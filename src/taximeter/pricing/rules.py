"""Rating: work to Tokens, exactly, with one rounding per line.  Pure."""

from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from taximeter.kernel.units import UTOK_PER_TOKEN, round_half_even
from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.model import BASE_MULTIPLIER, Consumption, ConsumptionLine, FareLine, FareParts, Line, RateCard, Tariff

Quantities = Mapping[str, int]

ROUNDING_LABEL = "Rounding to whole Tokens"
DECIMALS_SHOWN = 12


class Estimated(Protocol):
    """Expected and maximum work (a meter's Estimate)."""

    @property
    def expected(self) -> Quantities:
        """The likely work."""
        ...

    @property
    def maximum(self) -> Quantities:
        """The most."""
        ...


def rate(card: RateCard, work: Quantities) -> Consumption:
    """What ``work`` consumes by ``card``.

    Raises ModelNotPriced when the work has a quantity that the card neither prices nor lists as
    unpriced, or lacks one that the card prices: an unknown price is never taken as zero.
    """
    _check_covered(card, work)
    lines = []
    exact = Fraction(0)
    for line in card.lines:
        tokens = sum((work[term.quantity] * term.tokens / term.per for term in line.terms), Fraction(0)) * line.factor * card.factor
        exact += tokens
        amount = round_half_even(tokens * UTOK_PER_TOKEN)
        lines.append(ConsumptionLine(label=line.label, quantity=quantity_text(line, work), rate=rate_text(line, card), amount_utok=amount))
    total = sum(line.amount_utok for line in lines)
    if card.round_to == "token":
        whole = round_half_even(exact) * UTOK_PER_TOKEN
        if whole != total:
            lines.append(ConsumptionLine(label=ROUNDING_LABEL, quantity="", rate="", amount_utok=whole - total))
        total = whole
    return Consumption(lines=tuple(lines), total_utok=total, exact=exact)


def charge(consumed_utok: int, multiplier: Decimal, cap_utok: int | None = None) -> int:
    """Micro-Tokens charged for those consumed: times the multiplier, rounded once, at most ``cap_utok``."""
    assert consumed_utok >= 0
    assert multiplier > 0
    charged = round_half_even(consumed_utok * Fraction(multiplier))
    return charged if cap_utok is None else min(charged, cap_utok)


def fare(card: RateCard, tariff: Tariff, estimate: Estimated, multiplier: Decimal | None = None) -> FareParts:
    """Expected and maximum cost of an estimate, line by line.

    Without a ``multiplier`` the tariff's base applies.  Raises ModelNotPriced as ``rate`` does.
    """
    factor = tariff.multipliers[BASE_MULTIPLIER] if multiplier is None else multiplier
    expected, maximum = rate(card, estimate.expected), rate(card, estimate.maximum)
    amounts = {line.label: line.amount_utok for line in maximum.lines}
    # A rounding line may stand on one side only.
    shown = {line.label: line for line in (*maximum.lines, *expected.lines)}
    likely = {line.label: line.amount_utok for line in expected.lines}
    lines = tuple(
        FareLine(label, line.quantity, line.rate, expected_utok=likely.get(label, 0), maximum_utok=amounts.get(label, 0))
        for label, line in shown.items()
    )
    return FareParts(
        rate_card=card.id,
        tariff=tariff.id,
        multiplier=factor,
        expected_utok=charge(expected.total_utok, factor),
        maximum_utok=charge(maximum.total_utok, factor),
        expected=expected,
        maximum=maximum,
        lines=lines,
    )


def money_nano(amount_utok: int, tariff: Tariff) -> int:
    """What an amount costs, in billionths of the tariff's currency."""
    return round_half_even(Fraction(amount_utok * tariff.price_nano, UTOK_PER_TOKEN))


def quantity_text(line: Line, work: Quantities) -> str:
    """``1,000 output tokens``: the quantities of a line, for people."""
    return " + ".join(f"{work[term.quantity]:,} {term.quantity.replace('_', ' ')}" for term in line.terms)


def rate_text(line: Line, card: RateCard) -> str:
    """``0.0053 Token each``: the rates of a line, for people, factors included."""
    parts = []
    for term in line.terms:
        rated = term.tokens * line.factor * card.factor
        unit = "each" if term.per == 1 else f"per {decimal_text(term.per)}"
        parts.append(f"{decimal_text(rated)} {'Token' if rated == 1 else 'Tokens'} {unit}")
    return " + ".join(parts)


def decimal_text(value: Fraction) -> str:
    """An exact decimal without exponent; twelve significant decimals when it has no end."""
    if value.denominator == 1:
        return f"{value.numerator:,}"
    scaled = round_half_even(abs(value) * 10**DECIMALS_SHOWN)
    whole, part = divmod(scaled, 10**DECIMALS_SHOWN)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole:,}.{part:0{DECIMALS_SHOWN}d}".rstrip("0").rstrip(".")


def _check_covered(card: RateCard, work: Quantities) -> None:
    priced = card.quantities()
    unknown = sorted(set(work) - priced - card.unpriced)
    if unknown:
        message = f"the rate card {card.id} has no price for {', '.join(unknown)}; the request was refused"
        raise ModelNotPriced(message, param="model")
    missing = sorted(priced - set(work))
    if missing:
        message = f"the rate card {card.id} prices {', '.join(missing)}, which this model does not measure; the request was refused"
        raise ModelNotPriced(message, param="model")
    assert all(isinstance(work[quantity], int) and work[quantity] >= 0 for quantity in priced), "meters count in integers from 0"
