"""Event streams arrive in pieces of any size; the data lines are the same."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.engines.errors import EngineFailed
from taximeter.engines.openai_http.link import DataLines, error_message, parse_json

STREAM = b': ping\n\ndata: {"a":1}\r\n\r\nevent: x\ndata:{"b":2}\n\ndata:\n\nretry: 3\n\ndata: [DONE]\n\n'


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_data_lines_are_the_same_however_the_network_cuts_the_stream(cuts: list[int]) -> None:
    lines = DataLines(1000)
    edges = [0, *sorted(cuts), len(STREAM)]
    found = [data for begin, end in itertools.pairwise(edges) for data in lines.feed(STREAM[begin:end])]
    assert found == [b'{"a":1}', b'{"b":2}', b"[DONE]"]


def test_a_line_without_end_is_given_up() -> None:
    lines = DataLines(100)
    lines.feed(b"data: " + b"x" * 90)
    with pytest.raises(EngineFailed, match="100 bytes"):
        lines.feed(b"x" * 90)


def test_nan_is_read_and_nonsense_is_none() -> None:
    assert parse_json(b'{"a": 1}') == {"a": 1}
    assert str(parse_json(b"[NaN]")) == "[nan]"
    assert parse_json(b"{") is None
    assert parse_json(b"[" * 100_000) is None


def test_an_error_is_told_on_one_short_line() -> None:
    assert error_message({"message": "a\n  b"}) == "a b"
    assert error_message({"detail": "no"}) == "no"
    assert error_message("x" * 900) == "x" * 500
    assert error_message({"message": 3}) == error_message(None) == "no reason given"
