"""How far one card's prices are from another's over a grid of requests: the misprice map.  Pure, exact fractions.

A cell is what the second card asks over what the first asks for the same work.  A unit of the one need not be a unit of the other, so
the map is scaled to 1 at one cell, where both are taken to agree: above 1 the first card asks too little there, below 1 too much.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from taximeter.pricing.errors import ModelNotPriced
from taximeter.pricing.model import RateCard

Amounts = tuple[Fraction, Fraction]
Cell = tuple[int, int]


@dataclass(frozen=True, slots=True)
class MispriceMap:
    """Ratios over a grid, None where there is no such request.

    Attributes:
        rows: names of the rows, such as sizes.
        columns: names of the columns, such as lengths.
        ratios: one row after the other.
        agree: the cell (row, column) where the ratio is 1 by definition; None when the cards' own units are compared.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    ratios: tuple[tuple[Fraction | None, ...], ...]
    agree: Cell | None

    @property
    def spread(self) -> Fraction:
        """The largest ratio over the smallest: 1 when the cards differ by nothing but their unit."""
        known = [ratio for row in self.ratios for ratio in row if ratio is not None]
        return max(known) / min(known)


def consumed(card: RateCard, work: Mapping[str, int], labels: Collection[str] = ()) -> Fraction:
    """Micro-Tokens of ``work`` by a card, before any rounding; by the lines with these labels alone when there are any.

    Raises ModelNotPriced when the card prices what the work does not have, or does not know what it has.
    """
    if not (work.keys() <= card.known and card.priced <= work.keys()):
        lacking, unknown = sorted(card.priced - work.keys()), sorted(work.keys() - card.known)
        message = f"the rate card {card.id} " + (f"prices {', '.join(lacking)}" if lacking else f"does not know {', '.join(unknown)}")
        raise ModelNotPriced(message, param="model")
    pairs = zip(card.lines, card.weights, strict=True)
    return sum((Fraction(weights.numerator(work), weights.divisor) for line, weights in pairs if not labels or line.label in labels), Fraction(0))


def misprice_map(rows: Sequence[str], columns: Sequence[str], amounts: Sequence[Sequence[Amounts | None]], agree: Cell | None) -> MispriceMap:
    """The map of what both cards ask (first, second), cell by cell; cells where either asks nothing are left out.

    Raises ValueError when no cell has amounts by both, or not the one where they are to agree.
    """
    ratios = [[_ratio(cell) for cell in row] for row in amounts]
    if all(ratio is None for row in ratios for ratio in row):
        message = "one of the cards asks nothing for all of these requests"
        raise ValueError(message)
    scale: Fraction | None = Fraction(1)
    if agree is not None:
        scale = ratios[agree[0]][agree[1]]
        if scale is None:
            message = f"the cards have no prices to agree on at {rows[agree[0]]}, {columns[agree[1]]}"
            raise ValueError(message)
    assert scale is not None
    scaled = tuple(tuple(None if ratio is None else ratio / scale for ratio in row) for row in ratios)
    return MispriceMap(rows=tuple(rows), columns=tuple(columns), ratios=scaled, agree=agree)


def _ratio(cell: Amounts | None) -> Fraction | None:
    return None if cell is None or 0 in cell else cell[1] / cell[0]
