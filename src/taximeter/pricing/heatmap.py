"""A misprice map as a picture: SVG without a library, the same bytes for the same map.

Blue and orange lie on the axis that every common colour blindness keeps apart, the number stands in every cell, and the scale is
logarithmic: half and twice are equally far from the white of 1.  The background is a light sheet, so that it reads on any page.
"""

import math
import textwrap
from dataclasses import dataclass
from fractions import Fraction
from xml.sax.saxutils import escape

from taximeter.pricing.misprice import MispriceMap

CELL_WIDTH = 92
CELL_HEIGHT = 52
WIDTH_MIN = 720
MARGIN = 24
ROW_LABELS = 128
TITLE_LINE = 26
TEXT_LINE = 20
# Letters of the two sizes of text, about as wide as they get on average.
TITLE_LETTER = 9.3
TEXT_LETTER = 6.7
LEGEND_WIDTH = 300
LEGEND_HEIGHT = 14
LEGEND_STEPS = 60
LIMIT_MIN = Fraction(3, 2)
BLUE = (33, 102, 172)
WHITE = (250, 250, 250)
ORANGE = (200, 90, 10)
INK = "#1f2328"
GREY = "#57606a"
DARK_BELOW = 0.55
FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif\""
# The scale is marked at powers of the first of these that gives few enough marks.
TICK_BASES = (2, 10, 1000)
TICKS_MAX = 9


@dataclass(frozen=True, slots=True)
class Captions:
    """The words of a picture.

    Attributes:
        title: what it shows, in one sentence.
        lines: what one must know to read it, sentence by sentence.
        rows: what the rows are, with the unit.
        columns: what the columns are, with the unit.
        below: what a number below 1 says of the first card.
        above: what one above 1 says.
    """

    title: str
    lines: tuple[str, ...]
    rows: str
    columns: str
    below: str
    above: str


def heat_map(found: MispriceMap, captions: Captions) -> str:
    """The picture."""
    width = max(WIDTH_MIN, 2 * MARGIN + ROW_LABELS + CELL_WIDTH * len(found.columns))
    cell_width = (width - 2 * MARGIN - ROW_LABELS) / len(found.columns)
    limit = _limit(found)
    parts: list[str] = []
    y = MARGIN + 4
    for line in textwrap.wrap(captions.title, int((width - 2 * MARGIN) / TITLE_LETTER)):
        y += TITLE_LINE
        parts.append(_text(MARGIN, y - 8, line, 'font-size="18" font-weight="600"'))
    for sentence in captions.lines:
        for line in textwrap.wrap(sentence, int((width - 2 * MARGIN) / TEXT_LETTER)):
            y += TEXT_LINE
            parts.append(_text(MARGIN, y - 6, line, f'font-size="13" fill="{GREY}"'))
    y += 34
    left = MARGIN + ROW_LABELS
    parts.append(_text(MARGIN, y - 8, captions.rows, f'font-size="12" fill="{GREY}"'))
    for index, name in enumerate(found.columns):
        parts.append(_text(left + (index + 0.5) * cell_width, y - 8, name, 'font-size="13" font-weight="600" text-anchor="middle"'))
    for row, (name, ratios) in enumerate(zip(found.rows, found.ratios, strict=True)):
        parts.append(_text(left - 12, y + CELL_HEIGHT / 2 + 5, name, 'font-size="13" font-weight="600" text-anchor="end"'))
        for column, ratio in enumerate(ratios):
            agrees = found.agree == (row, column)
            parts += _cell((left + column * cell_width, y), cell_width, ratio, limit, agrees=agrees)
        y += CELL_HEIGHT
    y += 24
    parts.append(_text(left + cell_width * len(found.columns) / 2, y, captions.columns, f'font-size="12" fill="{GREY}" text-anchor="middle"'))
    y += 22
    parts += _legend(width / 2 - LEGEND_WIDTH / 2, y, limit, captions)
    height = y + LEGEND_HEIGHT + 48
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" {FONT} fill="{INK}">'
    sheet = f'<rect x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="10" fill="#ffffff" stroke="#d0d7de"/>'
    return "\n".join([head, f"<title>{escape(captions.title)}</title>", sheet, *parts, "</svg>", ""])


