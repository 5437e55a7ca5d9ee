"""Rating: work to Tokens, exactly, with one rounding per line.  Pure."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

import msgspec

from taximeter.kernel.units import UTOK_PER_TOKEN, divide_half_even, round_half_even
from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.factors import BORNE, PLAIN, ChargeLine, Factors, FareMultiplier
from taximeter.pricing.model import ConsumptionLine, FareLine, RateCard, Tariff

Quantities = Mapping[str, int]

ROUNDING_LABEL = "Rounding to whole Tokens"
BORNE_LABEL = "Borne by who runs the engine"


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


class Consumption(msgspec.Struct, frozen=True):
    """Work in Tokens.  The texts are made when somebody reads them; a hold needs the total alone.

    Attributes:
        card: the card it was rated by.
        work: what was rated.
        amounts_utok: each line of the card, rounded.
        total_utok: their sum, or that rounded to whole Tokens when the card says so.
        borne_utok: what of it is never charged.
    """

    card: RateCard
    work: Quantities
    amounts_utok: tuple[int, ...]
    total_utok: int
    borne_utok: int = 0

    def charge(self, factors: Factors, maximum_utok: int | None = None) -> int:
        """Micro-Tokens charged: what is not borne, times the factors."""
        return factors.charge(self.total_utok - self.borne_utok, self.work, maximum_utok)

    def changes(self, factors: Factors, maximum_utok: int | None = None) -> tuple[ChargeLine, ...]:
        """What lies between ``total_utok`` and ``charge``, line by line."""
        lines = factors.lines(self.total_utok - self.borne_utok, self.work, maximum_utok)
        return (ChargeLine(BORNE, BORNE_LABEL, "", -self.borne_utok), *lines) if self.borne_utok else lines

    @property
    def exact(self) -> Fraction:
        """The sum in Tokens before any rounding."""
        return exact_utok(self.card, self.work) / UTOK_PER_TOKEN

    @property
    def lines(self) -> tuple[ConsumptionLine, ...]:
        """The lines, which add up to ``total_utok``."""
        card = self.card
        lines = [
            ConsumptionLine(line.label, quantity_text(units, self.work), rate, amount)
            for line, units, rate, amount in zip(card.lines, card.units, card.rates, self.amounts_utok, strict=True)
        ]
        rounding = self.total_utok - sum(self.amounts_utok)
        if rounding:
            lines.append(ConsumptionLine(label=ROUNDING_LABEL, quantity="", rate="", amount_utok=rounding))
        return tuple(lines)


class FareParts(msgspec.Struct, frozen=True):
    """What a request will cost: charged micro-Tokens, expected and at most, and how they come about.

    Attributes:
        multiplier: the product of all factors at the maximum, exactly; ``factors`` says what it is made of.
    """

    rate_card: str
    tariff: str
    multiplier: str
    expected_utok: int
    maximum_utok: int
    expected: Consumption
    maximum: Consumption
    factors: Factors = PLAIN

    @property
    def lines(self) -> tuple[FareLine, ...]:
        """The breakdown; quantities are the expected ones."""
        likely = {line.label: line for line in self.expected.lines}
        most = {line.label: line for line in self.maximum.lines}
        # A rounding line may stand on one side only.
        return tuple(
            FareLine(
                label,
                line.quantity,
                line.rate,
                expected_utok=likely[label].amount_utok if label in likely else 0,
                maximum_utok=most[label].amount_utok if label in most else 0,
            )
            for label, line in {**most, **likely}.items()
        )

    @property
    def multipliers(self) -> tuple[FareMultiplier, ...]:
        """What each factor changes, expected and at most: with ``lines``, they add up to what is charged."""
        if self.factors.plain and not self.maximum.borne_utok and not self.expected.borne_utok:
            return ()
        likely = {line.label: line for line in self.expected.changes(self.factors)}
        most = {line.label: line for line in self.maximum.changes(self.factors)}
        return tuple(
            FareMultiplier(
                line.name,
                label,
                line.factor,
                expected_utok=likely[label].change_utok if label in likely else 0,
                maximum_utok=most[label].change_utok if label in most else 0,
            )
            for label, line in {**likely, **most}.items()
        )


def rate(card: RateCard, work: Quantities) -> Consumption:
    """What ``work`` consumes by ``card``.

    Raises ModelNotPriced when the work has a quantity that the card neither prices nor lists as
    unpriced, or lacks one that the card prices: an unknown price is never taken as zero.
    """
    if not (work.keys() <= card.known and card.priced <= work.keys()):
        raise _not_covered(card, work)
    assert min(work.values(), default=0) >= 0, "meters count from 0"
    amounts = tuple([divide_half_even(line.numerator(work), line.divisor) for line in card.weights])
    total = sum(amounts)
    if card.round_to == "token":
        total = round_half_even(exact_utok(card, work) / UTOK_PER_TOKEN) * UTOK_PER_TOKEN
    borne = sum([amount for line, amount in zip(card.lines, amounts, strict=True) if line.borne]) if card.bears else 0
    return Consumption(card=card, work=work, amounts_utok=amounts, total_utok=total, borne_utok=borne)


def exact_utok(card: RateCard, work: Quantities) -> Fraction:
    """The micro-Tokens that ``work`` consumes, before any rounding."""
    lines = (Fraction(line.numerator(work), line.divisor) for line in card.weights)
    return sum(lines, Fraction(0))


def charge(consumed_utok: int, multiplier: Decimal, cap_utok: int | None = None) -> int:
    """Micro-Tokens charged for those consumed: times the multiplier, rounded once, at most ``cap_utok``."""
    assert consumed_utok >= 0
    assert multiplier > 0
    if multiplier == 1:
        charged = consumed_utok
    else:
        numerator, denominator = multiplier.as_integer_ratio()
        charged = divide_half_even(consumed_utok * numerator, denominator)
    return charged if cap_utok is None else min(charged, cap_utok)


def fare(card: RateCard, tariff: Tariff, estimate: Estimated, factors: Factors | None = None) -> FareParts:
    """Expected and maximum cost of an estimate, line by line.

    Without ``factors`` the tariff's base applies.  Raises ModelNotPriced as ``rate`` does.
    """
    if factors is None:
        factors = Factors.base(tariff.base)
    expected, maximum = rate(card, estimate.expected), rate(card, estimate.maximum)
    return FareParts(
        rate_card=card.id,
        tariff=tariff.id,
        multiplier=factors.multiplier(maximum.work),
        expected_utok=expected.charge(factors),
        maximum_utok=maximum.charge(factors),
        expected=expected,
        maximum=maximum,
        factors=factors,
    )


def money_nano(amount_utok: int, tariff: Tariff) -> int:
    """What an amount costs, in billionths of the tariff's currency."""
    return round_half_even(Fraction(amount_utok * tariff.price_nano, UTOK_PER_TOKEN))


def quantity_text(units: Sequence[tuple[str, str]], work: Quantities) -> str:
    """``1,000 output tokens``: the quantities of a line, for people."""
    return " + ".join([f"{work[quantity]:,} {words}" for quantity, words in units])


def _not_covered(card: RateCard, work: Quantities) -> ModelNotPriced:
    unknown = work.keys() - card.known
    if unknown:
        message = f"the rate card {card.id} has no price for {', '.join(sorted(unknown))}; the request was refused"
    else:
        missing = card.priced - work.keys()
        message = f"the rate card {card.id} prices {', '.join(sorted(missing))}, which this model does not measure; the request was refused"
    return ModelNotPriced(message, param="model")
