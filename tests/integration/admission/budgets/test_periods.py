"""Days and months by the calendar of a zone, rolling windows by their slots, and what is told on the way."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from taximeter.admission.budgets import BudgetKeeper, BudgetStore
from taximeter.db import sql
from taximeter.db.pool import connect_owner
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import encode_id
from taximeter.ledger import Kind, Operation, Status
from tests.support.budget_world import SLOT_S, WINDOW_S, BudgetWorld
from tests.support.waiting import until

pytestmark = pytest.mark.anyio
_SQL = sql.load("taximeter.ledger.replay")


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect_owner(database_url)
    yield connection
    await connection.close()


PERIODS = [
    ("day", "UTC", "2026-11-22T23:59:59.999999+00:00", "2026-11-23T00:00:00+00:00"),
    ("day", "UTC", "2026-11-23T00:00:00+00:00", "2026-11-24T00:00:00+00:00"),
    ("day", "Asia/Shanghai", "2026-11-22T15:59:59+00:00", "2026-11-22T16:00:00+00:00"),
    # A day of 23 hours, one of 25, and one whose midnight there is not.
    ("day", "Europe/Berlin", "2026-03-29T00:30:00+01:00", "2026-03-30T00:00:00+02:00"),
    ("day", "Europe/Berlin", "2026-10-25T02:30:00+01:00", "2026-10-26T00:00:00+01:00"),
    ("day", "Asia/Beirut", "2022-03-26T12:00:00+02:00", "2022-03-27T01:00:00+03:00"),
    ("day", "Asia/Beirut", "2022-03-27T01:00:00+03:00", "2022-03-28T00:00:00+03:00"),
    # A zone that left out a whole day.
    ("day", "Pacific/Apia", "2011-12-29T23:00:00-10:00", "2011-12-31T00:00:00+14:00"),
    ("month", "UTC", "2026-01-31T23:59:59+00:00", "2026-02-01T00:00:00+00:00"),
    ("month", "UTC", "2028-02-29T12:00:00+00:00", "2028-03-01T00:00:00+00:00"),
    ("month", "UTC", "2026-02-28T12:00:00+00:00", "2026-03-01T00:00:00+00:00"),
    ("month", "America/New_York", "2026-03-31T23:30:00-04:00", "2026-04-01T00:00:00-04:00"),
    ("month", "America/New_York", "2026-12-31T23:30:00-05:00", "2027-01-01T00:00:00-05:00"),
]


async def test_a_period_ends_at_midnight_of_the_accounts_zone(owner: asyncpg.Connection) -> None:
    for span, zone, now, end in PERIODS:
        found = await owner.fetchval("select admission.period_end($1, $2, $3)", span, zone, datetime.fromisoformat(now))
        assert found == datetime.fromisoformat(end), (span, zone, now)


async def test_days_follow_each_other_in_every_zone_whatever_its_clocks_do(owner: asyncpg.Connection) -> None:
    """Half an hour at a time around each midnight of years with strange changes: no roll leads into the past, and none skips a day."""
    strange = await owner.fetch(
        """
        select z.zone, m.now, e.until
        from unnest($1::text[]) z (zone)
        cross join (
            select generate_series('2010-12-01'::date, '2012-12-31', '1 day')
            union all
            select generate_series('2022-03-01'::date, '2022-12-31', '1 day')
        ) d (day)
        cross join generate_series(-4, 4) o (half_hours)
        cross join lateral (select d.day::timestamp at time zone z.zone + o.half_hours * interval '30 minutes' as now) m
        cross join lateral (select admission.period_end('day', z.zone, m.now) as until) e
        where e.until <= m.now or e.until > m.now + interval '26 hours' or to_char(e.until at time zone z.zone, 'HH24:MI') not in ('00:00', '01:00')
        """,
        ["UTC", "America/Havana", "Asia/Beirut", "Pacific/Apia", "Africa/Casablanca", "Australia/Lord_Howe", "America/Sao_Paulo"],
    )
    assert strange == []


async def test_a_budgets_day_is_that_of_its_accounts_zone_from_its_next_period_on(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "day")
    await owner.execute("alter table identity.organisations add column if not exists time_zone text not null default 'UTC'")
    ends = "select admission.period_end('day', $1, clock_timestamp())"
    assert await owner.fetchval("select rolls_at from admission.budgets") == await owner.fetchval(ends, "UTC")
    # One of the two is always some hours before or after midnight in Greenwich.
    for zone in ("Asia/Shanghai", "America/New_York"):
        await owner.execute("update identity.organisations set time_zone = $1", zone)
        await owner.execute("update admission.budgets set rolls_at = clock_timestamp()")
        await world.try_holds(0, [(1, [0])])
        assert await owner.fetchval("select rolls_at from admission.budgets") == await owner.fetchval(ends, zone)


async def world_of(owner: asyncpg.Connection, window: str, limit: int = 100, *, hard: bool = True) -> BudgetWorld:
    return await BudgetWorld.begin(owner, [(window, limit, hard)])


async def test_a_hold_over_the_end_of_a_month_counts_in_the_one_in_which_it_settles(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "month")
    await world.try_holds(0, [(60, [0]), (30, [0])])
    await world.settle(0, 100)
    await world.end_month()
    # What is still held is held of the new month.
    await world.try_holds(0, [(71, [0]), (70, [0])])
    assert len(world.open) == 2
    await world.end_month()
    await world.settle(0, 100)
    await world.check()
    assert [(paper.used(world.now_s), paper.left(world.now_s)) for paper in world.budgets] == [(30, 0)]


async def test_without_any_worker_a_period_ends_with_the_first_hold_after_it_and_once(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "month")
    for _ in range(3):
        await world.try_holds(0, [(100, [0]), (1, [0])])
        await world.settle(0, 100)
        await world.end_month()
    await world.try_holds(1, [(100, [0])])
    await world.try_holds(0, [(1, [0])])
    # The first deposit, and one for each month that was used up: not one for each hold.
    assert await owner.fetchval("select count(*) from ledger.transfers where code = 110") == 4


async def test_what_was_spent_comes_back_when_its_slot_leaves_the_window(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "rolling")

    async def told() -> tuple[Any, ...]:
        row = await owner.fetchrow("select n.left_utok, n.comes_back_at from admission.budgets_now($1) n", [world.budgets[0].id])
        assert row is not None
        return row["left_utok"], row["comes_back_at"]

    assert await told() == (100, None)
    await world.try_holds(0, [(40, [0])])
    await world.settle(0, 100)
    await world.wait(2 * 4)
    await world.try_holds(0, [(60, [0]), (1, [0])])
    await world.settle(0, 100)
    left, when = await told()
    # 100 s into its slot it was spent; 25 slots after the beginning of that one it comes back, of which two have passed.
    assert left == 0
    assert abs(when - datetime.now(UTC) - timedelta(seconds=23 * SLOT_S - 100)) < timedelta(seconds=60)
    for quarters, free in ((23 * 4 - 1, 0), (1, 40), (4, 40), (4, 100)):
        await world.wait(quarters)
        assert (await told())[0] == free
        await world.try_holds(0, [(free + 1, [0])])
        assert world.open == {}


async def test_a_long_silence_brings_everything_back(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "rolling")
    await world.try_holds(0, [(100, [0])])
    await world.settle(0, 100)
    await world.shift(400 * WINDOW_S)
    world.now_s += 400 * WINDOW_S
    await world.try_holds(0, [(100, [0]), (1, [0])])
    await world.check()


async def test_a_limit_below_what_is_used_takes_what_is_free_and_the_rest_as_it_becomes_free(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "month")
    await world.try_holds(0, [(50, [0]), (30, [0])])
    await world.change_limit(0, 40)
    await world.try_holds(0, [(1, [0])])
    await world.release(1, Kind.VOID)
    # 20 of the 30 that were given back are gone with the limit; 50 is still above it.
    await world.try_holds(0, [(1, [0])])
    await world.settle(0, 60)
    await world.try_holds(0, [(11, [0]), (10, [0])])
    await world.check()
    await world.change_limit(0, 200)
    await world.try_holds(0, [(160, [0]), (1, [0])])
    await world.check()
    assert len(world.open) == 2


async def events(owner: asyncpg.Connection) -> list[tuple[int, str, str]]:
    rows = await owner.fetch("select data from admission.events where type = 'budget.threshold' order by created_at")
    return [(data["threshold"], data["used"], data["limit"]) for data in (json.loads(row["data"]) for row in rows)]


async def test_each_threshold_is_told_once_a_period_by_the_worker(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "month", 100_000_000)

    async def spend(tokens: int) -> None:
        await world.try_holds(0, [(tokens * 1_000_000, [0])])
        await world.settle(0, 100)
        assert await events(owner) == told
        await world.keep()
        await world.keep()

    told: list[tuple[int, str, str]] = []
    await spend(49)
    await spend(1)
    told.append((50, "50", "100"))
    await spend(49)
    told.append((80, "99", "100"))
    await spend(1)
    told.append((100, "100", "100"))
    await world.end_month()
    # The same month again, as far as the real clock goes; another one for whoever is told.
    await world.try_holds(0, [(1, [0])])
    await world.release(0, Kind.VOID)
    await owner.execute("update admission.budgets set rolls_at = rolls_at + interval '1 second'")
    await spend(100)
    told += [(50, "100", "100"), (80, "100", "100"), (100, "100", "100")]
    assert await events(owner) == told


async def test_what_is_reached_in_the_last_moment_of_a_period_is_told_of_that_period(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "month", 100, hard=False)
    await world.try_holds(0, [(120, [0])])
    await world.settle(0, 100)
    await world.end_month()
    # The first hold of the next month is faster than any worker.
    await world.try_holds(0, [(1, [0])])
    await world.keep()
    assert [threshold for threshold, _, _ in await events(owner)] == [50, 80, 100]
    row = await owner.fetchrow("select data, project_id, dedup from admission.events order by created_at desc limit 1")
    assert row is not None
    data = json.loads(row["data"])
    assert (data["scope"], data["used"], data["limit"], data["window"], data["hard"]) == ("organisation", "0.00012", "0.0001", "month", False)
    assert (data["budget"], data["organisation_id"]) == (encode_id("bud", world.budgets[0].id), encode_id("org", world.organisation))
    assert abs(datetime.fromisoformat(data["window_end"]) - datetime.now(UTC)) < timedelta(seconds=30)


async def test_a_threshold_of_a_rolling_window_is_told_again_when_it_is_reached_again(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "rolling")
    for _ in range(2):
        await world.try_holds(0, [(60, [0])])
        await world.settle(0, 100)
        await world.keep()
        await world.keep()
        await world.wait(26 * 4 + 1)
    assert [threshold for threshold, _, _ in await events(owner)] == [50, 50]


async def test_a_settlement_that_needs_no_roll_leaves_budgets_alone(owner: asyncpg.Connection) -> None:
    """Batches without budgets, and those whose budgets are in their period, write no budget's row."""
    world = await world_of(owner, "month")
    await world.try_holds(0, [(10, [0])])
    before = await owner.fetchval("select xmin from admission.budgets")
    await world.try_holds(0, [(10, [0]), (5, [])])
    await world.settle(0, 50)
    (request,) = [request for request in world.open if not world.budgets[0].held.get(request)]
    (outcome,) = await world.post(0, [Operation(id=request, kind=Kind.SETTLE, lane=0, amount_utok=5, fact="{}")])
    assert outcome.status is Status.APPLIED
    assert await owner.fetchval("select xmin from admission.budgets") == before


