"""Rate limits of keys: decided in the transaction of the hold, exact under any concurrency."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from uuid import uuid4

import pytest

from taximeter.admission import AboveRateLimit, ConcurrencyLimited, RateLimited
from taximeter.admission.limits import LimitOrder, LimitsOffice, LimitStore
from taximeter.db.pool import connect_owner
from taximeter.engines import Chunk, Done
from taximeter.identity import Caller
from taximeter.identity.terms import Limit, Terms
from taximeter.ledger import InsufficientBalance, Kind, Operation
from taximeter.metering import Receipt
from taximeter.metering.desk import price_order
from taximeter.metering.errors import IdempotencyInProgress
from taximeter.metering.ride import Ride
from taximeter.pricing import Plan
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})


@pytest.fixture
async def town(database_url: str, open_folder: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, open_folder) as opened:
        opened.engines["chat"].script = (TEXT, REPORT)
        yield opened


def limited(caller: Caller, *, requests: int | None = None, tokens_utok: int | None = None) -> Caller:
    return replace(caller, requests_per_minute=requests, tokens_per_minute_utok=tokens_utok)


def maximum(town: Town, caller: Caller) -> int:
    return price_order(town.office.desk, town.order(caller)).maximum_utok


async def finish(town: Town, caller: Caller) -> Receipt:
    return await end(await town.metering.open(town.order(caller)))


async def end(ride: Ride) -> Receipt:
    receipt = [event async for event in ride.events()][-1]
    assert isinstance(receipt, Receipt)
    return receipt


async def test_of_many_at_once_as_many_run_as_the_key_may_have_in_a_minute(town: Town) -> None:
    caller = limited(await town.caller(), requests=7)
    outcomes = await asyncio.gather(*(town.metering.open(town.order(caller)) for _ in range(50)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, RateLimited)]
    assert (len(outcomes) - len(refused), await town.open_holds()) == (7, 7)
    assert 1 <= int(refused[0].headers["retry-after"]) <= ceil(60 / 7)
    await town.assert_books_agree()


async def test_two_gateways_share_one_limit(database_url: str, open_folder: Path, town: Town) -> None:
    caller = limited(await town.caller(), requests=9)
    async with open_town(database_url, open_folder / "second") as other:
        orders = [here.metering.open(here.order(caller)) for here in (town, other) for _ in range(20)]
        outcomes = await asyncio.gather(*orders, return_exceptions=True)
        assert sum(not isinstance(outcome, BaseException) for outcome in outcomes) == 9


async def test_a_request_reserves_its_maximum_and_gives_back_what_it_did_not_use(town: Town) -> None:
    free = await town.caller()
    top = maximum(town, free)
    caller = limited(free, tokens_utok=2 * top)
    first = await town.metering.open(town.order(caller))
    second = await town.metering.open(town.order(caller))
    with pytest.raises(RateLimited):
        await town.metering.open(town.order(caller))
    for ride in (first, second):
        assert (await end(ride)).charged_utok < top
    # Both were charged less than they had reserved: there is room for one more.
    assert (await finish(town, caller)).charged_utok > 0
    await town.assert_books_agree()


async def test_a_request_that_never_fits_is_refused_for_good(town: Town) -> None:
    free = await town.caller()
    caller = limited(free, tokens_utok=maximum(town, free) - 1)
    with pytest.raises(AboveRateLimit):
        await town.metering.open(town.order(caller))
    assert await town.open_holds() == 0


async def test_a_hold_that_the_wallet_refuses_gives_its_tokens_back(town: Town) -> None:
    poor = await town.caller("0")
    top = maximum(town, poor)
    caller = limited(poor, tokens_utok=top)
    for _ in range(3):
        with pytest.raises(InsufficientBalance):
            await town.metering.open(town.order(caller))
    await town.office.tenancy.top_up(caller.project_id, 10**9, "")
    assert (await finish(town, caller)).charged_utok > 0


async def test_a_limit_does_not_touch_another_key(town: Town) -> None:
    caller = limited(await town.caller(), requests=1)
    other = replace(caller, key_id=town.office.desk.ids.new())
    for key in (caller, other):
        await finish(town, key)
        with pytest.raises(RateLimited):
            await town.metering.open(town.order(key))


async def test_a_key_that_was_repeated_takes_one_request_of_the_limit(town: Town) -> None:
    caller = limited(await town.caller(), requests=2)
    named = replace(town.order(caller), idempotency_key="k", fingerprint=b"f" * 32)
    await end(await town.metering.open(named))
    with pytest.raises(IdempotencyInProgress):
        await town.metering.open(named)
    await finish(town, caller)
    with pytest.raises(RateLimited):
        await town.metering.open(town.order(caller))
    await town.assert_books_agree()


def at_once(most: int, tokens_utok: int | None = None) -> Terms:
    """So many requests at the same time, and so many Tokens in a day."""
    slots = Limit(bucket=str(uuid4()), scope="project", kind="concurrency", most=most, window_s=0)
    tokens = () if tokens_utok is None else (Limit(bucket=str(uuid4()), scope="project", kind="tokens", most=tokens_utok, window_s=86_400),)
    return Terms(limits=(slots, *tokens))


async def test_an_expired_hold_gives_its_slot_and_its_tokens_back(town: Town) -> None:
    free = await town.caller()
    caller = replace(free, terms=at_once(1, maximum(town, free)))
    ride = await town.metering.open(town.order(caller))
    with pytest.raises(RateLimited):
        await town.metering.open(town.order(caller))
    await town.office.desk.books.submit(Operation(id=ride.id, kind=Kind.EXPIRE, lane=caller.lane))
    assert (await finish(town, caller)).charged_utok > 0
    await town.assert_books_agree()


@pytest.mark.parametrize(("times", "divided"), [(8, 1), (1, 2)])
async def test_a_limit_of_another_height_gets_back_what_is_held_of_it_now(town: Town, database_url: str, times: int, divided: int) -> None:
    free = await town.caller()
    top = maximum(town, free)
    office = LimitsOffice(LimitStore(town.office.pool), town.office.desk.ids)
    order = LimitOrder(owner=free.project_id, scope="project", model=None, kind="tokens", most=2 * top, window_s=60, shadow=False, operator="test")
    limit = await office.set(order)
    caller = replace(free, terms=Terms(limits=(Limit(bucket=str(limit.id), scope="project", kind="tokens", most=2 * top, window_s=60),)))
    owner = await connect_owner(database_url)
    began_ns = await owner.fetchval("select (extract(epoch from clock_timestamp()) * 1000000000)::bigint")
    ride = await town.metering.open(town.order(caller))
    after = 2 * top * times // divided
    await office.set(replace(order, most=after))
    charged_utok = (await end(ride)).charged_utok
    # In the window stands what was charged, less what time has given back since the hold.
    level_ns, now_ns = await owner.fetchrow(
        "select tokens_at, (extract(epoch from clock_timestamp()) * 1000000000)::bigint from admission.buckets where id = $1", limit.id
    )
    charged_ns = charged_utok * 60_000_000_000 // after
    passed_ns = now_ns - began_ns
    assert 0 < charged_utok < top
    assert charged_ns - max(2, times) * passed_ns - times <= level_ns - now_ns <= charged_ns + 2
    await owner.close()


async def test_a_settlement_of_an_earlier_release_frees_what_its_hold_took_and_its_own_words_are_ignored(town: Town) -> None:
    free = await town.caller()
    caller = replace(free, terms=at_once(1))
    ride = await town.metering.open(town.order(caller))
    with pytest.raises(ConcurrencyLimited):
        await town.metering.open(town.order(caller))
    fact = json.dumps({"limits": {"key_id": str(caller.key_id), "tokens_per_minute_utok": 5, "amount_utok": 3}})
    settled = await town.office.desk.books.submit(Operation(id=ride.id, kind=Kind.SETTLE, lane=caller.lane, amount_utok=1, fact=fact))
    assert settled.applied
    await finish(town, caller)


async def test_slots_outlive_a_crash_of_the_database_and_windows_begin_anew(town: Town, database_url: str) -> None:
    free = await town.caller()
    caller = replace(free, terms=at_once(1), requests_per_minute=1)
    ride = await town.metering.open(town.order(caller))
    owner = await connect_owner(database_url)
    # What recovery does with tables that are not logged.
    await owner.execute("truncate admission.buckets, admission.taken")
    await owner.close()
    with pytest.raises(ConcurrencyLimited):
        await town.metering.open(town.order(caller))
    await end(ride)
    await finish(town, caller)
    with pytest.raises(RateLimited):
        await town.metering.open(town.order(caller))


async def test_the_limits_of_a_plan_are_kept(town: Town) -> None:
    caller = await town.caller()
    plan = Plan("tiny", 1, datetime(2026, 1, 1, tzinfo=UTC), 0, "none", requests_per_minute=1)
    desk = town.office.desk
    desk.catalog = replace(desk.catalog, plans={**desk.catalog.plans, "tiny": plan})
    subscribed = replace(caller, terms=Terms(subscription="tiny"))
    await finish(town, subscribed)
    with pytest.raises(RateLimited, match="the project's plan is limited to 1 requests a minute"):
        await town.metering.open(town.order(subscribed))
    # Another key of the project meets the same bucket.
    with pytest.raises(RateLimited):
        await town.metering.open(town.order(replace(subscribed, key_id=desk.ids.new())))
