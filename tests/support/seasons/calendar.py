"""Days and months where somebody lives, by Python's own calendar."""

import calendar
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo


def day_begins(day: date, zone: str) -> datetime:
    """The first moment of a day: of two midnights the first, and where there is none, when clocks were put forward."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def today(now: datetime, zone: str) -> date:
    return now.astimezone(ZoneInfo(zone)).date()


def month_begins(anchor: date, months: int, zone: str) -> datetime:
    """Month number so many of an anchor, which a short month shifts for itself alone."""
    years, month = divmod(anchor.month - 1 + months, 12)
    year, month = anchor.year + years, month + 1
    return day_begins(date(year, month, min(anchor.day, calendar.monthrange(year, month)[1])), zone)


def month_of(anchor: date, now: datetime, zone: str) -> int:
    """The number of the month that a moment lies in."""
    number = 0
    while month_begins(anchor, number + 1, zone) <= now:
        number += 1
    return number


def span_begins(span: str, now: datetime, zone: str) -> datetime:
    """The first moment of this day, or of this month."""
    day = today(now, zone)
    return day_begins(day.replace(day=1) if span == "month" else day, zone)
