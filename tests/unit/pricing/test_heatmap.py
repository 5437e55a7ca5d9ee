"""The picture of a misprice map."""

import re
from fractions import Fraction
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.pricing.heatmap import Captions, heat_map, ratio_text
from taximeter.pricing.misprice import MispriceMap

WORDS = Captions("A < B & more", ("One sentence.", "Another."), "Size (pixels)", "Length (seconds)", "too much", "too little")
RATIOS = st.fractions(min_value=Fraction(1, 1000), max_value=1000)


def drawn(*ratios: Fraction | None, agree: tuple[int, int] | None = None) -> str:
    names = tuple(f"{index} s" for index in range(len(ratios)))
    return heat_map(MispriceMap(rows=("480P",), columns=names, ratios=(ratios,), agree=agree), WORDS)


def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]  # noqa: S314 - our own


def luminance(colour: str) -> float:
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_number_name_and_caption_stands_in_the_picture() -> None:
    found = texts(drawn(Fraction(2, 3), None, Fraction(261, 100), agree=(0, 2)))
    wanted = {"0.67", "-", "2.61", "480P", "0 s", "2 s", "A < B & more", "One sentence.", "Another.", "too much", "too little", "0.5", "1", "2"}
    assert wanted <= set(found)
    assert {"Size (pixels)", "Length (seconds)"} <= set(found)


def test_cheap_is_blue_dear_is_orange_and_one_is_white() -> None:
    fills = re.findall(r'rx="4" fill="(#[0-9a-f]{6})"', drawn(Fraction(1, 4), Fraction(1), Fraction(4)))
    assert fills == ["#2166ac", "#fafafa", "#c85a0a"]


def test_the_same_map_gives_the_same_bytes() -> None:
    assert drawn(Fraction(1, 3), Fraction(5)) == drawn(Fraction(1, 3), Fraction(5))


@pytest.mark.parametrize(("far", "marks"), [("1.2", ["1"]), ("3", ["0.5", "1", "2"]), ("700", ["0.01", "0.1", "1", "10", "100"])])
def test_the_scale_has_few_marks_however_far_it_reaches(far: str, marks: list[str]) -> None:
    picture = drawn(Fraction(far))
    assert re.findall(r'text-anchor="middle">([0-9.]+)</text>', picture)[-len(marks) :] == marks
    assert picture.count("v5") == len(marks)


@given(st.lists(RATIOS, min_size=1, max_size=8))
def test_numbers_can_be_read_on_their_colour(ratios: list[Fraction]) -> None:
    picture = drawn(*ratios)
    fills = re.findall(r'rx="4" fill="(#[0-9a-f]{6})"', picture)
    inks = re.findall(r'font-size="17" fill="(#[0-9a-f]{6})"', picture)
    assert len(fills) == len(inks) == len(ratios)
    for fill, ink in zip(fills, inks, strict=True):
        high, low = sorted((luminance(fill), luminance(ink)), reverse=True)
        # 3 is what WCAG asks of text of this size.
        assert (high + 0.05) / (low + 0.05) >= 3


@pytest.mark.parametrize(("ratio", "text"), [("0.0123", "0.012"), ("0.676", "0.68"), ("1", "1.00"), ("12.34", "12.3"), ("123.4", "123")])
def test_a_ratio_is_shown_with_the_digits_that_count(ratio: str, text: str) -> None:
    assert ratio_text(Fraction(ratio)) == text
