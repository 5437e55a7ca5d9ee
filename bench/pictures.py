"""Line charts as SVG, written by hand: a picture of a run needs no library and no browser but the reader's."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, PANEL_HEIGHT = 760, 260
LEFT, RIGHT, TOP, BOTTOM = 72, 168, 40, 44
TICKS = 5
# Told apart by people who see colours differently, on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LIMIT_COLOUR = "#888888"
_STYLE = (
    "text{font:12px sans-serif;fill:#777}.title{font-weight:bold;font-size:14px}"
    "polyline{fill:none;stroke-width:1.8}.grid{stroke:#8884;stroke-width:1}"
)


@dataclass(frozen=True)
class Line:
    """One line: a name for the legend, and its points from left to right.

    Attributes:
        colour: its place among the colours, the same wherever the same thing is drawn; None: by its place in the panel.
    """

    name: str
    points: Sequence[tuple[float, float]]
    colour: int | None = None


@dataclass(frozen=True)
class Panel:
    """One chart.

    Attributes:
        limits: named heights that are drawn as dashed lines across it.
    """

    title: str
    across: str
    lines: Sequence[Line]
    limits: Sequence[tuple[str, float]] = ()


def svg(panels: Sequence[Panel]) -> str:
    """The panels, one below the other, as a file."""
    height = PANEL_HEIGHT * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}">',
        f"<style>{_STYLE}</style>",
    ]
    for number, panel in enumerate(panels):
        parts += [f'<g transform="translate(0 {number * PANEL_HEIGHT})">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def ticks(top: float) -> list[float]:
    """Round numbers from 0 to the first that is not below ``top``, about ``TICKS`` of them."""
    if top <= 0:
        return [0.0, 1.0]
    rough = top / TICKS
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough * 0.999)
    return [step * number for number in range(math.ceil(top / step - 1e-9) + 1)]


def number(value: float) -> str:
    """``1,250``, ``12.5``, ``3 M``: as short as it can be read."""
    if value >= 1_000_000:
        return f"{value / 1_000_000:,.4g} M"
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"


def _panel(panel: Panel) -> list[str]:
    points = [point for line in panel.lines for point in line.points]
    heights = ticks(max([y for _, y in points] + [height for _, height in panel.limits], default=0.0))
    last = max((x for x, _ in points), default=0.0) or 1.0
    widths = [value for value in ticks(last) if value <= last * 1.001]
    right, bottom = WIDTH - RIGHT, PANEL_HEIGHT - BOTTOM

    def x_of(value: float) -> float:
        return LEFT + (right - LEFT) * value / last

    def y_of(value: float) -> float:
        return bottom - (bottom - TOP) * value / heights[-1]

    parts = [mark(LEFT, TOP - 16, panel.title, "title")]
    for value in heights:
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y_of(value):.1f}" x2="{right}" y2="{y_of(value):.1f}"/>')
        parts.append(mark(LEFT - 6, y_of(value) + 4, number(value), anchor="end"))
    parts += [mark(x_of(value), bottom + 16, number(value), anchor="middle") for value in widths]
    parts.append(mark((LEFT + right) / 2, bottom + 34, panel.across, anchor="middle"))
    for name, height in panel.limits:
        at = f"{y_of(height):.1f}"
        parts.append(f'<line x1="{LEFT}" y1="{at}" x2="{right}" y2="{at}" stroke="{LIMIT_COLOUR}" stroke-dasharray="6 4"/>')
        parts.append(mark(right + 6, y_of(height) + 4, name))
    for place, line in enumerate(panel.lines):
        colour = COLOURS[(place if line.colour is None else line.colour) % len(COLOURS)]
        path = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline stroke="{colour}" points="{path}"/>')
        # The legend starts below the top, where limits often have their names.
        y = TOP + 30 + 18 * place
        parts.append(f'<line x1="{right + 8}" y1="{y - 4}" x2="{right + 26}" y2="{y - 4}" stroke="{colour}" stroke-width="3"/>')
        parts.append(mark(right + 32, y, line.name))
    return parts


def mark(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    """A text; ``anchor`` is the side of it that is at the point."""
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'
