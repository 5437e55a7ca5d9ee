"""Waiting for an engine's slot: who waits is told, is next in fair order, and loses nothing, whatever happens meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from taximeter.admission.fairness import DeadlineTooNear, QueueTimeout
from taximeter.engines import Chunk, Done
from taximeter.identity import Caller
from taximeter.kernel.units import AMOUNT_UTOK_MAX
from taximeter.ledger import Kind, Operation, Status
from taximeter.metering import Receipt, store
from taximeter.metering.desk import wallet_of
from taximeter.metering.ride import Ride
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})


@pytest.fixture
async def town(database_url: str, open_folder: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, open_folder) as opened:
        opened.engines["chat"].slots = 1
        yield opened


def gate(town: Town) -> asyncio.Event:
    """Holds the engine until it is set."""
    opened = asyncio.Event()
    town.engines["chat"].script = (TEXT, opened, REPORT)
    return opened


async def end(ride: Ride) -> Receipt:
    receipt = [event async for event in ride.events()][-1]
    assert isinstance(receipt, Receipt)
    return receipt


async def begin(town: Town, caller: Caller) -> tuple[Ride, asyncio.Task[Receipt]]:
    ride = await town.metering.open(town.order(caller))
    return ride, asyncio.create_task(end(ride))


async def counts(town: Town) -> tuple[int, int]:
    """Running and waiting, by the pool and by its places alike."""
    pool = await town.office.pool.fetchrow("select running, waiting from admission.pools")
    places = await town.office.pool.fetchrow(
        "select count(*) filter (where granted_at is not null) as running, count(*) filter (where granted_at is null) as waiting"
        " from admission.places"
    )
    assert tuple(pool) == tuple(places)
    return pool["running"], pool["waiting"]


async def test_who_finds_a_slot_does_not_wait_and_says_so(town: Town) -> None:
    gate(town).set()
    receipt = await end(await town.metering.open(town.order(await town.caller())))
    assert receipt.outcome == "completed"
    assert receipt.headers()["taximeter-queue-position"] == receipt.headers()["taximeter-queue-wait-ms"] == "0"
    assert await counts(town) == (0, 0)


async def test_an_engine_without_slots_knows_no_queue(town: Town) -> None:
    town.engines["chat"].slots = None
    gate(town).set()
    receipt = await end(await town.metering.open(town.order(await town.caller())))
    assert "taximeter-queue-position" not in receipt.headers()
    assert await town.office.pool.fetchval("select count(*) from admission.pools") == 0


async def test_who_finds_none_waits_for_it_and_is_told_his_position(town: Town) -> None:
    opened, caller = gate(town), await town.caller()
    started = [await begin(town, caller) for _ in range(3)]
    await until(lambda: len(town.engines["chat"].jobs) == 1)
    assert await counts(town) == (1, 2)
    assert [ride.headers()["taximeter-queue-position"] for ride, _ in started] == ["0", "1", "2"]
    opened.set()
    receipts = await asyncio.gather(*(task for _, task in started))
    assert [receipt.outcome for receipt in receipts] == ["completed"] * 3
    assert all(int(receipt.headers()["taximeter-queue-wait-ms"]) > 0 for receipt in receipts[1:])
    assert await counts(town) == (0, 0)
    await town.assert_books_agree()


async def test_who_came_with_one_request_is_before_him_who_came_with_many(town: Town) -> None:
    opened, heavy, light = gate(town), await town.caller(), await town.caller()
    flood = [await begin(town, heavy) for _ in range(6)]
    late = await begin(town, light)
    opened.set()
    await asyncio.gather(*(task for _, task in [*flood, late]))
    ran = [job.id for job in town.engines["chat"].jobs]
    assert ran.index(f"req_{late[0].headers()['taximeter-receipt'][4:]}") <= 2


async def test_a_hold_that_is_voided_while_it_is_posted_leaves_no_place(town: Town) -> None:
    """Its caller has lost patience, and its first connection is gone for him but not for the database."""
    caller = await town.caller()
    queue = {"pool": "demo-text", "slots": 1, "bounds": [60, 300, 1800], "tenant": str(caller.project_id), "weight": 1, "amount": 9}
    fact = json.dumps({"queue": {**queue, "rank": 1, "long_s": 60}})
    wallet = wallet_of(caller)
    hold = Operation(id=uuid4(), kind=Kind.HOLD, lane=wallet.lane, amount_utok=9, legs=wallet.legs(), ttl_s=60, fact=fact)
    async with town.office.pool.acquire() as connection:
        async with connection.transaction():
            (held,) = await store.post(connection, wallet.lane, [hold])
            voided = asyncio.create_task(town.office.desk.books.submit(Operation(id=hold.id, kind=Kind.VOID, lane=wallet.lane, fact="{}")))
            await until(lambda: connection.fetchval("select exists (select from pg_locks where not granted)"))
        assert (held.status, (await voided).status) == (Status.APPLIED, Status.APPLIED)
    assert await counts(town) == (0, 0)


async def test_the_pace_of_an_engine_is_known_for_the_dearest_requests_too(town: Town) -> None:
    assert await town.office.pool.fetchval("select admission.pool_rate($1, 32)", 32 * AMOUNT_UTOK_MAX) == 1000 * AMOUNT_UTOK_MAX


async def test_the_wait_is_bounded_and_costs_nothing(town: Town) -> None:
    gate(town)
    assert town.office.desk.room is not None
    town.office.desk.room.wait_max_s = 0.05
    caller = await town.caller()
    _, first = await begin(town, caller)
    await until(lambda: len(town.engines["chat"].jobs) == 1)
    ride, second = await begin(town, caller)
    with pytest.raises(QueueTimeout) as refused:
        await second
    assert 5 <= int(refused.value.headers["retry-after"]) <= 60
    receipt = await town.office.store.find_receipt(caller.project_id, ride.id)
    assert receipt is not None
    assert (receipt.outcome, receipt.charged_utok) == ("failed", 0)
    assert (receipt.reason or "").startswith("queue_timeout: ")
    assert await counts(town) == (1, 0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await town.open_holds() == 0
    assert await counts(town) == (0, 0)


async def test_who_leaves_while_he_waits_frees_his_place_at_once(town: Town) -> None:
    opened, caller = gate(town), await town.caller()
    _, first = await begin(town, caller)
    _, second = await begin(town, caller)
    _, third = await begin(town, caller)
    await until(lambda: len(town.engines["chat"].jobs) == 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert await counts(town) == (1, 1)
    opened.set()
    assert (await first).outcome == (await third).outcome == "completed"
    assert len(town.engines["chat"].jobs) == 2


async def test_a_process_that_died_frees_its_slots_and_its_places(database_url: str, open_folder: Path, town: Town) -> None:
    async with open_town(database_url, open_folder / "second", process_dead_s=0.5) as other:
        opened = gate(town)
        running, waiting = await town.caller(), await other.caller()
        # Held, and never run: as the process that was killed left them.
        await town.metering.open(town.order(running))
        await town.metering.open(town.order(running))
        other.engines["chat"].slots = 1
        other.engines["chat"].script = (TEXT, REPORT)
        _, survivor = await begin(other, waiting)
        assert await counts(town) == (1, 2)
        await town.office.pool.execute(
            "update metering.processes set heartbeat_at = clock_timestamp() - interval '1 hour' where id = $1", town.office.desk.process_id
        )
        assert await other.sweeper.sweep() == 2
        assert (await survivor).outcome == "completed"
        assert await counts(town) == (0, 0)
        opened.set()


async def test_a_lost_notification_delays_and_never_hangs(town: Town) -> None:
    opened, caller = gate(town), await town.caller()
    assert town.office.desk.room is not None
    town.office.desk.room._hear = lambda *_: None  # type: ignore[method-assign]
    town.office.desk.room.left = lambda *_: None  # type: ignore[method-assign]
    started = [await begin(town, caller) for _ in range(2)]
    opened.set()
    async with asyncio.timeout(10):
        receipts = await asyncio.gather(*(task for _, task in started))
    assert [receipt.outcome for receipt in receipts] == ["completed", "completed"]


async def test_who_waits_keeps_his_place_when_the_database_hangs_up(database_url: str, town: Town) -> None:
    opened, caller = gate(town), await town.caller()
    started = [await begin(town, caller) for _ in range(3)]
    await until(lambda: len(town.engines["chat"].jobs) == 1)
    owner = await asyncpg.connect(database_url)
    await until(lambda: owner.fetchval("select exists (select from pg_stat_activity where datname = current_database() and query ilike 'listen%')"))
    await owner.execute("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()")
    await owner.close()
    opened.set()
    async with asyncio.timeout(15):
        receipts = await asyncio.gather(*(task for _, task in started))
    assert [receipt.outcome for receipt in receipts] == ["completed"] * 3
    assert await counts(town) == (0, 0)
    await town.assert_books_agree()


async def test_a_hold_that_is_sent_again_takes_one_place(town: Town) -> None:
    gate(town)
    caller = await town.caller()
    await town.metering.open(town.order(caller))
    operations: list[Any] = []
    begin_posting = town.office.desk.books.begin
    town.office.desk.books.begin = lambda operation: (operations.append(operation), begin_posting(operation))[1]  # type: ignore[method-assign,func-returns-value]
    await town.metering.open(town.order(caller))
    again = await town.office.desk.books.submit(operations[0])
    assert [(note.kind, note.first) for note in again.notes] == [(32, 1)]
    assert await counts(town) == (1, 1)


async def test_a_deadline_that_leaves_no_time_is_refused_where_waiting_is_part_of_the_price(town: Town) -> None:
    caller = await town.caller()
    soon_ms = town.office.desk.clock.now_ms() + 60_000
    request = {**town.order(caller, "video").request, "service_tier": "batch"}
    with pytest.raises(DeadlineTooNear):
        await town.videos.submit(replace(town.order(caller, "video"), request=request, deadline_ms=soon_ms))
    # A quicker tier does not wait for deadlines: it is simply ignored.
    await town.videos.submit(replace(town.order(caller, "video"), deadline_ms=soon_ms))


async def test_what_is_known_of_a_pools_pace_tells_the_wait(town: Town) -> None:
    assert town.office.desk.room is not None
    store = town.office.desk.room.store
    opened, caller = gate(town), await town.caller()
    started = [await begin(town, caller) for _ in range(3)]
    assert (await store.standing(started[2][0].id)).wait_ms is None
    opened.set()
    await asyncio.gather(*(task for _, task in started))
    gate(town)
    started = [await begin(town, caller) for _ in range(3)]
    first, second = [(await store.standing(ride.id)).wait_ms for ride, _ in started[1:]]
    assert first is not None
    assert second is not None
    assert first < second
    gauges = await town.office.figures()
    assert gauges['taximeter_queue_waiting{engine="demo-text"}'][1] == 2
    for _, task in started:
        task.cancel()
    await asyncio.gather(*(task for _, task in started), return_exceptions=True)
