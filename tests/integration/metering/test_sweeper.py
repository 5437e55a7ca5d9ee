"""Holds that nobody will end are released, and only those."""

import asyncio
import dataclasses
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest

from taximeter.engines import Chunk, Done
from taximeter.metering import Receipt
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)
REPORT = Done(work={"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0})


async def test_holds_of_living_processes_are_left_alone(town: Town) -> None:
    caller = await town.caller()
    await town.metering.open(town.order(caller))
    assert await town.sweeper.sweep() == 0
    assert await town.open_holds() == 1


async def test_a_hold_whose_process_died_is_released_and_costs_nothing(database_url: str, tmp_path: Path) -> None:
    """litellm #27639, new-api #4429: reserved money that never comes back."""
    async with open_town(database_url, tmp_path, process_dead_s=0.5) as town:
        caller = await town.caller("1000")
        ride = await town.metering.open(town.order(caller))
        # The process of this ride says goodbye to nobody; only its heartbeat stops.
        async with open_town(database_url, tmp_path) as survivor:

            async def released() -> bool:
                # The office behind the ride lives and beats: say goodbye for it until the sweep comes in between.
                await town.office.store.goodbye(town.office.desk.process_id)
                return await survivor.sweeper.sweep() == 1

            await until(released)
        receipt = await town.records.receipt(caller, ride.id)
        assert (receipt.outcome, receipt.charged_utok) == ("expired", 0)
        assert "died" in str(receipt.reason)
        assert (await town.wallet(caller))["balance"] == "1000"
        await town.assert_books_agree()


async def test_a_ride_that_settles_after_its_hold_expired_is_charged_late(town: Town) -> None:
    caller = await town.caller("1000")
    go = asyncio.Event()
    town.engines["chat"].script = (TEXT, go, REPORT)
    ride = await town.metering.open(town.order(caller))
    items: list[object] = []

    async def drain() -> None:
        items.extend([item async for item in ride.events()])

    running = asyncio.create_task(drain())
    await town.engines["chat"].running.wait()
    await town.office.store.goodbye(town.office.desk.process_id)
    assert await town.sweeper.sweep() == 1
    go.set()
    await running
    receipt = items[-1]
    assert isinstance(receipt, Receipt)
    assert receipt.charged_utok > 0
    stored = await town.records.receipt(caller, ride.id)
    assert (stored.outcome, stored.charged_utok) == ("completed", receipt.charged_utok)
    await town.assert_books_agree()


async def test_sweeping_twice_at_once_releases_once(town: Town) -> None:
    caller = await town.caller("1000")
    await asyncio.gather(*(town.metering.open(town.order(caller)) for _ in range(20)))
    await town.office.store.goodbye(town.office.desk.process_id)
    await asyncio.gather(town.sweeper.sweep(), town.sweeper.sweep())
    assert (await town.wallet(caller))["balance"] == "1000"
    await town.assert_books_agree()


GRIP = "from pg_locks l join metering.processes p on p.lock_key::oid = l.objid where l.locktype = 'advisory' and l.classid = 7469 and p.id = $1"


async def grow_silent(town: Town, connection: asyncpg.Connection) -> None:
    """As if its process had missed a beat, and not all of them."""
    silence = timedelta(seconds=town.office.settings.process_dead_s / 2)
    statement = "update metering.processes set heartbeat_at = clock_timestamp() - $2::interval where id = $1"
    await connection.execute(statement, town.office.desk.process_id, silence)


async def has_grip(town: Town, connection: asyncpg.Connection) -> bool:
    return bool(await connection.fetchval(f"select exists (select {GRIP})", town.office.desk.process_id))


async def cut_off(town: Town, connection: asyncpg.Connection) -> None:
    """End the connection that it holds on to, as its kernel does when it is killed."""
    process_id = town.office.desk.process_id
    await connection.execute(f"select pg_terminate_backend(l.pid) {GRIP}", process_id)
    await until(lambda: connection.fetchval(f"select not exists (select {GRIP})", process_id))


async def test_a_silent_process_whose_connection_has_ended_is_dead_long_before_its_time(database_url: str, tmp_path: Path) -> None:
    owner = await asyncpg.connect(database_url)
    async with open_town(database_url, tmp_path, process_dead_s=600) as town, open_town(database_url, tmp_path) as survivor:
        await town.metering.open(town.order(await town.caller("1000")))
        await until(lambda: has_grip(town, owner))
        sweeper = town.sweeper
        await grow_silent(town, owner)
        # It is slow, or its network is: its connection is there.
        assert await sweeper.sweep() == 0
        await cut_off(town, owner)
        # The lock may have been lost with its server: that one can say nothing about it.
        await owner.execute("update metering.processes set server_started_at = server_started_at - interval '1 day'")
        assert await sweeper.sweep() == 0
        await owner.execute("update metering.processes set server_started_at = metering.locks_kept_since()")
        assert await sweeper.sweep() == 1
        assert await survivor.open_holds() == 0
    await owner.close()


async def test_a_process_that_lost_its_connection_and_beats_is_alive_and_takes_hold_again(database_url: str, tmp_path: Path) -> None:
    owner = await asyncpg.connect(database_url)
    async with open_town(database_url, tmp_path, process_dead_s=2) as town:
        await town.metering.open(town.order(await town.caller("1000")))
        await until(lambda: has_grip(town, owner))
        held_by = await owner.fetchval(f"select l.pid {GRIP}", town.office.desk.process_id)
        await owner.execute("select pg_terminate_backend($1)", held_by)

        async def holds_again() -> bool:
            return await owner.fetchval(f"select l.pid {GRIP}", town.office.desk.process_id) not in (None, held_by)

        await until(holds_again)
        # It beats every 0.4 s, however slow this machine is: whoever looks must be patient.
        town.office.desk.settings = dataclasses.replace(town.office.settings, process_dead_s=600)
        assert await town.sweeper.sweep() == 0
    await owner.close()


async def test_a_server_that_began_anew_without_a_restart_says_of_nobody_that_he_is_dead(database_url: str, tmp_path: Path) -> None:
    """When one of its processes is killed it ends all others, and forgets locks and what it has counted; it is not started again."""
    owner = await asyncpg.connect(database_url)
    async with open_town(database_url, tmp_path, process_dead_s=600) as town:
        await town.metering.open(town.order(await town.caller("1000")))
        await until(lambda: has_grip(town, owner))
        await grow_silent(town, owner)
        await cut_off(town, owner)
        await owner.execute("select pg_stat_reset_shared('bgwriter')")
        assert await town.sweeper.sweep() == 0
    await owner.close()
