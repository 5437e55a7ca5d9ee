"""Range requests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.gateway.errors import RangeNotSatisfiable
from taximeter.gateway.ranges import etag_matches, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=10-", (10, 100)),
        ("bytes=-10", (90, 100)),
        ("bytes=-1000", (0, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=99-99", (99, 100)),
        (" bytes=1-2 ", (1, 3)),
        ("bytes=-", None),
        ("bytes=5-4", None),
        ("bytes=a-b", None),
        ("bytes=0-1,5-6", None),
        ("items=0-1", None),
        ("bytes=0-99999999999999999999999999", None),
    ],
)
def test_a_range_is_read_as_the_standard_says(header: str | None, expected: tuple[int, int] | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, 100)
    assert caught.value.headers["Content-Range"] == "bytes */100"


@given(st.text(max_size=30), st.integers(0, 10**6))
def test_any_range_lies_inside_the_file(noise: str, size: int) -> None:
    for header in (noise, f"bytes={noise}"):
        try:
            part = parse_range(header, size)
        except RangeNotSatisfiable:
            continue
        assert part is None or 0 <= part[0] < part[1] <= size


@pytest.mark.parametrize(
    ("header", "expected"),
    [(None, False), ("", False), ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ("*", True), ('"b"', False), ("a", False)],
)
def test_an_etag_is_found_in_a_list(header: str | None, expected: object) -> None:
    assert etag_matches(header, '"a"') is expected
