"""What a tariff is made of: prices by plan and currency, and the factors from consumed to charged.  Pure."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Literal

import msgspec

from taximeter.kernel.units import UTOK_PER_TOKEN, divide_half_even, format_tokens
from taximeter.pricing.currencies import money_text

TIERS = ("batch", "flex", "standard", "priority")
"""Service tiers, from the slowest to the quickest."""
STANDARD = "standard"
DEFAULT_PLAN = "standard"
DEFAULT_CURRENCY = "USD"


def exact_text(value: Fraction) -> str:
    """A number as text that gives it back exactly: a decimal where it has one (``0.5``), else a quotient (``53/60``)."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        return f"{value.numerator}/{value.denominator}"
    places = max(twos, fives)
    digits = str(abs(value.numerator) * 10**places // value.denominator).rjust(places + 1, "0")
    text = f"{digits[:-places]}.{digits[-places:]}" if places else digits
    return f"-{text}" if value < 0 else text


class Multiplier(msgspec.Struct, frozen=True):
    """One factor from consumed to charged.

    Attributes:
        name: ``base``, ``service_tier``, ``size_class``, ``committed_volume``, ``context``, or what an extra one is called (``surge``).
        label: what it is, in words.
        factor: exact, as ``exact_text`` writes it.
    """

    name: str
    label: str
    factor: str

    @property
    def ratio(self) -> Fraction:
        """The factor as a number."""
        return Fraction(self.factor)


class Buyer(msgspec.Struct, frozen=True):
    """Whom a price is for.

    Attributes:
        plan: the name of the plan; None: nobody in particular, at list prices.
        currency: what is paid in, by ISO 4217.
        extra: factors of the moment, such as a surge; they count in the product that ``multiplier_max`` caps.
    """

    plan: str | None = None
    currency: str = DEFAULT_CURRENCY
    extra: tuple[Multiplier, ...] = ()

    def with_factor(self, name: str, label: str, factor: str) -> "Buyer":
        """The same buyer at a moment at which another factor counts."""
        return Buyer(self.plan, self.currency, (*self.extra, Multiplier(name, label, factor)))

    def money_text(self, amount_nano: int) -> str:
        """An amount in the buyer's currency, for people."""
        return money_text(amount_nano, self.currency)


ANYONE = Buyer()


class Versions(msgspec.Struct, frozen=True):
    """Published versions to price by, as ``name@version``, whatever is in force now; None: what is in force."""

    model: str | None = None
    card: str | None = None
    tariff: str | None = None
    plan: str | None = None


class TokenPrice(msgspec.Struct, frozen=True):
    """Money for one Token.

    Attributes:
        plan: for whom; None: for every plan that has no price of its own.
        currency: ISO 4217.
        price_nano: billionths of the currency's unit.
    """

    plan: str | None
    currency: str
    price_nano: int

    def amount_nano(self, amount_utok: int) -> int:
        """What so many micro-Tokens cost, in billionths of the currency's unit."""
        return divide_half_even(amount_utok * self.price_nano, UTOK_PER_TOKEN)


class ContextBand(msgspec.Struct, frozen=True):
    """A factor on the whole request when it has more than ``above`` of a quantity; exact, as ``exact_text`` writes it."""

    quantity: str
    above: int
    factor: str

    @property
    def label(self) -> str:
        """``More than 200,000 prompt tokens``."""
        return f"More than {self.above:,} {self.quantity.replace('_', ' ')}"


class VolumeTier(msgspec.Struct, frozen=True):
    """A factor for the Tokens of a commitment up to ``up_to_utok``; None: for all the others."""

    up_to_utok: int | None
    factor: Fraction


class CommittedVolume(msgspec.Struct, frozen=True):
    """What a commitment saves.

    Attributes:
        mode: ``volume``: the tier that the whole commitment reaches counts for all of it; ``graduated``: each tier counts for the
            part of the commitment that lies in it, so that the factor is their mean.
        tiers: by rising limits; the last has none.
    """

    mode: Literal["volume", "graduated"]
    tiers: tuple[VolumeTier, ...]

    def factor(self, committed_utok: int) -> Fraction:
        """The one exact factor for a commitment of so many micro-Tokens, which are more than 0."""
        assert committed_utok > 0
        total, start = Fraction(0), 0
        for tier in self.tiers:
            reaches = tier.up_to_utok is None or committed_utok <= tier.up_to_utok
            if self.mode == "volume" and reaches:
                return tier.factor
            end = committed_utok if tier.up_to_utok is None else min(committed_utok, tier.up_to_utok)
            total += tier.factor * (end - start)
            start = end
            if reaches:
                break
        return total / committed_utok

    def label(self, committed_utok: int) -> str:
        """``Committed volume of 100000 Tokens, graduated``."""
        return f"Committed volume of {format_tokens(committed_utok)} Tokens, {'graduated' if self.mode == 'graduated' else 'by its tier'}"


NO_FACTORS: Mapping[str, Fraction] = {}
