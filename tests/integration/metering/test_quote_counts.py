"""How many quotes a project may ask for and have: exact, whoever asks through however many gateways."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from taximeter.db.pool import open_pool
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.errors import Refusal
from taximeter.kernel.ids import IdFactory
from taximeter.metering.errors import QuoteLimitExceeded, TooManyQuotes
from taximeter.metering.quotes import QuoteLimits, QuoteStore
from taximeter.metering.quotes.store import Row

pytestmark = pytest.mark.anyio

IDS = IdFactory(SystemClock())
PROJECT, OTHER = IDS.new(), IDS.new()


def rows(number: int, project: object = PROJECT, seconds: float = 300.0) -> list[Row]:
    ends = datetime.now(UTC) + timedelta(seconds=seconds)
    return [Row(IDS.new(), project, bytes(32), 5, "{}", "{}", ends) for _ in range(number)]  # type: ignore[arg-type]


async def kept(pool: asyncpg.Pool, project: object = PROJECT) -> int:
    count: int = await pool.fetchval("select count(*) from metering.quotes where project_id = $1", project)
    return count


async def outcomes(stores: Sequence[QuoteStore], calls: Sequence[Sequence[Row]]) -> Counter[str]:
    answers = await asyncio.gather(*(stores[number % len(stores)].keep(call) for number, call in enumerate(calls)), return_exceptions=True)
    return Counter(answer.code if isinstance(answer, Refusal) else "kept" for answer in answers)


@pytest.fixture
async def gateways(pool: asyncpg.Pool, database_url: str) -> AsyncIterator[list[asyncpg.Pool]]:
    """Four processes' connections."""
    more = [await open_pool(database_url, 2) for _ in range(3)]
    yield [pool, *more]
    for each in more:
        each.terminate()


async def test_a_projects_minute_of_quotes_is_exact_for_parallel_calls_of_several_gateways(gateways: list[asyncpg.Pool]) -> None:
    # So few come back in the time of this test that none does.
    stores = [QuoteStore(pool, QuoteLimits(per_minute=60)) for pool in gateways]
    calls = [rows(1) for _ in range(500)] + [rows(1, OTHER) for _ in range(500)]
    told = await outcomes(stores, calls)
    for project in (PROJECT, OTHER):
        assert 60 <= await kept(gateways[0], project) <= 62, "one a second comes back"
    assert told["kept"] == await kept(gateways[0]) + await kept(gateways[0], OTHER)
    assert set(told) == {"kept", "quote_limit_exceeded"}


async def test_open_quotes_are_exact_for_parallel_calls_of_several_gateways(gateways: list[asyncpg.Pool]) -> None:
    stores = [QuoteStore(pool, QuoteLimits(open_max=100)) for pool in gateways]
    told = await outcomes(stores, [rows(3) for _ in range(334)])
    assert await kept(gateways[0]) == 99
    assert told == {"kept": 33, "quote_limit_exceeded": 301}
    await stores[0].keep(rows(1))
    with pytest.raises(QuoteLimitExceeded, match="100 open quotes") as refused:
        await stores[1].keep(rows(1))
    assert 290 <= int(refused.value.headers["retry-after"]) <= 300


async def test_a_call_is_kept_whole_or_not_at_all_and_its_neighbours_do_not_suffer(pool: asyncpg.Pool) -> None:
    store = QuoteStore(pool, QuoteLimits(per_minute=10))
    told = await outcomes([store], [rows(6), rows(6), rows(4), rows(1, OTHER)])
    assert told == {"kept": 3, "quote_limit_exceeded": 1}
    assert (await kept(pool), await kept(pool, OTHER)) == (10, 1)
    with pytest.raises(QuoteLimitExceeded, match="10 quotes a minute") as refused:
        await store.keep(rows(2))
    assert 10 <= int(refused.value.headers["retry-after"]) <= 12


@pytest.mark.parametrize("limits", [QuoteLimits(per_minute=10), QuoteLimits(open_max=10)])
async def test_what_never_fits_is_no_matter_of_time(pool: asyncpg.Pool, limits: QuoteLimits) -> None:
    store = QuoteStore(pool, limits)
    with pytest.raises(TooManyQuotes, match="at most 10"):
        await store.keep(rows(11))
    await store.keep(rows(10))
    assert await kept(pool) == 10


async def test_expired_quotes_make_room(pool: asyncpg.Pool) -> None:
    store = QuoteStore(pool, QuoteLimits(open_max=5))
    await store.keep(rows(5, seconds=1.2))
    with pytest.raises(QuoteLimitExceeded):
        await store.keep(rows(1))
    async with asyncio.timeout(10):
        while True:
            try:
                await store.keep(rows(5))
                break
            except QuoteLimitExceeded:
                await asyncio.sleep(0.1)
    assert await kept(pool) == 10


async def test_open_quotes_are_counted_again_when_their_count_is_lost(pool: asyncpg.Pool, database_url: str) -> None:
    store = QuoteStore(pool, QuoteLimits(open_max=5))
    await store.keep(rows(4))
    owner = await asyncpg.connect(database_url)
    await owner.execute("truncate metering.quote_counts")
    await owner.close()
    with pytest.raises(QuoteLimitExceeded):
        await store.keep(rows(2))
    await store.keep(rows(1))


async def test_without_limits_nothing_is_counted(pool: asyncpg.Pool) -> None:
    await QuoteStore(pool).keep(rows(700))
    assert (await kept(pool), await pool.fetchval("select count(*) from metering.quote_counts")) == (700, 0)


async def test_a_quote_that_the_database_does_not_take_fails_alone(pool: asyncpg.Pool) -> None:
    store = QuoteStore(pool, QuoteLimits(per_minute=10))
    twice = rows(1)
    answers = await asyncio.gather(store.keep(rows(2)), store.keep([*twice, *twice]), store.keep(rows(9)), return_exceptions=True)
    assert [type(answer).__name__ for answer in answers] == ["NoneType", "UniqueViolationError", "QuoteLimitExceeded"]
    assert await kept(pool) == 2
