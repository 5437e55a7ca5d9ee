"""Holds that nobody will end are released, and only those."""

import asyncio
from pathlib import Path

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
