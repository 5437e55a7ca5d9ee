"""Charts: well-formed, inside their frame, with round numbers at the axes."""

from xml.etree import ElementTree as ET

import pytest

from bench.pictures import BOTTOM, LEFT, PANEL_HEIGHT, RIGHT, TOP, WIDTH, Line, Panel, number, svg, ticks

SPACE = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel) -> ET.Element:
    return ET.fromstring(svg(panels))  # noqa: S314 - our own text


def points(line: ET.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())]


@pytest.mark.parametrize(
    ("top", "expected"),
    [
        (100, [0, 20, 40, 60, 80, 100]),
        (103.2, [0, 25, 50, 75, 100, 125]),
        (0.7, [0, 0.2, 0.4, 0.6, 0.8]),
        (1_000_000, [0, 200_000, 400_000, 600_000, 800_000, 1_000_000]),
        (0, [0, 1]),
    ],
)
def test_an_axis_has_round_numbers_up_to_the_highest_value(top: float, expected: list[float]) -> None:
    assert ticks(top) == pytest.approx(expected)


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (12.5, "12.5"), (1250, "1,250"), (1_500_000, "1.5 M"), (250, "250"), (0.2, "0.2")])
def test_a_number_is_as_short_as_it_can_be_read(value: float, text: str) -> None:
    assert number(value) == text


def test_every_line_is_drawn_inside_the_frame_and_named() -> None:
    lines = [Line("gateway-1", [(0, 80), (500, 100), (1000, 101)]), Line("worker & co", [(0, 57), (1000, 58)])]
    picture = drawn(Panel("Memory", "answers", lines, [("goal 250", 250)]))
    found = picture.findall(f".//{SPACE}polyline")
    assert [len(points(line)) for line in found] == [3, 2]
    for x, y in [point for line in found for point in points(line)]:
        assert LEFT <= x <= WIDTH - RIGHT
        assert TOP <= y <= PANEL_HEIGHT - BOTTOM
    texts = [element.text for element in picture.iter(f"{SPACE}text")]
    assert {"Memory", "answers", "gateway-1", "worker & co", "goal 250"} <= set(texts)


def test_a_higher_value_is_drawn_higher_and_a_later_one_more_to_the_right() -> None:
    (line,) = drawn(Panel("up", "s", [Line("a", [(0, 0), (1, 5), (2, 10)])])).findall(f".//{SPACE}polyline")
    (x0, y0), (x1, y1), (x2, y2) = points(line)
    assert x0 < x1 < x2
    assert y0 > y1 > y2


def test_panels_stand_below_each_other() -> None:
    panel = Panel("one", "s", [Line("a", [(0, 1), (1, 2)])])
    picture = drawn(panel, panel, panel)
    assert picture.attrib["height"] == str(3 * PANEL_HEIGHT)
    assert [group.attrib["transform"] for group in picture.findall(f"{SPACE}g")] == [f"translate(0 {number_ * PANEL_HEIGHT})" for number_ in range(3)]
