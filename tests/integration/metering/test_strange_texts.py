"""Half an emoji or a NUL in what an engine says: nobody loses a receipt, a hold or a worker over it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from taximeter.engines import Chunk, Done, EngineFailed
from taximeter.metering import Receipt
from tests.support.tenants import Town, open_town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

STRANGE = "cut \ud83d and \x00"
TEXT = Chunk(choices=[{"index": 0, "delta": {"content": "Hello"}, "finish_reason": None}], output_tokens=1)


@pytest.fixture
async def town(database_url: str, open_folder: Path) -> AsyncIterator[Town]:
    async with open_town(database_url, open_folder) as opened:
        yield opened


async def test_an_error_message_that_cannot_be_stored_as_it_is_releases_its_hold(town: Town) -> None:
    caller = await town.caller()
    town.engines["chat"].script = (TEXT, EngineFailed(STRANGE))
    ride = await town.metering.open(town.order(caller))
    with pytest.raises(EngineFailed):
        _ = [event async for event in ride.events()]
    receipt = (await town.records.receipts(caller, None, 9))[0]
    assert (receipt.outcome, receipt.reason, receipt.charged_utok) == ("failed", "engine_failed: cut \ufffd and \ufffd", 0)
    assert await town.open_holds() == 0
    await town.assert_books_agree()


async def test_a_detail_that_cannot_be_stored_as_it_is_is_charged_like_any_other(town: Town) -> None:
    caller = await town.caller()
    work = {"prompt_tokens": 10, "cached_tokens": 0, "output_tokens": 7, "reasoning_tokens": 0}
    town.engines["chat"].script = (TEXT, Done(work=work, detail={"finish_reason": STRANGE}))
    ride = await town.metering.open(town.order(caller))
    receipt = [event async for event in ride.events()][-1]
    assert isinstance(receipt, Receipt)
    assert receipt.charged_utok > 0
    assert (await town.records.receipt(caller, receipt.id)).detail == {"finish_reason": "cut \ufffd and \ufffd"}
    await town.assert_books_agree()


async def test_a_bug_that_one_video_meets_leaves_the_worker_to_the_others(town: Town) -> None:
    caller = await town.caller()
    town.engines["video"].script = (ValueError("a bug of an adapter"),)
    await town.videos.submit(town.order(caller, "video"))
    working = asyncio.create_task(town.runner.run())
    await until(lambda: len(town.engines["video"].jobs) > 0)
    town.engines["video"].script = (EngineFailed(STRANGE),)
    second = await town.videos.submit(town.order(caller, "video"))

    async def has_failed() -> bool:
        return (await town.videos.find(caller, second.id)).job.state == "failed"

    await until(has_failed)
    assert not working.done()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