def ratio_text(ratio: Fraction) -> str:
    """Three digits that count: 0.68, 2.61, 12.3."""
    value = float(ratio)
    for low, digits in ((100, 0), (10, 1), (0.1, 2)):
        if value >= low:
            return f"{value:.{digits}f}"
    return f"{value:.3f}"


def _limit(found: MispriceMap) -> Fraction:
    """How far the colours reach: to the cell that is farthest from 1, either way."""
    known = [ratio for row in found.ratios for ratio in row if ratio is not None]
    return max([LIMIT_MIN, *known, *(1 / ratio for ratio in known)])


def _colour(ratio: Fraction, limit: Fraction) -> tuple[int, int, int]:
    place = math.log(float(ratio)) / math.log(float(limit))
    end = ORANGE if place > 0 else BLUE
    share = min(1.0, abs(place))
    red, green, blue = (round(start + (stop - start) * share) for start, stop in zip(WHITE, end, strict=True))
    return red, green, blue


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _is_dark(colour: tuple[int, int, int]) -> bool:
    red, green, blue = colour
    return (0.299 * red + 0.587 * green + 0.114 * blue) / 255 < DARK_BELOW


def _cell(corner: tuple[float, float], width: float, ratio: Fraction | None, limit: Fraction, *, agrees: bool) -> list[str]:
    x, y = corner
    box = f'x="{_number(x + 1.5)}" y="{_number(y + 1.5)}" width="{_number(width - 3)}" height="{CELL_HEIGHT - 3}" rx="4"'
    middle = (x + width / 2, y + CELL_HEIGHT / 2)
    if ratio is None:
        return [f'<rect {box} fill="#f6f8fa"/>', _text(middle[0], middle[1] + 5, "-", f'font-size="14" fill="{GREY}" text-anchor="middle"')]
    colour = _colour(ratio, limit)
    ink = "#ffffff" if _is_dark(colour) else INK
    border = f' stroke="{INK}" stroke-width="2"' if agrees else ' stroke="#d8dee4"'
    number = _text(middle[0], middle[1] + 6, ratio_text(ratio), f'font-size="17" fill="{ink}" text-anchor="middle"')
    return [f'<rect {box} fill="{_hex(colour)}"{border}/>', number]


def _legend(x: float, y: float, limit: Fraction, captions: Captions) -> list[str]:
    parts = []
    step = LEGEND_WIDTH / LEGEND_STEPS
    reach = math.log(float(limit))
    for index in range(LEGEND_STEPS):
        place = (2 * (index + 0.5) / LEGEND_STEPS - 1) * reach
        colour = _colour(Fraction(math.exp(place)).limit_denominator(10**6), limit)
        parts.append(f'<rect x="{_number(x + index * step)}" y="{y}" width="{_number(step + 0.3)}" height="{LEGEND_HEIGHT}" fill="{_hex(colour)}"/>')
    for tick in _ticks(limit):
        at = x + LEGEND_WIDTH * (math.log(float(tick)) / reach + 1) / 2
        parts.append(f'<path d="M{_number(at)} {y + LEGEND_HEIGHT}v5" stroke="{GREY}"/>')
        parts.append(_text(at, y + LEGEND_HEIGHT + 18, f"{float(tick):g}", f'font-size="12" fill="{GREY}" text-anchor="middle"'))
    parts.append(_text(x - 12, y + LEGEND_HEIGHT - 2, captions.below, 'font-size="12" text-anchor="end"'))
    parts.append(_text(x + LEGEND_WIDTH + 12, y + LEGEND_HEIGHT - 2, captions.above, 'font-size="12"'))
    return parts


def _ticks(limit: Fraction) -> list[Fraction]:
    """1, and powers as far as the colours reach, either way."""
    ticks: list[Fraction] = []
    for base in TICK_BASES:
        powers = [Fraction(base) ** power for power in range(1, TICKS_MAX) if base**power <= limit]
        ticks = [*(1 / tick for tick in reversed(powers)), Fraction(1), *powers]
        if len(ticks) <= TICKS_MAX:
            break
    return ticks


def _text(x: float, y: float, words: str, attributes: str) -> str:
    return f'<text x="{_number(x)}" y="{_number(y)}" {attributes}>{escape(words)}</text>'


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
