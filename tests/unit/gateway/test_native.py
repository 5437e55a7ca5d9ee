"""What the usage route understands."""

from datetime import UTC, datetime, timedelta

import pytest
from starlette.requests import Request

from taximeter.gateway import native
from taximeter.kernel.errors import InvalidRequest

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def request(query: str) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/v1/usage", "headers": [], "query_string": query.encode()})


@pytest.mark.parametrize(("text", "expected"), [(None, ["day"]), ("model", ["model"]), ("day,model, key", ["day", "model", "key"])])
def test_groups_are_a_list_with_commas(text: str | None, expected: list[str]) -> None:
    assert native._groups(text) == expected


@pytest.mark.parametrize("text", ["", "week", "day,", "day,day", "day;model", "DAY"])
def test_other_groups_are_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        native._groups(text)
    assert caught.value.param == "group_by"


def test_without_dates_it_is_the_last_thirty_days() -> None:
    midnight = NOW.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    assert native._span(request(""), NOW) == (midnight - timedelta(days=30), midnight)


def test_a_last_day_is_included() -> None:
    assert native._span(request("from=2026-03-01&to=2026-03-02"), NOW) == (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC))


def test_a_span_that_ends_when_time_begins_is_short() -> None:
    start, end = native._span(request("to=0001-01-01"), NOW)
    assert (start, end) == (datetime(1, 1, 1, tzinfo=UTC), datetime(1, 1, 2, tzinfo=UTC))


@pytest.mark.parametrize("text", ["2026-03-01T02:00:00Z", "2026-03-01T04:00:00%2B02:00", "2026-03-01T04:00:00+02:00", "2026-03-01T02:00:00"])
def test_a_time_is_read_in_any_zone(text: str) -> None:
    assert native._span(request(f"from={text}"), NOW)[0] == datetime(2026, 3, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "to=2026-13-01",
        "from=2026-02-30",
        "from=",
        "from=9999-12-31T23:59:59-12:00",
        "to=9999-12-31",
        "from=2026-03-11",
        "from=2020-01-01",
    ],
)
def test_impossible_spans_are_refused(query: str) -> None:
    with pytest.raises(InvalidRequest):
        native._span(request(query), NOW)
