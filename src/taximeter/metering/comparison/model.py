"""Two cards, or two tariffs, side by side: sums over receipts, and a grid of requests."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from taximeter.meters import Work

Key = TypeVar("Key", UUID, str)


Pair = tuple[int, int]
"""An amount by the first, and by the second."""


@dataclass(slots=True)
class MoneySums:
    """Receipts in one currency, in billionths of its unit.

    Attributes:
        receipts: how many.
        first_nano: what they cost by the first; each is rounded once, as on its receipt.
        second_nano: by the second.
    """

    receipts: int = 0
    first_nano: int = 0
    second_nano: int = 0

    @property
    def difference_nano(self) -> int:
        """Above 0: the second asks more."""
        return self.second_nano - self.first_nano

    def merge(self, other: "MoneySums") -> None:
        """The receipts of ``other`` as well."""
        self.receipts += other.receipts
        self.first_nano += other.first_nano
        self.second_nano += other.second_nano


@dataclass(slots=True)
class Sums:
    """Receipts, by both.

    Attributes:
        receipts: how many.
        first_utok: what they consume by the first card, or are charged by the first tariff.
        second_utok: by the second.
        dearer: how many cost more by the second: of cards in Tokens, of tariffs in money.
        cheaper: how many cost less.
        money: what they cost, by currency; without those that kept no price.
    """

    receipts: int = 0
    first_utok: int = 0
    second_utok: int = 0
    dearer: int = 0
    cheaper: int = 0
    money: dict[str, MoneySums] = field(default_factory=dict)

    @property
    def difference_utok(self) -> int:
        """Above 0: the second asks more."""
        return self.second_utok - self.first_utok

    def add(self, utok: Pair, judged: Pair) -> None:
        """One receipt more; ``judged`` says which one is dearer."""
        self.receipts += 1
        self.first_utok += utok[0]
        self.second_utok += utok[1]
        self.dearer += judged[1] > judged[0]
        self.cheaper += judged[1] < judged[0]

    def add_money(self, currency: str, nano: Pair) -> None:
        """What one of the receipts costs."""
        self.money.setdefault(currency, MoneySums()).merge(MoneySums(1, *nano))

    def merge(self, other: "Sums") -> None:
        """The receipts of ``other`` as well."""
        self.receipts += other.receipts
        self.first_utok += other.first_utok
        self.second_utok += other.second_utok
        self.dearer += other.dearer
        self.cheaper += other.cheaper
        for currency, sums in other.money.items():
            self.money.setdefault(currency, MoneySums()).merge(sums)


@dataclass(frozen=True, slots=True)
class Span:
    """Which receipts: those settled from ``start`` up to, not including, ``end``; of one project or model, or of all."""

    start: datetime
    end: datetime
    project_id: UUID | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """Receipts that could not be compared: a model's, and why."""

    model: str
    reason: str


@dataclass(slots=True)
class Comparison:
    """Sums by customer (project) and model; it grows with the number of those pairs, not with the receipts."""

    cells: dict[tuple[UUID, str], Sums] = field(default_factory=dict)
    left_out: dict[Left, int] = field(default_factory=dict)
    unpriced: dict[Left, int] = field(default_factory=dict)
    """Receipts that are compared in Tokens and not in money."""

    def total(self) -> Sums:
        """Everything."""
        total = Sums()
        for sums in self.cells.values():
            total.merge(sums)
        return total

    def by_model(self) -> list[tuple[str, Sums]]:
        """Over all customers, the biggest change first."""
        return _by_change(self._grouped(lambda pair: pair[1]))

    def by_customer(self) -> list[tuple[UUID, Sums]]:
        """Over all models, the biggest change first."""
        return _by_change(self._grouped(lambda pair: pair[0]))

    def _grouped(self, name: Callable[[tuple[UUID, str]], Key]) -> dict[Key, Sums]:
        groups: dict[Key, Sums] = {}
        for pair, sums in self.cells.items():
            groups.setdefault(name(pair), Sums()).merge(sums)
        return groups


def _by_change(groups: Mapping[Key, Sums]) -> list[tuple[Key, Sums]]:
    return sorted(groups.items(), key=lambda item: (-abs(item[1].difference_utok), str(item[0])))


@dataclass(frozen=True, slots=True)
class Grid:
    """Typical requests of a model, as its meter counts them; None where the model takes no such request.

    Attributes:
        row_axis: what the rows are, with the unit.
        column_axis: what the columns are.
        rows: their names.
        columns: their names.
        works: expected work, one row after the other.
        settled: what all cells have in common, for people.
    """

    row_axis: str
    column_axis: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    works: tuple[tuple[Work | None, ...], ...]
    settled: str
