"""When months begin, in every time zone: computed by PostgreSQL, compared with a calendar."""

import calendar
from datetime import UTC, date, datetime, timedelta

import asyncpg
import pytest

pytestmark = pytest.mark.anyio

# Boundaries of forty months from an anchor, in every zone: the first moment of the right day, whatever clocks do.
CHECK = """
with zones as (select name from pg_timezone_names where name ~ '^[A-Z][a-z]+/' and name !~ '^(Etc|SystemV)/'),
boundaries as (
    select z.name, e.anchor, i, e.days[i + 1] as day, admission.month_begins(e.anchor, i, z.name) as at
    from zones z cross join (select $1::date as anchor, $2::date[] as days) e cross join generate_series(0, cardinality($2::date[]) - 1) i
)
select count(*) as checked, count(distinct name) as zones,
       count(*) filter (where (at at time zone name)::date <> day) as other_day,
       count(*) filter (where ((at - interval '1 microsecond') at time zone name)::date >= day) as not_the_first_moment,
       count(*) filter (where i % 12 = 1 and admission.month_of(anchor, at, name) <> i) as of_another_month,
       count(*) filter (where i % 12 = 1 and admission.month_of(anchor, at - interval '1 microsecond', name) <> i - 1) as before_it
from boundaries
"""


def months_from(anchor: date, count: int) -> list[date]:
    """The same day of the following months, or their last."""
    days = []
    for index in range(count):
        year, month = divmod(anchor.year * 12 + anchor.month - 1 + index, 12)
        days.append(date(year, month + 1, min(anchor.day, calendar.monthrange(year, month + 1)[1])))
    return days


async def begins(pool: asyncpg.Pool, anchor: date, index: int, zone: str) -> datetime:
    at: datetime = await pool.fetchval("select admission.month_begins($1, $2, $3)", anchor, index, zone)
    return at


@pytest.mark.parametrize("anchor", [date(2024, 1, 31), date(2024, 2, 29), date(2023, 3, 26)])
async def test_months_begin_with_the_first_moment_of_their_day_in_every_zone(pool: asyncpg.Pool, anchor: date) -> None:
    row = await pool.fetchrow(CHECK, anchor, months_from(anchor, 40))
    assert row is not None
    assert row["zones"] > 300
    assert dict(row) | {"checked": 0, "zones": 0} == dict.fromkeys(row.keys(), 0)


async def test_the_31st_is_the_last_day_of_short_months_and_comes_back(pool: asyncpg.Pool) -> None:
    days = [(await begins(pool, date(2027, 10, 31), index, "UTC")).date() for index in range(7)]
    assert days == [date(2027, month, day) for month, day in ((10, 31), (11, 30), (12, 31))] + [
        date(2028, month, day) for month, day in ((1, 31), (2, 29), (3, 31), (4, 30))
    ]
    leap = date(2028, 2, 29)
    assert [(await begins(pool, leap, index, "UTC")).date() for index in (12, 24, 36, 48)] == [
        date(2029, 2, 28), date(2030, 2, 28), date(2031, 2, 28), date(2032, 2, 29),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "day", "at"),
    [
        # Clocks go forward later in the day, and back.
        ("Europe/Berlin", date(2027, 3, 28), datetime(2027, 3, 27, 23, tzinfo=UTC)),
        ("Europe/Berlin", date(2027, 3, 29), datetime(2027, 3, 28, 22, tzinfo=UTC)),
        ("America/New_York", date(2027, 11, 8), datetime(2027, 11, 8, 5, tzinfo=UTC)),
        # There is no midnight: clocks go from 24 to 1 o'clock.
        ("Africa/Cairo", date(2024, 4, 26), datetime(2024, 4, 25, 22, tzinfo=UTC)),
        ("America/Santiago", date(2024, 9, 8), datetime(2024, 9, 8, 4, tzinfo=UTC)),
        # There are two: clocks go from 1 o'clock back to midnight.
        ("America/Havana", date(2024, 11, 3), datetime(2024, 11, 3, 4, tzinfo=UTC)),
        ("Asia/Kathmandu", date(2027, 1, 1), datetime(2026, 12, 31, 18, 15, tzinfo=UTC)),
    ],
)
async def test_a_day_begins_with_its_first_moment(pool: asyncpg.Pool, zone: str, day: date, at: datetime) -> None:
    assert await begins(pool, day, 0, zone) == at
    local = await pool.fetchval("select (($1::timestamptz - interval '1 microsecond') at time zone $2)::date", at, zone)
    assert local == day - timedelta(days=1)
