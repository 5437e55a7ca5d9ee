"""Pure rules of metering."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest

from taximeter.metering.rules import whole_days

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("start", "end", "whole"),
    [
        (DAY, DAY + timedelta(days=2), (date(2026, 3, 1), date(2026, 3, 3))),
        (DAY + timedelta(seconds=1), DAY + timedelta(days=2, hours=5), (date(2026, 3, 2), date(2026, 3, 3))),
        (DAY + timedelta(hours=1), DAY + timedelta(hours=5), (date(2026, 3, 2), date(2026, 3, 2))),
        (DAY - timedelta(hours=1), DAY + timedelta(hours=5), (date(2026, 3, 1), date(2026, 3, 1))),
        (DAY.astimezone(timezone(timedelta(hours=8))), DAY + timedelta(days=1), (date(2026, 3, 1), date(2026, 3, 2))),
    ],
)
def test_whole_days_of_a_span_are_those_in_utc(start: datetime, end: datetime, whole: tuple[date, date]) -> None:
    assert whole_days(start, end) == whole
