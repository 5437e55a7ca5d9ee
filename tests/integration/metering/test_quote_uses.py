"""A quote's one use where it is decided: in the transaction of the hold, whatever stands in one batch, whoever dies."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from taximeter.db.pool import connect_owner
from taximeter.identity import Caller, Identity
from taximeter.kernel.clock import SystemClock
from taximeter.kernel.ids import encode_id
from taximeter.kernel.settings import Settings
from taximeter.ledger import Kind, Operation, Status
from taximeter.metering import Order, Sweeper, open_office
from taximeter.metering.desk import price_order, use_quote, wallet_of
from taximeter.metering.errors import QuoteUsed
from taximeter.metering.fares import METERS
from taximeter.metering.quotes import QuoteStore
from taximeter.metering.quotes.store import Row
from taximeter.metering.rules import NOTHING, encode_fact, receipt_fact, request_fact
from taximeter.metering.store import post
from taximeter.pricing import apply_dir
from tests.integration.gateway.conftest import CATALOG, per_character
from tests.support.gateways import gateway_processes
from tests.support.raw_upstream import USAGE, RawUpstream, answer
from tests.support.tenants import Town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

CHAT: dict[str, Any] = {"model": "teller", "messages": [{"role": "user", "content": "tell me more"}], "max_tokens": 9}


async def quoted(town: Town, caller: Caller, number: int = 1) -> list[Order]:
    """Orders, each with a quote of its own on record."""
    ids = [town.office.desk.ids.new() for _ in range(number)]
    until_then = datetime.now(UTC) + timedelta(minutes=5)
    rows = [Row(name, caller.project_id, bytes(32), 100_000_000, "{}", "{}", until_then) for name in ids]
    await QuoteStore(town.office.pool).keep(rows)
    return [replace(town.order(caller), quote_id=encode_id("quo", name)) for name in ids]


def hold(town: Town, order: Order, amount_utok: int = 1_000_000) -> Operation:
    desk = town.office.desk
    fact: dict[str, Any] = {"request": request_fact(order.caller, price_order(desk, order), desk.process_id, None)}
    use_quote(order, fact)
    wallet = wallet_of(order.caller)
    legs = wallet.legs()
    return Operation(id=desk.ids.new(), kind=Kind.HOLD, lane=wallet.lane, amount_utok=amount_utok, legs=legs, ttl_s=60, fact=encode_fact(fact))


def end(held: Operation, kind: Kind, order: Order | None = None, amount_utok: int = 0) -> Operation:
    fact: dict[str, Any] = {"receipt": receipt_fact(NOTHING, "completed" if kind is Kind.SETTLE else "failed", None, {}, 0)}
    if order is not None:
        use_quote(order, fact)
    return Operation(id=held.id, kind=kind, lane=held.lane, amount_utok=amount_utok, fact=encode_fact(fact))


async def post_batch(town: Town, *operations: Operation) -> list[Status]:
    async with town.office.pool.acquire() as connection:
        return [outcome.status for outcome in await post(connection, operations[0].lane, operations)]


async def test_two_with_one_quote_in_one_batch_are_one_hold(town: Town) -> None:
    caller = await town.caller("100")
    once, other = await quoted(town, caller, 2)
    plain, first, second, third = hold(town, town.order(caller)), hold(town, once), hold(town, once), hold(town, other)
    batch = (plain, first, second, third)
    assert await post_batch(town, *batch) == [Status.APPLIED, Status.APPLIED, Status.QUOTE_USED, Status.APPLIED]
    # The answer was lost and the same batch is sent again.
    assert await post_batch(town, *batch) == [Status.REPLAYED, Status.REPLAYED, Status.QUOTE_USED, Status.REPLAYED]
    assert (await town.wallet(caller))["held"] == "3"
    await town.assert_books_agree()


async def test_a_refused_hold_leaves_the_quote_to_the_next_in_its_batch(town: Town) -> None:
    caller = await town.caller("10")
    [order] = await quoted(town, caller)
    batch = [hold(town, order, tokens * 1_000_000) for tokens in (30, 20, 10, 5)]
    assert await post_batch(town, *batch) == [Status.REFUSED, Status.REFUSED, Status.APPLIED, Status.QUOTE_USED]
    assert await post_batch(town, *batch) == [Status.QUOTE_USED, Status.QUOTE_USED, Status.REPLAYED, Status.QUOTE_USED]


async def test_a_quote_that_is_not_on_record_holds_nothing(town: Town) -> None:
    caller = await town.caller("10")
    order = replace(town.order(caller), quote_id=encode_id("quo", town.office.desk.ids.new()))
    assert await post_batch(town, hold(town, order), hold(town, town.order(caller))) == [Status.QUOTE_USED, Status.APPLIED]
    assert (await town.wallet(caller))["held"] == "1"


@pytest.mark.parametrize("together", [False, True])
async def test_a_settlement_that_comes_late_is_charged_unless_the_quote_went_to_another(town: Town, together: object) -> None:
    caller = await town.caller("100")
    [order] = await quoted(town, caller)
    late, repeat = hold(town, order), hold(town, order)
    await post_batch(town, late)
    await post_batch(town, end(late, Kind.EXPIRE))
    settlement = end(late, Kind.SETTLE, order, 1_000_000)
    if together:
        # In one batch the settlement is first: the quote is not free any more.
        assert await post_batch(town, repeat, settlement) == [Status.QUOTE_USED, Status.SETTLED_LATE]
    else:
        assert await post_batch(town, repeat) == [Status.APPLIED]
        assert await post_batch(town, settlement) == [Status.ALREADY_RESOLVED]
        assert await post_batch(town, end(repeat, Kind.SETTLE, order, 1_000_000)) == [Status.APPLIED]
    assert (await town.wallet(caller))["balance"] == "99"
    await town.assert_books_agree()


async def test_connections_that_post_at_once_agree_on_one_use(town: Town) -> None:
    caller = await town.caller("100")
    [order] = await quoted(town, caller)
    batches = [[hold(town, order) for _ in range(5)] for _ in range(4)]

    async def send(operations: Sequence[Operation]) -> list[Status]:
        return await post_batch(town, *operations)

    statuses = [status for batch in await asyncio.gather(*map(send, batches)) for status in batch]
    assert sorted(statuses) == [Status.APPLIED, *[Status.QUOTE_USED] * 19]
    assert (await town.wallet(caller))["held"] == "1"


@pytest.mark.parametrize("seed", range(2))
async def test_whatever_happens_in_whatever_batches_a_quote_is_charged_once(town: Town, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a test that can be repeated
    caller = await town.caller("50")
    orders = await quoted(town, caller, 12)
    of: dict[Operation, Order] = {}
    charged: dict[str | None, set[Operation]] = {order.quote_id: set() for order in orders}
    for _ in range(50):
        ended = dice.sample(sorted(of, key=lambda held: held.id), min(len(of), dice.randrange(4)))
        kinds = [dice.choice([Kind.VOID, Kind.EXPIRE, Kind.EXPIRE, Kind.SETTLE]) for _ in ended]
        ends = [end(held, kind, of[held], 1_000_000 if kind is Kind.SETTLE else 0) for held, kind in zip(ended, kinds, strict=True)]
        # Some holds are more than the wallet has.
        asked = dice.choices(orders, k=dice.randrange(1, 6))
        holds = [hold(town, order, dice.choice([1_000_000, 1_000_000, 90_000_000])) for order in asked]
        batch = dice.sample(holds + ends, len(holds) + len(ends))
        statuses = dict(zip(batch, await post_batch(town, *batch), strict=True))
        of |= {held: order for held, order in zip(holds, asked, strict=True) if statuses[held] is Status.APPLIED}
        for held, ending in zip(ended, ends, strict=True):
            if ending.kind is Kind.SETTLE and statuses[ending] in (Status.APPLIED, Status.SETTLED_LATE):
                charged[of[held].quote_id].add(held)
        assert await town.open_holds() == await town.office.pool.fetchval(
            "select count(*) from metering.quote_uses u where exists (select from ledger.holds h where h.id = u.request_id)"
        )
    assert max(map(len, charged.values())) == 1
    assert (await town.wallet(caller))["balance"] == str(50 - sum(map(len, charged.values())) - await town.open_holds())
    await town.assert_books_agree()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(("point", "charged"), [("metering.held", False), ("metering.ride.settled", True)])
async def test_a_gateway_that_is_killed_neither_loses_a_quote_nor_lets_it_be_used_twice(
    database_url: str, tmp_path: Path, http: aiohttp.ClientSession, point: str, *, charged: bool
) -> None:
    """The quote is made by one gateway process, used with another one that is killed half-way, and tried again with the first."""
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "test.yaml").write_text(CATALOG.replace("PER_CHARACTER", per_character()), encoding="utf-8")
    owner = await connect_owner(database_url)
    await apply_dir(owner, tmp_path / "catalog", METERS)
    await owner.close()
    settings = Settings(home=tmp_path, database_url=database_url, process_dead_s=1.0)
    async with RawUpstream() as upstream, open_office(settings, {}, "worker", SystemClock()) as office:
        upstream.script = (answer("All well.", usage=USAGE),)
        project = await office.tenancy.create_project(None, "Research")
        await office.tenancy.top_up(project.id, 1_000_000_000, "")
        identity = Identity(office.identity_store, office.desk.ids, office.desk.clock, settings)
        headers = {"Authorization": f"Bearer {(await identity.issue_key(project.id, 'test', None)).text}"}
        doomed = gateway_processes(1, tmp_path, database_url, upstream.url, TAXIMETER_FAULT_POINT=point, TAXIMETER_PROCESS_DEAD_S="1")
        healthy = gateway_processes(1, tmp_path, database_url, upstream.url, TAXIMETER_PROCESS_DEAD_S="1")
        async with doomed as [first], healthy as [second]:

            async def call(method: str, url: str, **more: Any) -> tuple[int, Any]:  # noqa: ANN401 - JSON
                async with http.request(method, url, **{"headers": headers, **more}) as got:
                    return got.status, await got.json(content_type=None)

            body = {"model": "teller", "request": {name: value for name, value in CHAT.items() if name != "model"}}
            _, offer = await call("POST", f"{second}/v1/quotes", json=body)
            bound = {**headers, "taximeter-quote": offer["id"]}
            with pytest.raises(aiohttp.ClientError):
                await call("POST", f"{first}/v1/chat/completions", json=CHAT, headers=bound)
            status, refusal = await call("POST", f"{second}/v1/chat/completions", json=CHAT, headers=bound)
            assert (status, refusal["error"]["code"]) == (422, "quote_used")
            sweeper = Sweeper(office.desk, office.store, office.jobs, office.objects, office.pool)
            if not charged:

                async def released() -> bool:
                    return await sweeper.sweep() > 0

                await until(released)
                assert (await call("GET", f"{second}/v1/quotes/{offer['id']}"))[1]["state"] == "open"
            status, _ = await call("POST", f"{second}/v1/chat/completions", json=CHAT, headers=bound)
            assert status == (422 if charged else 200)
            status, kept = await call("GET", f"{second}/v1/quotes/{offer['id']}")
            _, receipt = await call("GET", f"{second}/v1/receipts/{kept['receipt']}")
            assert (kept["state"], receipt["quote"], receipt["outcome"], receipt["tokens_charged"]) == ("used", offer["id"], "completed", "9")
            assert (await office.tenancy.wallet(project.id))["balance"] == "991"


async def test_a_ride_whose_quote_was_taken_over_while_it_was_cut_off_costs_nothing(town: Town) -> None:
    """And the desk says which request has the quote now."""
    caller = await town.caller("100")
    [order] = await quoted(town, caller)
    first, second = hold(town, order), hold(town, order)
    assert await post_batch(town, first) == [Status.APPLIED]
    kept = await QuoteStore(town.office.pool).find(caller.project_id, town.office.desk.ids.new())
    assert kept is None
    with pytest.raises(QuoteUsed) as refused:
        await town.metering.open(order)
    assert refused.value.headers["taximeter-receipt"] == encode_id("rcp", first.id)
    await post_batch(town, end(first, Kind.EXPIRE))
    assert await post_batch(town, second) == [Status.APPLIED]
    assert await post_batch(town, end(first, Kind.SETTLE, order, 1_000_000)) == [Status.ALREADY_RESOLVED]
    await town.assert_books_agree()


async def test_quotes_that_are_made_at_the_same_time_are_kept_together(town: Town) -> None:
    caller = await town.caller("1")
    store = QuoteStore(town.office.pool)
    until_then = datetime.now(UTC) + timedelta(minutes=5)
    rows = [Row(town.office.desk.ids.new(), caller.project_id, bytes(32), 1, "{}", "{}", until_then) for _ in range(300)]
    await asyncio.gather(*(store.keep([row]) for row in rows))
    # The rows of one transaction have one xmin.
    kept = await town.office.pool.fetchrow("select count(*) as quotes, count(distinct xmin::text) as transactions from metering.quotes")
    assert kept is not None
    assert kept["quotes"] == 300
    assert kept["transactions"] < 10
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.keep([rows[0]])
    # One that fails takes nobody else along for ever.
    await store.keep([Row(town.office.desk.ids.new(), caller.project_id, bytes(32), 1, "{}", "{}", until_then)])
