"""What prices are made of.  Everything is frozen: a change is a new version."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal

import msgspec

from taximeter.kernel.units import UTOK_PER_TOKEN, round_half_even
from taximeter.pricing.basis import Basis
from taximeter.pricing.tariffs import DEFAULT_CURRENCY, NO_FACTORS, STANDARD, CommittedVolume, ContextBand, TokenPrice

Kind = Literal["model", "rate_card", "tariff", "plan"]
KINDS: tuple[Kind, ...] = ("model", "rate_card", "tariff", "plan")
Rounding = Literal["micro_token", "token"]
BASE_MULTIPLIER = "base"
MULTIPLIERS = (BASE_MULTIPLIER,)
"""What a tariff's ``multipliers`` may name: nothing reads any other, so it would be a promise that no charge keeps."""
DECIMALS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Term:
    """``tokens`` Tokens for every ``per`` units of a quantity."""

    quantity: str
    tokens: Fraction
    per: Fraction = Fraction(1)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a receipt: the sum of its terms times ``factor``, rounded once.

    ``borne``: it is consumed and never charged; who runs the engine bears it.
    """

    label: str
    terms: tuple[Term, ...]
    factor: Fraction = Fraction(1)
    borne: bool = False


@dataclass(frozen=True, slots=True)
class Weights:
    """A line in whole numbers: ``sum(quantity x weight) / divisor`` micro-Tokens, exactly."""

    terms: tuple[tuple[str, int], ...]
    divisor: int

    def numerator(self, work: Mapping[str, int]) -> int:
        """The sum, before it is divided."""
        terms = self.terms
        if len(terms) == 1:
            quantity, weight = terms[0]
            return work[quantity] * weight
        return sum([work[quantity] * weight for quantity, weight in terms])


def _weights(line: Line, factor: Fraction) -> Weights:
    rates = [(term.quantity, term.tokens / term.per * line.factor * factor * UTOK_PER_TOKEN) for term in line.terms]
    divisor = math.lcm(*(rate.denominator for _, rate in rates))
    return Weights(tuple((quantity, rate.numerator * (divisor // rate.denominator)) for quantity, rate in rates), divisor)


def _units(line: Line) -> tuple[tuple[str, str], ...]:
    return tuple((term.quantity, term.quantity.replace("_", " ")) for term in line.terms)


def rate_text(line: Line, factor: Fraction) -> str:
    """``0.0053 Tokens each``: the rates of a line, for people, factors included."""
    parts = []
    for term in line.terms:
        rated = term.tokens * line.factor * factor
        unit = "each" if term.per == 1 else f"per {decimal_text(term.per)}"
        parts.append(f"{decimal_text(rated)} {'Token' if rated == 1 else 'Tokens'} {unit}")
    return " + ".join(parts)


def decimal_text(value: Fraction) -> str:
    """An exact decimal without exponent; twelve decimals when it has no end."""
    if value.denominator == 1:
        return f"{value.numerator:,}"
    scaled = round_half_even(abs(value) * 10**DECIMALS_SHOWN)
    whole, part = divmod(scaled, 10**DECIMALS_SHOWN)
    sign = "-" if value < 0 else ""
    return f"{sign}{whole:,}.{part:0{DECIMALS_SHOWN}d}".rstrip("0").rstrip(".")


@dataclass(frozen=True, slots=True)
class RateCard:
    """Work to Tokens consumed.

    Attributes:
        name: what models refer to.
        version: from 1 up.
        effective_from: when it comes into force.
        lines: what is charged.
        unpriced: quantities that are known and deliberately cost nothing; any other unknown quantity is refused.
        factor: multiplies every line (the founding code's sparsity discount).
        round_to: the smallest part of a Token in a total; ``token`` rounds the total to whole Tokens.
        notes: assumptions and sources.
        basis: what its figures rest on.
        weights: each line in whole numbers, made once, as the next four.
        rates: each line's rate as people read it.
        units: what each line counts, term by term, as people read it: its quantity and the words for that.
        priced: quantities that cost something.
        known: those, and the unpriced ones.
        bears: whether a line is borne by who runs the engine.
        id: ``name@version``.
    """

    name: str
    version: int
    effective_from: datetime
    lines: tuple[Line, ...]
    unpriced: frozenset[str] = frozenset()
    factor: Fraction = Fraction(1)
    round_to: Rounding = "micro_token"
    notes: str = ""
    basis: Basis = "list"
    weights: tuple[Weights, ...] = field(init=False, repr=False, compare=False)
    rates: tuple[str, ...] = field(init=False, repr=False, compare=False)
    units: tuple[tuple[tuple[str, str], ...], ...] = field(init=False, repr=False, compare=False)
    priced: frozenset[str] = field(init=False, repr=False, compare=False)
    known: frozenset[str] = field(init=False, repr=False, compare=False)
    bears: bool = field(init=False, repr=False, compare=False)
    id: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Bring each line to whole numbers once: rating a request is then a few multiplications."""
        object.__setattr__(self, "weights", tuple(_weights(line, self.factor) for line in self.lines))
        object.__setattr__(self, "rates", tuple(rate_text(line, self.factor) for line in self.lines))
        object.__setattr__(self, "units", tuple(_units(line) for line in self.lines))
        object.__setattr__(self, "priced", frozenset(term.quantity for line in self.lines for term in line.terms))
        object.__setattr__(self, "known", self.priced | self.unpriced)
        object.__setattr__(self, "bears", any(line.borne for line in self.lines))
        object.__setattr__(self, "id", f"{self.name}@{self.version}")

    def quantities(self) -> frozenset[str]:
        """Quantities that cost something."""
        return self.priced

    def tokens_per_unit(self, quantity: str) -> Fraction:
        """Tokens for one unit of a quantity, over all lines."""
        rates = (term.tokens / term.per * line.factor for line in self.lines for term in line.terms if term.quantity == quantity)
        return sum(rates, Fraction(0)) * self.factor


@dataclass(frozen=True, slots=True)
class Tariff:
    """Tokens consumed to Tokens charged, and to money.

    Attributes:
        name: what models refer to.
        version: from 1 up.
        effective_from: when it comes into force.
        currency: of the first price.
        price_nano: the first price: money for one Token, in billionths of the currency's unit.
        multipliers: factors from consumed to charged, by name; ``base`` is always there.
        notes: assumptions.
        prices: money for one Token by plan and currency; the one above, for every plan, when left out.
        service_tiers: factors by latency tier; ``standard`` is 1 when left out.
        size_classes: factors by the size class of the model.
        context_bands: factors that the size of a request decides.
        committed: what a plan's committed volume saves.
        multiplier_max: what the product of all factors may be at most.
        base: the factor that every request has; made once, as the next.
        listed: the prices by plan and currency.
    """

    name: str
    version: int
    effective_from: datetime
    currency: str
    price_nano: int
    multipliers: Mapping[str, Decimal]
    notes: str = ""
    prices: tuple[TokenPrice, ...] = ()
    service_tiers: Mapping[str, Fraction] = field(default_factory=lambda: NO_FACTORS)
    size_classes: Mapping[str, Fraction] = field(default_factory=lambda: NO_FACTORS)
    context_bands: tuple[ContextBand, ...] = ()
    committed: CommittedVolume | None = None
    multiplier_max: Fraction | None = None
    base: Fraction = field(init=False, repr=False, compare=False)
    listed: Mapping[tuple[str | None, str], TokenPrice] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """A tariff with one price has it for every plan."""
        object.__setattr__(self, "base", Fraction(self.multipliers[BASE_MULTIPLIER]))
        if not self.prices:
            object.__setattr__(self, "prices", (TokenPrice(None, self.currency or DEFAULT_CURRENCY, self.price_nano),))
        object.__setattr__(self, "listed", {(price.plan, price.currency): price for price in self.prices})

    @property
    def id(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class CardChoice:
    """A rate card and a tariff, each as ``name`` (the version in force) or ``name@version``."""

    rate_card: str
    tariff: str


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model that callers can name.

    Attributes:
        name: what callers write.
        version: from 1 up.
        effective_from: when it comes into force.
        modality: ``chat``, ``embeddings``, ``speech`` or ``video``.
        engine: the engine that runs it, or None for a model that is only quoted.
        engine_model: that engine's own name of it.
        meter: the id of its meter.
        profile: what the meter must know about it.
        cards: the cards it can be quoted by.
        default_card: the one that requests are billed by.
        title: its name for people.
        notes: where it comes from, its licence.
        tiers: the service tiers that it can be asked for.
        size_class: what tariffs call models of its size; None: no factor for that.
    """

    name: str
    version: int
    effective_from: datetime
    modality: str
    engine: str | None
    engine_model: str | None
    meter: str
    profile: Mapping[str, Any]
    cards: Mapping[str, CardChoice]
    default_card: str
    title: str = ""
    notes: str = ""
    tiers: tuple[str, ...] = (STANDARD,)
    size_class: str | None = None

    @property
    def id(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a project gets and how much it may ask for.  None means: no limit of this kind.

    Attributes:
        name: what projects refer to.
        version: from 1 up.
        effective_from: when it comes into force.
        allowance_utok: micro-Tokens granted.
        allowance_period: granted ``once`` or every ``month``; ``none`` for none.
        request_utok_max: most a single request may be held for.
        requests_per_minute: most requests in a minute.
        concurrent_max: most requests at the same time.
        postpaid: billed afterwards instead of from a balance.
        notes: for people.
        committed_utok: micro-Tokens that whoever has it commits to use in a period; tariffs may charge less for that.  0: none.
        request_caps: most a single request may be held for, in micro-Tokens, by modality or model; the model's own goes first.
        above_cap: what becomes of a request above its cap: it is refused, or waits for an operator to approve it.
        allowance_modality: what alone the allowance may be spent on; None: anything.
        tokens_per_minute_utok: most micro-Tokens in a minute.
        credit_line_utok: how far a postpaid wallet may go below nothing; None: no bound.
        queue_weight: its share of engines that are wanted by several; twice the weight, twice the Tokens.
    """

    name: str
    version: int
    effective_from: datetime
    allowance_utok: int
    allowance_period: Literal["once", "month", "none"]
    request_utok_max: int | None = None
    requests_per_minute: int | None = None
    concurrent_max: int | None = None
    postpaid: bool = False
    notes: str = ""
    committed_utok: int = 0
    request_caps: Mapping[str, int] = field(default_factory=dict)
    above_cap: Literal["refuse", "approve"] = "refuse"
    allowance_modality: str | None = None
    tokens_per_minute_utok: int | None = None
    credit_line_utok: int | None = None
    queue_weight: int = 1

    @property
    def id(self) -> str:
        """``name@version``."""
        return f"{self.name}@{self.version}"


Entry = ModelEntry | RateCard | Tariff | Plan


@dataclass(frozen=True, slots=True)
class Document:
    """One published version of an entry.

    Attributes:
        kind: what it is.
        entry: the parsed entry.
        body: its content as canonical JSON; equal content gives equal text.
        sha256: of the body, hexadecimal.
        file: where it was read, or ``database``.
        line: the line it starts at; 0 when it was not read from a file.
        lines: the line of each part (``lines[0].quantity``), for messages.
        published_at: when, by the database's clock; None: it is not.
    """

    kind: Kind
    entry: Entry
    body: str
    sha256: str
    file: str = "database"
    line: int = 0
    lines: Mapping[str, int] = field(default_factory=dict)
    published_at: datetime | None = None

    @property
    def in_force_from(self) -> datetime:
        """When it came into force, or will: on its date, and not before it was published."""
        effective = self.entry.effective_from
        return effective if self.published_at is None else max(effective, self.published_at)

    @property
    def key(self) -> tuple[Kind, str, int]:
        """What makes it unique."""
        return (self.kind, self.entry.name, self.entry.version)


class ConsumptionLine(msgspec.Struct, frozen=True):
    """One line rated: ``amount_utok`` is below zero only for a rounding down to whole Tokens."""

    label: str
    quantity: str
    rate: str
    amount_utok: int


class FareLine(msgspec.Struct, frozen=True):
    """One line of a quote: consumed micro-Tokens, expected and at most."""

    label: str
    quantity: str
    rate: str
    expected_utok: int
    maximum_utok: int
