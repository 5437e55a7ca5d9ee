"""A comparison of two cards, for people and for programs."""

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any
from uuid import UUID

from taximeter.cli.cards.grid import GridComparison, amount_text
from taximeter.cli.table import count, print_table
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens, round_half_even
from taximeter.metering.comparison import Comparison, Customer, Sums
from taximeter.pricing import RateCard
from taximeter.pricing.heatmap import ratio_text

Cards = tuple[RateCard, RateCard]
Names = Mapping[UUID, Customer]
USAGE_HEAD = ("receipts", "Tokens by A", "Tokens by B", "difference", "change", "dearer")
LEFT_SHOWN = 20


def percent(part: int | Fraction, whole: int | Fraction, *, signed: bool = False) -> str:
    """``12.5 %``, to the tenth; empty when there is no whole."""
    if whole == 0:
        return ""
    tenths = round_half_even(Fraction(part) * 1000 / whole)
    sign = "-" if tenths < 0 else "+" if signed and tenths > 0 else ""
    return f"{sign}{abs(tenths) // 10}.{abs(tenths) % 10} %"


def show_usage(cards: Cards, found: Comparison, names: Names, limit: int) -> None:
    """Totals, a table by model, a table by customer, and what was left out."""
    total = found.total()
    print(f"A {cards[0].id}, B {cards[1].id}: {count(total.receipts, 'receipt')} by both cards")
    if total.receipts:
        share = percent(total.dearer, total.receipts)
        print(f"{format_tokens(total.first_utok)} Tokens by A, {format_tokens(total.second_utok)} by B: {_change(total)}")
        print(f"{share} of the receipts get dearer, {percent(total.cheaper, total.receipts)} cheaper")
        _show_groups("model", [((model,), sums) for model, sums in found.by_model()], ("model",), limit)
        rows = [(_customer(names, project), sums) for project, sums in found.by_customer()]
        _show_groups("customer", rows, ("organisation", "project"), limit)
    _show_left(found)


def _show_groups(kind: str, groups: Sequence[tuple[Sequence[str], Sums]], head: Sequence[str], limit: int) -> None:
    print(f"\nBy {kind}, biggest change first")
    print_table((*head, *USAGE_HEAD), [(*name, *_cells(sums)) for name, sums in groups[:limit]])
    if len(groups) > limit:
        rest = Sums()
        for _, sums in groups[limit:]:
            rest.merge(sums)
        print(f"and {len(groups) - limit} more, together {format_tokens(rest.difference_utok)} Tokens; --limit shows them")


def _show_left(found: Comparison) -> None:
    left = sorted(found.left_out.items(), key=lambda item: (-item[1], item[0].model, item[0].reason))
    if left:
        nothing = "" if found.total().receipts else ", so that there is nothing to compare"
        print(f"\n{count(sum(found.left_out.values()), 'receipt')} left out{nothing}; by model, with the reason:")
    for reason, number in left[:LEFT_SHOWN]:
        print(f"  {number} of {reason.model}: {reason.reason}")
    if len(left) > LEFT_SHOWN:
        print(f"  and {count(len(left) - LEFT_SHOWN, 'reason')} more; --json has them all")


def _cells(sums: Sums) -> Iterator[str]:
    yield str(sums.receipts)
    yield format_tokens(sums.first_utok)
    yield format_tokens(sums.second_utok)
    yield format_tokens(sums.difference_utok)
    yield percent(sums.difference_utok, sums.first_utok, signed=True)
    yield percent(sums.dearer, sums.receipts)


def _change(total: Sums) -> str:
    relative = percent(total.difference_utok, total.first_utok, signed=True)
    sign = "+" if total.difference_utok > 0 else ""
    return f"{sign}{format_tokens(total.difference_utok)} Tokens" + (f" ({relative})" if relative else "")


def _customer(names: Names, project: UUID) -> tuple[str, str]:
    return names[project].organisation, names[project].project


def usage_json(cards: Cards, found: Comparison, names: Names) -> dict[str, Any]:
    """Everything, complete; Tokens as decimal texts."""
    return {
        "a": cards[0].id,
        "b": cards[1].id,
        "total": _sums_json(found.total()),
        "by_model": [{"model": model, **_sums_json(sums)} for model, sums in found.by_model()],
        "by_customer": [
            {
                "project": encode_id("prj", project),
                "project_name": _customer(names, project)[1],
                "organisation": _customer(names, project)[0],
                **_sums_json(sums),
            }
            for project, sums in found.by_customer()
        ],
        "left_out": [{"model": left.model, "reason": left.reason, "receipts": number} for left, number in found.left_out.items()],
    }


def _sums_json(sums: Sums) -> dict[str, Any]:
    return {
        "receipts": sums.receipts,
        "dearer": sums.dearer,
        "cheaper": sums.cheaper,
        "tokens_a": format_tokens(sums.first_utok),
        "tokens_b": format_tokens(sums.second_utok),
        "tokens_difference": format_tokens(sums.difference_utok),
    }


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
