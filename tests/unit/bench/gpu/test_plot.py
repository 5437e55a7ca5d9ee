"""The picture: well-formed, every point inside its frame, on the line when the prediction is right, above it when it is too high."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench.gpu.plot import LEFT, SIDE, TOP, seconds, svg

SPACE = "{http://www.w3.org/2000/svg}"


def row(measured: float, predicted: float, role: str = "fit", family: str = "video") -> dict[str, Any]:
    return {"cell": f"A2/{measured}", "role": role, "family": family, "median_s": measured, "predicted_s": predicted}


def drawn(*rows: dict[str, Any]) -> ET.Element:
    return ET.fromstring(svg(rows, "errors & all"))  # noqa: S314 - our own text


def circles(picture: ET.Element) -> list[tuple[float, float]]:
    found = [mark for mark in picture.findall(f".//{SPACE}circle") if mark.find(f"{SPACE}title") is not None]
    return [(float(mark.attrib["cx"]), float(mark.attrib["cy"])) for mark in found]


def test_a_right_prediction_lies_on_the_line_and_a_high_one_above_it() -> None:
    (x0, y0), (x1, y1), (x2, y2) = circles(drawn(row(0.001, 0.001), row(1, 1.5), row(300, 200)))
    assert x0 - LEFT == pytest.approx(TOP + SIDE - y0, abs=0.2)
    assert TOP + SIDE - y1 > x1 - LEFT
    assert TOP + SIDE - y2 < x2 - LEFT


def test_every_point_lies_inside_the_frame_and_tells_its_cell_and_error() -> None:
    picture = drawn(*(row(10.0**power, 1.2 * 10.0**power) for power in range(-4, 4)))
    assert all(LEFT <= x <= LEFT + SIDE and TOP <= y <= TOP + SIDE for x, y in circles(picture))
    assert "A2/1.0: +20.0%" in {title.text for title in picture.iter(f"{SPACE}title")}


def test_fitted_and_unseen_cells_have_shapes_of_their_own() -> None:
    picture = drawn(row(1, 1), row(2, 2, "holdout", "speech"), row(3, 3, "check", "text"))
    for shape, kind in (("circle", "fit"), ("polygon", "holdout"), ("rect", "check")):
        marks = [mark for mark in picture.findall(f".//{SPACE}{shape}[@class='{kind}']") if mark.find(f"{SPACE}title") is not None]
        assert len(marks) == 1
    texts = {text.text for text in picture.iter(f"{SPACE}text")}
    assert {"errors & all", "video", "speech", "text", "fitted", "hold-out", "predicted = measured"} <= texts


def test_a_picture_of_nothing_is_a_picture() -> None:
    assert circles(drawn({"cell": "A1/idle", "role": "ceiling", "family": "", "median_s": None})) == []


@pytest.mark.parametrize(("value", "text"), [(2e-5, "20 us"), (0.003, "3 ms"), (1.0, "1 s"), (500.0, "500 s")])
def test_times_have_their_unit(value: float, text: str) -> None:
    assert seconds(value) == text
