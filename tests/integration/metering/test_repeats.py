"""Idempotency keys where they are decided: in the transaction of the hold, whatever stands in one batch."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from taximeter.engines import Chunk, Done
from taximeter.identity import Caller
from taximeter.ledger import Kind, Operation, Status
from taximeter.metering import Order, Receipt
from taximeter.metering.desk import price_order, wallet_of
from taximeter.metering.errors import IdempotencyInProgress, IdempotencyKeyReused
from taximeter.metering.rules import NOTHING, encode_fact, key_fact, receipt_fact, request_fact
from taximeter.metering.store import post
from tests.support.tenants import Town, open_town

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})


def named(town: Town, caller: Caller, key: str = "k", fingerprint: bytes = b"f" * 32) -> Order:
    return replace(town.order(caller), idempotency_key=key, fingerprint=fingerprint)


def hold(town: Town, order: Order, amount_utok: int = 1_000_000) -> Operation:
    desk = town.office.desk
    fact = {"request": request_fact(order.caller, price_order(desk, order), desk.process_id, None)}
    if order.idempotency_key is not None:
        fact["idempotency"] = key_fact(order)
    wallet = wallet_of(order.caller)
    legs = wallet.legs()
    return Operation(id=desk.ids.new(), kind=Kind.HOLD, lane=wallet.lane, amount_utok=amount_utok, legs=legs, ttl_s=60, fact=encode_fact(fact))


def end(held: Operation, kind: Kind, order: Order | None = None, amount_utok: int = 0) -> Operation:
    fact = {"receipt": receipt_fact(NOTHING, "completed" if kind is Kind.SETTLE else "failed", None, {}, 0)}
    if order is not None:
        fact["idempotency"] = key_fact(order)
    return Operation(id=held.id, kind=kind, lane=held.lane, amount_utok=amount_utok, fact=encode_fact(fact))


async def post_batch(town: Town, *operations: Operation) -> list[Status]:
    async with town.office.pool.acquire() as connection:
        return [outcome.status for outcome in await post(connection, operations[0].lane, operations)]


async def holder(town: Town, key: str = "k") -> object:
    return await town.office.pool.fetchval("select request_id from metering.idempotency where key = $1", key)


async def test_two_with_one_key_in_one_batch_are_one_hold(town: Town) -> None:
    caller = await town.caller("100")
    plain, first, second, other = hold(town, town.order(caller)), *(hold(town, named(town, caller, key)) for key in ("k", "k", "l"))
    batch = (plain, first, second, other)
    assert await post_batch(town, *batch) == [Status.APPLIED, Status.APPLIED, Status.KEY_USED, Status.APPLIED]
    assert await holder(town) == first.id
    assert (await town.wallet(caller))["held"] == "3"
    # The answer was lost and the same batch is sent again.
    assert await post_batch(town, *batch) == [Status.REPLAYED, Status.REPLAYED, Status.KEY_USED, Status.REPLAYED]
    assert (await town.wallet(caller))["held"] == "3"
    await town.assert_books_agree()


async def test_outcomes_stand_at_their_operations(town: Town) -> None:
    caller = await town.caller("100")
    order = named(town, caller)
    earlier = hold(town, town.order(caller), 5_000_000)
    await post_batch(town, earlier)
    batch = [
        hold(town, order, 7_000_000),
        hold(town, order, 8_000_000),
        end(earlier, Kind.SETTLE, amount_utok=3_000_000),
        hold(town, town.order(caller), 9_000_000),
    ]
    async with town.office.pool.acquire() as connection:
        outcomes = await post(connection, caller.lane, batch)
    assert [outcome.total_utok for outcome in outcomes] == [7_000_000, 0, 3_000_000, 9_000_000]
    assert outcomes[-1].available_utok == 81_000_000


async def test_a_refused_hold_leaves_the_key_to_the_next_in_its_batch(town: Town) -> None:
    caller = await town.caller("10")
    order = named(town, caller)
    batch = [hold(town, order, tokens * 1_000_000) for tokens in (30, 20, 10, 5)]
    assert await post_batch(town, *batch) == [Status.REFUSED, Status.REFUSED, Status.APPLIED, Status.KEY_USED]
    assert await post_batch(town, *batch) == [Status.KEY_USED, Status.KEY_USED, Status.REPLAYED, Status.KEY_USED]
    assert await holder(town) == batch[2].id
    await town.assert_books_agree()


async def test_a_released_hold_leaves_the_key_to_the_next_even_in_one_batch(town: Town) -> None:
    caller = await town.caller("100")
    order = named(town, caller)
    first, second, third = (hold(town, order) for _ in range(3))
    await post_batch(town, first)
    batch = (second, third, end(first, Kind.VOID))
    assert await post_batch(town, *batch) == [Status.APPLIED, Status.KEY_USED, Status.APPLIED]
    assert await holder(town) == second.id
    assert await post_batch(town, end(second, Kind.SETTLE, order, 1_000_000), third) == [Status.APPLIED, Status.KEY_USED]
    assert (await town.wallet(caller))["balance"] == "99"
    await town.assert_books_agree()


@pytest.mark.parametrize("together", [False, True])
async def test_a_settlement_that_comes_late_is_charged_unless_the_key_went_to_another(town: Town, together: object) -> None:
    caller = await town.caller("100")
    order = named(town, caller)
    late, repeat = hold(town, order), hold(town, order)
    await post_batch(town, late)
    await post_batch(town, end(late, Kind.EXPIRE))
    settlement = end(late, Kind.SETTLE, order, 1_000_000)
    if together:
        # In one batch the settlement is first: the key is not free any more.
        assert await post_batch(town, repeat, settlement) == [Status.KEY_USED, Status.SETTLED_LATE]
    else:
        assert await post_batch(town, repeat) == [Status.APPLIED]
        assert await post_batch(town, settlement) == [Status.ALREADY_RESOLVED]
        assert await post_batch(town, end(repeat, Kind.SETTLE, order, 1_000_000)) == [Status.APPLIED]
    assert (await town.wallet(caller))["balance"] == "99"
    await town.assert_books_agree()


async def test_connections_that_post_at_once_agree_on_one_holder(town: Town) -> None:
    caller = await town.caller("100")
    batches = [[hold(town, named(town, caller)) for _ in range(5)] for _ in range(4)]

    async def send(operations: Sequence[Operation]) -> list[Status]:
        return await post_batch(town, *operations)

    statuses = [status for batch in await asyncio.gather(*map(send, batches)) for status in batch]
    assert sorted(statuses) == [Status.APPLIED, *[Status.KEY_USED] * 19]
    assert (await town.wallet(caller))["held"] == "1"


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_in_whatever_batches_a_key_is_charged_once(town: Town, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a test that can be repeated
    caller = await town.caller("50")
    orders = {key: named(town, caller, key) for key in "abcdefghijklmno"}
    of: dict[Operation, str] = {}
    charged: dict[str, set[Operation]] = {key: set() for key in orders}
    for _ in range(60):
        ended = dice.sample(sorted(of, key=lambda held: held.id), min(len(of), dice.randrange(4)))
        kinds = [dice.choice([Kind.VOID, Kind.EXPIRE, Kind.EXPIRE, Kind.SETTLE]) for _ in ended]
        ends = [end(held, kind, orders[of[held]], 1_000_000 if kind is Kind.SETTLE else 0) for held, kind in zip(ended, kinds, strict=True)]
        # Some holds are more than the wallet has.
        keys = dice.choices(list(orders), k=dice.randrange(1, 6))
        holds = [hold(town, orders[key], dice.choice([1_000_000, 1_000_000, 90_000_000])) for key in keys]
        batch = dice.sample(holds + ends, len(holds) + len(ends))
        statuses = dict(zip(batch, await post_batch(town, *batch), strict=True))
        of |= {held: key for held, key in zip(holds, keys, strict=True) if statuses[held] is Status.APPLIED}
        for held, ending in zip(ended, ends, strict=True):
            if ending.kind is Kind.SETTLE and statuses[ending] in (Status.APPLIED, Status.SETTLED_LATE):
                charged[of[held]].add(held)
        assert await town.open_holds() == await town.office.pool.fetchval(
            "select count(*) from metering.idempotency i where exists (select from ledger.holds h where h.id = i.request_id)"
        )
    assert max(map(len, charged.values())) == 1
    assert (await town.wallet(caller))["balance"] == str(50 - sum(map(len, charged.values())) - await town.open_holds())
    await town.assert_books_agree()


async def test_a_ride_whose_key_was_taken_over_while_it_was_cut_off_costs_nothing(town: Town) -> None:
    caller = await town.caller("1000")
    go = asyncio.Event()
    town.engines["chat"].script = (TEXT, go, REPORT)
    cut_off = await town.metering.open(named(town, caller))
    running = asyncio.create_task(_drain(cut_off.events()))
    await town.engines["chat"].running.wait()
    await town.office.store.goodbye(town.office.desk.process_id)
    assert await town.sweeper.sweep() == 1
    await town.office.store.hello(town.office.desk.process_id, "test")
    repeat = await town.metering.open(named(town, caller))
    go.set()
    assert (await running).charged_utok == 0
    charged = (await _drain(repeat.events())).charged_utok
    assert charged > 0
    wallet = await town.wallet(caller)
    assert (wallet["held"], [receipt.charged_utok for receipt in await town.records.receipts(caller, None, 9)]) == ("0", [charged, 0])
    await town.assert_books_agree()


async def test_an_answer_that_was_kept_before_its_hold_expired_goes_with_the_key(town: Town) -> None:
    caller = await town.caller("100")
    order = named(town, caller)
    late, repeat = hold(town, order), hold(town, order)
    await post_batch(town, late)
    # Its gateway had the answer, but could not settle in time.
    await town.metering.keep_answer(late.id, 200, "application/json", b"{}")
    await post_batch(town, end(late, Kind.EXPIRE))
    assert await post_batch(town, repeat) == [Status.APPLIED]
    assert await town.office.pool.fetchval("select count(*) from metering.idempotent_answers") == 0
    # And the answer of a request that has lost its key is not kept.
    await town.metering.keep_answer(late.id, 200, "application/json", b"{}")
    with pytest.raises(IdempotencyInProgress):
        await town.metering.open(order)


async def test_a_key_is_forgotten_after_its_time_but_not_while_its_request_runs(database_url: str, tmp_path: Path) -> None:
    async with open_town(database_url, tmp_path, idempotency_ttl_s=0) as town:
        caller = await town.caller()
        town.engines["chat"].script = (TEXT, REPORT)
        ride = await town.metering.open(named(town, caller))
        await town.sweeper.keep_house()
        with pytest.raises(IdempotencyInProgress):
            await town.metering.open(named(town, caller))
        with pytest.raises(IdempotencyKeyReused):
            await town.metering.open(named(town, caller, fingerprint=b"g" * 32))
        await _drain(ride.events())
        await town.metering.keep_answer(ride.id, 200, "application/json", b"{}")
        await town.sweeper.keep_house()
        assert await town.office.pool.fetchval("select count(*) from metering.idempotent_answers") == 0
        again = await town.metering.open(named(town, caller, fingerprint=b"g" * 32))
        assert again.id != ride.id


@pytest.mark.parametrize(
    "statement",
    [
        "update metering.idempotency set request_id = gen_random_uuid()",
        "delete from metering.idempotency",
        "insert into metering.idempotency select * from metering.idempotency",
        "update metering.idempotent_answers set body = ''",
        "delete from metering.idempotent_answers",
    ],
)
async def test_the_application_can_neither_move_nor_drop_a_key(pool: asyncpg.Pool, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pool.execute(statement)


async def _drain(events: object) -> Receipt:
    last = [item async for item in events][-1]  # type: ignore[attr-defined]
    assert isinstance(last, Receipt)
    return last
