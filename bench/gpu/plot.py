"""Predicted against measured on logarithmic axes, as SVG written by hand."""

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

from bench.pictures import COLOURS

SIDE = 560
LEFT, TOP, BOTTOM = 84, 44, 52
WIDTH, HEIGHT = LEFT + SIDE + 200, TOP + SIDE + BOTTOM
MARGIN = 1.4
# A colour for each family, a shape for each role: filled when it was fitted, open when it was predicted.
FAMILY_COLOURS = {"video": COLOURS[0], "speech": COLOURS[1], "text": COLOURS[2]}
ROLES = {"fit": "fitted", "check": "known shape, unseen whole", "holdout": "hold-out"}
# How far from the line a prediction may lie.
BAND = 0.10
_STYLE = "text{font:12px sans-serif;fill:#777}.title{font-weight:bold;font-size:14px}.grid{stroke:#8883;stroke-width:1}"


def svg(rows: Sequence[Mapping[str, Any]], title: str) -> str:
    """Rows of the report that have ``predicted_s`` and ``median_s``."""
    points = [row for row in rows if row.get("predicted_s") and row.get("median_s")]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">',
        f"<style>{_STYLE}</style>",
        _text(LEFT, TOP - 20, title, "title"),
    ]
    values = [value for row in points for value in (row["predicted_s"], row["median_s"])] or [0.001, 1.0]
    low, high = math.log10(min(values) / MARGIN), math.log10(max(values) * MARGIN)
    parts += _frame(low, high)
    parts += [_mark(row, low, high) for row in points]
    return "\n".join([*parts, *_legend(points), "</svg>", ""])


def position(value: float, low: float, high: float) -> float:
    """From 0 to 1 along an axis from ``10**low`` to ``10**high``."""
    return (math.log10(value) - low) / (high - low)


def seconds(value: float) -> str:
    """``20 us``, ``3 ms``, ``5 s``."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size * 0.999:
            return f"{value / size:g} {unit}"
    return f"{value / 1e-6:g} us"


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten; their halves and fifths, too, when there are few."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    steps = (1.0,) if high - low > 3 else (1.0, 2.0, 5.0)
    ticks = [float(f"{step}e{decade}") for decade in decades for step in steps]
    return [tick for tick in ticks if low <= math.log10(tick) <= high]


def _frame(low: float, high: float) -> list[str]:
    bottom, right = TOP + SIDE, LEFT + SIDE
    parts = []
    for tick in _ticks(low, high):
        place = position(tick, low, high) * SIDE
        parts.append(f'<line class="grid" x1="{LEFT + place:.1f}" y1="{TOP}" x2="{LEFT + place:.1f}" y2="{bottom}"/>')
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{bottom - place:.1f}" x2="{right}" y2="{bottom - place:.1f}"/>')
        parts.append(_text(LEFT + place, bottom + 18, seconds(tick), anchor="middle"))
        parts.append(_text(LEFT - 8, bottom - place + 4, seconds(tick), anchor="end"))
    parts.append(_text(LEFT + SIDE / 2, bottom + 40, "measured, median", anchor="middle"))
    parts.append(f'<text transform="translate(20 {TOP + SIDE / 2:.0f}) rotate(-90)" text-anchor="middle">predicted</text>')
    parts.append(f'<line class="identity" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{TOP}" stroke="#888"/>')
    for factor in (1 - BAND, 1 + BAND):
        shift = math.log10(factor) / (high - low) * SIDE
        start, end = max(0.0, -shift), min(float(SIDE), SIDE - shift)
        ends = f'x1="{LEFT + start:.1f}" y1="{bottom - start - shift:.1f}" x2="{LEFT + end:.1f}" y2="{bottom - end - shift:.1f}"'
        parts.append(f'<line {ends} stroke="#888" stroke-dasharray="4 4"/>')
    return parts


def _mark(row: Mapping[str, Any], low: float, high: float) -> str:
    x = LEFT + position(row["median_s"], low, high) * SIDE
    y = TOP + SIDE - position(row["predicted_s"], low, high) * SIDE
    error = f"{row['predicted_s'] / row['median_s'] - 1:+.1%}"
    return _shape(x, y, row["role"], FAMILY_COLOURS[row["family"]], f"{row['cell']}: {error}")


def _shape(x: float, y: float, role: str, colour: str, title: str = "") -> str:
    told = f"<title>{escape(title)}</title>" if title else ""
    if role == "fit":
        return f'<circle class="fit" cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}" fill-opacity="0.55">{told}</circle>'
    if role == "check":
        return (
            f'<rect class="check" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8" fill="none" stroke="{colour}" stroke-width="1.8">{told}</rect>'
        )
    corners = f"{x:.1f},{y - 6:.1f} {x + 6:.1f},{y:.1f} {x:.1f},{y + 6:.1f} {x - 6:.1f},{y:.1f}"
    return f'<polygon class="holdout" points="{corners}" fill="none" stroke="{colour}" stroke-width="2">{told}</polygon>'


def _legend(points: Sequence[Mapping[str, Any]]) -> list[str]:
    x, y = LEFT + SIDE + 22, TOP + 10
    parts = []
    for family, colour in FAMILY_COLOURS.items():
        if any(row["family"] == family for row in points):
            parts += [_shape(x, y, "fit", colour), _text(x + 14, y + 4, family)]
            y += 20
    y += 12
    for role, name in ROLES.items():
        parts += [_shape(x, y, role, "#888"), _text(x + 14, y + 4, name)]
        y += 20
    parts.append(f'<line x1="{x - 8}" y1="{y}" x2="{x + 8}" y2="{y}" stroke="#888"/>')
    parts.append(_text(x + 14, y + 4, "predicted = measured"))
    parts.append(f'<line x1="{x - 8}" y1="{y + 20}" x2="{x + 8}" y2="{y + 20}" stroke="#888" stroke-dasharray="4 4"/>')
    parts.append(_text(x + 14, y + 24, f"{BAND:.0%} away"))
    return parts


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
