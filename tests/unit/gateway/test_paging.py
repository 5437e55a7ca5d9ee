"""Cursors and pages."""

import uuid

import pytest

from taximeter.gateway.paging import cursor, page, page_size
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import encode_id


def test_a_page_size_has_a_default_and_bounds() -> None:
    assert page_size(None, 20, 100) == 20
    assert page_size("1", 20, 100) == 1
    assert page_size("100", 20, 100) == 100


@pytest.mark.parametrize("text", ["", "0", "101", "-1", "1.5", "ten", "\uff19", "1e2", " 5", "9" * 400, "000000000199999", "0000000050999"])
def test_any_other_page_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        page_size(text, 20, 100)
    assert caught.value.param == "limit"


def test_a_cursor_is_the_id_of_the_last_object() -> None:
    value = uuid.uuid4()
    assert cursor("rcp", encode_id("rcp", value)) == value
    assert cursor("rcp", None) is None


@pytest.mark.parametrize("text", ["", "rcp_", "rcp_xyz", "vid_0123456789abcdefghjkmnpqrs", "rcp_" + "z" * 26, "rcp_" + "I" * 26])
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        cursor("rcp", text)


def test_one_row_more_than_wanted_means_another_page() -> None:
    rows = [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    assert page(rows, 2, dict) == {"data": rows[:2], "next_cursor": "b"}
    assert page(rows, 3, dict) == {"data": rows, "next_cursor": None}
    assert page([], 3, dict) == {"data": [], "next_cursor": None}
