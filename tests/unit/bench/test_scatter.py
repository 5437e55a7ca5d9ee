"""Scatter plots."""

import xml.etree.ElementTree as ET

from bench.scatter import Dot, Field, decades, power, svg


def test_an_axis_runs_from_one_power_of_ten_to_another() -> None:
    assert decades([0.02, 3]) == (-2, 1)
    assert decades([1, 1]) == (0, 1)
    assert decades([10, 1000]) == (1, 3)
    assert [power(exponent) for exponent in (-3, 0, 4)] == ["0.001", "1", "10,000"]


def test_a_dot_lies_on_the_diagonal_when_it_came_true() -> None:
    drawn = svg([Field("one", [Dot(10, 10, 100)])], across="a", up="b", filled="c", hollow="d", line="e")
    square = next(part for part in ET.fromstring(drawn) if part.tag.endswith("g"))  # noqa: S314 - our own picture
    hollow, filled = (part for part in square if part.tag.endswith("circle"))
    assert float(filled.get("cx", "")) == 190 - float(filled.get("cy", ""))
    assert float(hollow.get("cy", "")) < float(filled.get("cy", ""))
