"""From one request to the next: a slot does not wait for the settlement of whoever had it, and is never given twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest

from taximeter.engines import Chunk, Done
from taximeter.identity import Caller
from taximeter.kernel.errors import SetupError
from taximeter.kernel.settings import Settings
from taximeter.metering import Receipt
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


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def begin(town: Town, caller: Caller) -> asyncio.Task[Receipt]:
    ride = await town.metering.open(town.order(caller))

    async def end() -> Receipt:
        receipt = [event async for event in ride.events()][-1]
        assert isinstance(receipt, Receipt)
        return receipt

    return asyncio.create_task(end())


async def counts(town: Town) -> tuple[int, int, int]:
    """Running and waiting by the pool, and its places."""
    pool = await town.office.pool.fetchrow("select running, waiting, (select count(*) from admission.places)::int as places from admission.pools")
    return pool["running"], pool["waiting"], pool["places"]


async def test_the_next_one_runs_while_the_settlement_of_the_one_before_waits(town: Town, owner: asyncpg.Connection) -> None:
    caller, room, chat = await town.caller(), town.office.desk.room, town.engines["chat"]
    assert room is not None
    opened = asyncio.Event()
    chat.script = (TEXT, opened, REPORT)
    first, second = await begin(town, caller), await begin(town, caller)
    await until(lambda: len(chat.jobs) == 1 and room._left is not None and room._line["demo-text"] == 1)
    async with owner.transaction():
        # Nothing is posted in the caller's lane as long as this goes on.
        await owner.execute("select pg_advisory_xact_lock(7466, $1)", caller.lane)
        opened.set()
        await until(lambda: len(chat.jobs) == 2)
        assert not first.done()
    receipts = [await first, await second]
    assert [receipt.outcome for receipt in receipts] == ["completed"] * 2
    assert receipts[0].settlement == "settled"
    assert await counts(town) == (0, 0, 0)
    pool = await town.office.pool.fetchrow("select tag, served_ms from admission.pools join admission.pool_tenants on pool = name")
    # Counted once, by what was consumed: by the one that handed its slot over as by the one that had nobody to hand it to.
    assert pool["tag"] == sum(receipt.consumed_utok for receipt in receipts)
    await town.assert_books_agree()


async def test_where_somebody_had_to_wait_slots_are_handed_to_other_processes_too(
    town: Town, owner: asyncpg.Connection, database_url: str, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taximeter.admission.fairness.room.WANTED_S", 600.0)
    caller, room, chat = await town.caller(), town.office.desk.room, town.engines["chat"]
    assert room is not None
    opened = asyncio.Event()
    chat.script = (TEXT, opened, REPORT)
    first, second = await begin(town, caller), await begin(town, caller)
    await until(lambda: len(chat.jobs) == 1 and room._left is not None and room._line["demo-text"] == 1)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    async with open_town(database_url, open_folder / "other") as other:
        theirs = other.engines["chat"]
        theirs.slots, theirs.script = 1, (TEXT, REPORT)
        third = await begin(other, caller)
        async with owner.transaction():
            await owner.execute("select pg_advisory_xact_lock(7466, $1)", caller.lane)
            opened.set()
            await until(lambda: len(theirs.jobs) == 1)
        assert [(await first).outcome, (await third).outcome] == ["completed"] * 2
    assert await counts(town) == (0, 0, 0)


async def test_a_slot_that_cannot_be_handed_over_comes_free_with_the_settlement(town: Town, owner: asyncpg.Connection) -> None:
    caller, room, chat = await town.caller(), town.office.desk.room, town.engines["chat"]
    assert room is not None
    opened = asyncio.Event()
    chat.script = (TEXT, opened, REPORT)
    tasks = [await begin(town, caller) for _ in range(3)]
    await until(lambda: len(chat.jobs) == 1 and room._left is not None and room._line["demo-text"] == 2)
    await owner.execute("alter function admission.hand_over rename to taken_away")
    opened.set()
    assert [(await task).outcome for task in tasks] == ["completed"] * 3
    assert await counts(town) == (0, 0, 0)


async def test_a_slot_is_handed_over_once_however_often_it_is_said(owner: asyncpg.Connection) -> None:
    await owner.execute("insert into admission.pools (name, slots, bounds) values ('p', 1, '{60,300,1800}')")
    ids = [UUID(int=number) for number in range(1, 5)]
    for each in ids:
        queue = {"pool": "p", "tenant": str(uuid4()), "weight": 1, "amount": 9, "rank": 1, "long_s": 60}
        await owner.execute("select admission.join_pool($1, $2)", each, json.dumps(queue))
    await owner.execute("select admission.fill_pool('p')")
    handed = [await owner.fetch("select admission.hand_over($1, $2) as id", [ids[0], uuid4()], [5, 5]) for _ in range(2)]
    assert [[row["id"] for row in rows] for rows in handed] == [[ids[1]], []]
    assert await owner.fetchval("select array_agg(id) from admission.places where granted_at is not null") == [ids[1]]
    # The settlement that follows finds nothing that it could free.
    await owner.execute("select admission.leave_pools($1, $2)", [ids[0]], [5])
    assert tuple(await owner.fetchrow("select running, waiting from admission.pools")) == (1, 2)


async def test_one_in_hand_waits_in_the_engines_own_queue(database_url: str, open_folder: Path) -> None:
    async with open_town(database_url, open_folder, queue_ahead=1) as town:
        caller, chat = await town.caller(), town.engines["chat"]
        chat.slots = 1
        opened = asyncio.Event()
        chat.script = (TEXT, opened, REPORT)
        tasks = [await begin(town, caller) for _ in range(4)]
        await until(lambda: len(chat.jobs) == 2)
        assert await counts(town) == (2, 2, 4)
        opened.set()
        assert [(await task).outcome for task in tasks] == ["completed"] * 4
        # Jobs are claimed by slots alone.
        view = await town.videos.submit(town.order(caller, "video"))
        assert await town.office.pool.fetchval("select ahead from admission.pools where name = 'demo-video'") == 0
        assert view.job.state == "queued"


async def test_a_long_request_leaves_the_last_slot_itself_to_a_short_one(owner: asyncpg.Connection) -> None:
    await owner.execute("insert into admission.pools (name, slots, ahead, bounds) values ('p', 2, 1, '{60,300,1800}')")
    for number in range(1, 4):
        queue = {"pool": "p", "tenant": str(uuid4()), "weight": 1, "amount": 9, "rank": 1, "long_s": 0}
        await owner.execute("select admission.join_pool($1, $2)", UUID(int=number), json.dumps(queue))
    assert await owner.fetchval("select admission.fill_pool('p')") == [UUID(int=1)]


def test_nobody_sends_fewer_than_none_ahead() -> None:
    with pytest.raises(SetupError, match="TAXIMETER_QUEUE_AHEAD"):
        Settings.from_env({"TAXIMETER_QUEUE_AHEAD": "-1"})
