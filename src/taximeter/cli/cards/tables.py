"""A comparison of two cards over a grid, for people and for programs."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from taximeter.cli.cards.grid import GridComparison, amount_text
from taximeter.cli.table import print_table
from taximeter.kernel.units import round_half_even
from taximeter.pricing.heatmap import ratio_text


def percent(part: int | Fraction, whole: int | Fraction, *, signed: bool = False) -> str:
    """``12.5 %``, to the tenth; empty when there is no whole."""
    if whole == 0:
        return ""
    tenths = round_half_even(Fraction(part) * 1000 / whole)
    sign = "-" if tenths < 0 else "+" if signed and tenths > 0 else ""
    return f"{sign}{abs(tenths) // 10}.{abs(tenths) % 10} %"


def show_grid(compared: GridComparison) -> None:
    """One row a request, then the spread."""
    first, second = (card.id for card in compared.cards)
    grid = compared.grid
    settled = f", {grid.settled}" if grid.settled else ""
    print(f"A {first}, B {second}: typical requests of {compared.model.name}{settled}")
    if compared.only:
        print(f"Of A only: {', '.join(compared.only)}")
    print()
    head = (*(axis for axis in (grid.row_axis, grid.column_axis) if axis), "Tokens by A", "Tokens by B", "change", "B over A")
    print_table(head, [_grid_row(compared, *cell) for cell in _grid_cells(compared)])
    scaled = ""
    if compared.found.agree is not None:
        row, column = compared.found.agree
        scaled = f"; B over A is scaled to 1 at {grid.rows[row]}, {grid.columns[column]}"
    print(f"\nThe largest B over A is {ratio_text(compared.found.spread)} times the smallest{scaled}")


def grid_json(compared: GridComparison) -> dict[str, Any]:
    """Every cell; ratios as texts with six decimals."""
    cells = []
    for row, column in _grid_cells(compared):
        amounts, ratio = compared.amounts[row][column], compared.found.ratios[row][column]
        assert amounts is not None
        cells.append(
            {
                "row": compared.grid.rows[row],
                "column": compared.grid.columns[column],
                "tokens_a": amount_text(amounts[0]),
                "tokens_b": amount_text(amounts[1]),
                "ratio": None if ratio is None else amount_text(ratio * 10**6),
            }
        )
    return {
        "a": compared.cards[0].id,
        "b": compared.cards[1].id,
        "model": compared.model.id,
        "only": list(compared.only),
        "rows": compared.grid.row_axis,
        "columns": compared.grid.column_axis,
        "cells": cells,
        "spread": amount_text(compared.found.spread * 10**6),
    }


def _grid_cells(compared: GridComparison) -> Iterator[tuple[int, int]]:
    for row, amounts in enumerate(compared.amounts):
        yield from ((row, column) for column, pair in enumerate(amounts) if pair is not None)


def _grid_row(compared: GridComparison, row: int, column: int) -> list[str]:
    amounts, ratio = compared.amounts[row][column], compared.found.ratios[row][column]
    assert amounts is not None
    names = [name for axis, name in ((compared.grid.row_axis, compared.grid.rows[row]), (True, compared.grid.columns[column])) if axis]
    change = percent(amounts[1] - amounts[0], amounts[0], signed=True)
    return [*names, *map(amount_text, amounts), change, "" if ratio is None else ratio_text(ratio)]
