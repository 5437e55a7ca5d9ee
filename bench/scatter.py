"""Scatter plots on logarithmic axes as SVG, written by hand: an expectation and a limit over what happened."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.pictures import COLOURS, LIMIT_COLOUR, mark

COLUMNS = 3
SIDE, GAP_X, GAP_Y = 190, 74, 74
LEFT, TOP, FOOT = 56, 66, 44
_STYLE = (
    "text{font:12px sans-serif;fill:#777}.title{font-weight:bold;font-size:13px}.grid{stroke:#8884;stroke-width:1}"
    f".line{{stroke:{LIMIT_COLOUR};stroke-dasharray:5 4}}.filled{{fill:{COLOURS[0]};fill-opacity:.7}}"
    f".hollow{{fill:none;stroke:{COLOURS[1]};stroke-width:1.2;stroke-opacity:.8}}"
)


@dataclass(frozen=True)
class Dot:
    """One thing: what happened, what was expected, and the limit; all above 0."""

    happened: float
    expected: float
    limit: float


@dataclass(frozen=True)
class Field:
    """One square."""

    title: str
    dots: Sequence[Dot]


def decades(values: Sequence[float]) -> tuple[int, int]:
    """The powers of ten that have all values between them, one decade at least."""
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return low, max(high, low + 1)


def power(exponent: int) -> str:
    """``0.001``, ``10``: a power of ten for people."""
    return f"{10**exponent:,}" if exponent >= 0 else f"{10.0**exponent:.{-exponent}f}"


def svg(fields: Sequence[Field], *, across: str, up: str, filled: str, hollow: str, line: str) -> str:
    """The squares, three in a row, each with its own scale: the same on both axes, so that the diagonal is where both agree."""
    rows = -(-len(fields) // COLUMNS)
    width = LEFT + COLUMNS * (SIDE + GAP_X)
    height = TOP + rows * (SIDE + GAP_Y) - GAP_Y + FOOT + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
        f"<style>{_STYLE}</style>",
        *_legend(filled, hollow, line),
    ]
    for number, field in enumerate(fields):
        x, y = LEFT + number % COLUMNS * (SIDE + GAP_X), TOP + number // COLUMNS * (SIDE + GAP_Y)
        parts += [f'<g transform="translate({x} {y})">', *_square(field), "</g>"]
    parts.append(mark(width / 2, height - 12, f"across: {across}; up: {up}", anchor="middle"))
    return "\n".join([*parts, "</svg>", ""])


def _legend(filled: str, hollow: str, line: str) -> list[str]:
    return [
        f'<circle class="filled" cx="{LEFT + 6}" cy="20" r="4"/>',
        mark(LEFT + 16, 24, filled),
        f'<circle class="hollow" cx="{LEFT + 106}" cy="20" r="4"/>',
        mark(LEFT + 116, 24, hollow),
        f'<line class="line" x1="{LEFT + 180}" y1="20" x2="{LEFT + 204}" y2="20"/>',
        mark(LEFT + 210, 24, line),
    ]


def _square(field: Field) -> list[str]:
    low, high = decades([value for dot in field.dots for value in (dot.happened, dot.expected, dot.limit)])

    def place(value: float) -> float:
        return SIDE * (math.log10(value) - low) / (high - low)

    parts = [mark(0, -10, field.title, "title")]
    for exponent in range(low, high + 1):
        at = place(10.0**exponent)
        parts.append(f'<line class="grid" x1="{at:.1f}" y1="0" x2="{at:.1f}" y2="{SIDE}"/>')
        parts.append(f'<line class="grid" x1="0" y1="{SIDE - at:.1f}" x2="{SIDE}" y2="{SIDE - at:.1f}"/>')
        parts.append(mark(at, SIDE + 16, power(exponent), anchor="middle"))
        parts.append(mark(-6, SIDE - at + 4, power(exponent), anchor="end"))
    parts.append(f'<line class="line" x1="0" y1="{SIDE}" x2="{SIDE}" y2="0"/>')
    for kind, radius in (("hollow", 3.5), ("filled", 2.5)):
        for dot in field.dots:
            value = dot.limit if kind == "hollow" else dot.expected
            parts.append(f'<circle class="{kind}" cx="{place(dot.happened):.1f}" cy="{SIDE - place(value):.1f}" r="{radius}"/>')
    return parts
