"""A hold whose answer never came: refused to its caller, made all the same, and taken back with everything that began with it."""

from collections.abc import Sequence

import asyncpg
import pytest

from taximeter.db.pool import connect_app
from taximeter.kernel.clock import ManualClock
from taximeter.ledger import Books, Limits, Operation, Outcome
from taximeter.ledger.errors import LedgerUnavailable
from taximeter.metering.store import post
from tests.support.tenants import Town
from tests.support.waiting import until

pytestmark = pytest.mark.anyio


async def test_a_video_that_was_refused_for_want_of_an_answer_is_not_made(town: Town, database_url: str) -> None:
    caller = await town.caller("1000")
    before = await town.wallet(caller)
    clock = ManualClock()
    batches: list[list[Operation]] = []

    async def lose_the_first_answer(connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        batches.append(list(operations))
        outcomes = await post(connection, lane, operations)
        if len(batches) == 1:
            clock.advance(10)
            message = "connection was closed in the middle of operation"
            raise asyncpg.ConnectionDoesNotExistError(message)
        return outcomes

    town.office.desk.books = books = Books(lambda: connect_app(database_url), lose_the_first_answer, clock, Limits(hold_patience_s=5.0))
    with pytest.raises(LedgerUnavailable):
        await town.videos.submit(town.order(caller, "video"))
    (held,) = batches[0]

    async def is_released() -> bool:
        return await town.open_holds() == 0

    await until(is_released)
    job = await town.office.jobs.find(held.id, caller.project_id)
    assert job is not None
    assert (job.state, job.error_code) == ("failed", "ledger_unavailable")
    assert await town.office.jobs.claim("video", 5) is None
    receipt = await town.records.receipt(caller, held.id)
    assert (receipt.outcome, receipt.charged_utok) == ("failed", 0)
    assert await town.wallet(caller) == before
    await town.assert_books_agree()
    await books.close()
