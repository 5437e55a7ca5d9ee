"""Rows for people: aligned columns, or nothing but a word when there are none."""

import unicodedata
from collections.abc import Sequence


def count(number: int, noun: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], empty: str = "none") -> None:
    """Print rows under their head, or ``empty``; numbers to the right, text to the left."""
    if not rows:
        print(empty)
        return
    widths = [max(map(_width, column)) for column in zip(head, *rows, strict=True)]
    to_right = [all(_is_number(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in (head, *rows):
        cells = [_pad(cell, width, right=right) for cell, width, right in zip(row, widths, to_right, strict=True)]
        print("  ".join(cells).rstrip())


def _pad(cell: str, width: int, *, right: bool) -> str:
    space = " " * (width - _width(cell))
    return space + cell if right else cell + space


def _width(cell: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in cell)


def _is_number(cell: str) -> bool:
    """Also 1,000 and +12.5 %."""
    return cell.removesuffix(" %").replace(",", "").replace(".", "", 1).removeprefix("-").removeprefix("+").isdigit() or not cell