async def test_the_replay_names_a_budget_that_is_not_its_account(owner: asyncpg.Connection) -> None:
    world = await world_of(owner, "month")
    await world.try_holds(0, [(10, [0])])
    await world.settle(0, 100)
    changes = {
        "credits of a budget": "update admission.budgets set limit_utok = limit_utok + 1",
        "budget whose account is not as hard as it": "update admission.budgets set hard = false",
        "budget without an account": "update admission.budgets set account = 1500",
        "other side of all budgets": "update ledger.accounts set debits_posted = debits_posted + 1 where id = 1500",
    }
    for kind, change in changes.items():
        room = owner.transaction()
        await room.start()
        await owner.execute(change)
        assert kind in {row["kind"] for row in await owner.fetch(_SQL["budgets_and_accounts"])}
        await room.rollback()
    assert await owner.fetch(_SQL["budgets_and_accounts"]) == []


async def test_a_worker_begins_the_period_of_a_budget_that_nobody_uses_and_tells_of_another(owner: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    world = await BudgetWorld.begin(owner, [("month", 100, True), ("rolling", 100, False)])
    await world.try_holds(0, [(60, [0, 1])])
    await world.settle(0, 100)
    await world.end_month()
    keeper = asyncio.create_task(BudgetKeeper(BudgetStore(pool), SystemClock()).run())

    async def kept() -> bool:
        month = await owner.fetchval("select rolls_at > clock_timestamp() and base_utok = 60 from admission.budgets where span = 'month'")
        return bool(month) and len(await events(owner)) == 2

    await until(kept)
    keeper.cancel()
    await asyncio.gather(keeper, return_exceptions=True)
    credits_posted = await owner.fetchval("select credits_posted from ledger.accounts where id = $1", world.budgets[0].account)
    assert credits_posted == 160
