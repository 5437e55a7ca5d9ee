"""From consumed Tokens to charged ones: the factors of one request, and what each of them changes.  Pure."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import msgspec

from taximeter.kernel.units import divide_half_even, format_tokens
from taximeter.pricing.tariffs import ContextBand, Multiplier, exact_text

CAP = "multiplier_max"
"""The name of the line that says that the product of all factors was capped."""
QUOTED_MAXIMUM = "quoted_maximum"
"""The name of the line that says that a charge ended at what was quoted at most."""

BORNE = "borne"
"""The name of the line that takes off what is consumed and never charged."""


class ChargeLine(msgspec.Struct, frozen=True):
    """What one factor changed: with the consumed Tokens, these lines add up to the charge.

    Attributes:
        name: the factor's, or ``borne``, ``multiplier_max`` or ``quoted_maximum``.
        label: what it is, in words.
        factor: exact; empty for ``borne`` and ``quoted_maximum``, which are amounts.
        change_utok: micro-Tokens more (or less, below 0) than without it.
    """

    name: str
    label: str
    factor: str
    change_utok: int

    def to_api(self) -> dict[str, Any]:
        """One entry of a receipt's ``multipliers``."""
        return {"name": self.name, "label": self.label, "factor": self.factor, "tokens": format_tokens(self.change_utok)}


class FareMultiplier(msgspec.Struct, frozen=True):
    """One factor of a fare, and what it changes.

    Attributes:
        name: the factor's, or ``borne`` or ``multiplier_max``.
        label: what it is, in words.
        factor: exact: a decimal, or a quotient such as ``53/60``; empty for ``borne``, which is an amount.
        expected_utok: micro-Tokens more (or less, below 0) than without it, as expected.
        maximum_utok: the same at most.
    """

    name: str
    label: str
    factor: str
    expected_utok: int
    maximum_utok: int


class Factors(msgspec.Struct, frozen=True):
    """The factors of one request, from consumed to charged Tokens.

    Attributes:
        fixed: those that are known before it runs; none of them is 1.
        bands: those that its work decides.
        cap: what the product may be at most, 1 or more; None: no limit.
    """

    fixed: tuple[Multiplier, ...] = ()
    bands: tuple[ContextBand, ...] = ()
    cap: str | None = None

    @classmethod
    def base(cls, factor: Fraction) -> "Factors":
        """Those of a request that has the tariff's base and nothing else."""
        return PLAIN if factor == 1 else cls((Multiplier("base", "Base", exact_text(factor)),))

    def without(self, name: str) -> "Factors":
        """These, but for the one of that name."""
        return Factors(tuple(each for each in self.fixed if each.name != name), self.bands, self.cap)

    @property
    def plain(self) -> bool:
        """Whether what is consumed is charged, whatever the work."""
        return not self.fixed and not self.bands

    def of(self, work: Mapping[str, int]) -> tuple[Multiplier, ...]:
        """The factors that count for this work.  Of the bands of a quantity, the highest that it is above counts."""
        if not self.bands:
            return self.fixed
        reached: dict[str, ContextBand] = {}
        for band in self.bands:
            if work.get(band.quantity, 0) > band.above:
                known = reached.get(band.quantity)
                reached[band.quantity] = band if known is None or known.above < band.above else known
        return (*self.fixed, *(Multiplier("context", band.label, band.factor) for band in reached.values() if band.factor != "1"))

    def product(self, work: Mapping[str, int]) -> Fraction:
        """What consumed Tokens are multiplied by: the product, or the cap where that is less."""
        total = Fraction(1)
        for multiplier in self.of(work):
            total *= multiplier.ratio
        return total if self.cap is None else min(total, Fraction(self.cap))

    def multiplier(self, work: Mapping[str, int]) -> str:
        """The product as text, exactly."""
        return "1" if self.plain else exact_text(self.product(work))

    def charge(self, consumed_utok: int, work: Mapping[str, int], maximum_utok: int | None = None) -> int:
        """Micro-Tokens charged: times the product, rounded once, and at most ``maximum_utok``."""
        assert consumed_utok >= 0
        charged = consumed_utok if self.plain else _times(consumed_utok, self.product(work))
        return charged if maximum_utok is None else min(charged, maximum_utok)

    def lines(self, consumed_utok: int, work: Mapping[str, int], maximum_utok: int | None = None) -> tuple[ChargeLine, ...]:
        """What each factor changes, in turn; together with ``consumed_utok`` exactly ``charge``.

        Each line is the difference of two rounded sums, so that only the charge itself is rounded.
        """
        lines: list[ChargeLine] = []
        total, reached = Fraction(1), consumed_utok
        for multiplier in self.of(work):
            total *= multiplier.ratio
            after = _times(consumed_utok, total)
            lines.append(ChargeLine(multiplier.name, multiplier.label, multiplier.factor, after - reached))
            reached = after
        if self.cap is not None and total > Fraction(self.cap):
            after = _times(consumed_utok, Fraction(self.cap))
            factor = exact_text(Fraction(self.cap) / total)
            lines.append(ChargeLine(CAP, f"All factors together at most {self.cap}", factor, after - reached))
            reached = after
        if maximum_utok is not None and reached > maximum_utok:
            lines.append(ChargeLine(QUOTED_MAXIMUM, "Not above what was quoted at most", "", maximum_utok - reached))
        return tuple(lines)


def _times(amount_utok: int, factor: Fraction) -> int:
    return divide_half_even(amount_utok * factor.numerator, factor.denominator)


PLAIN = Factors()
