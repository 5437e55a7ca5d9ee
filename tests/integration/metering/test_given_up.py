"""A hold whose answer never came: refused to its caller, made all the same, and taken back with everything that began with it."""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg
import pytest

from taximeter.admission.errors import RateLimited
from taximeter.db.pool import connect_app, connect_owner
from taximeter.kernel.clock import ManualClock
from taximeter.ledger import Books, Limits, Operation, Outcome, Status
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


async def test_a_video_above_the_keys_limit_is_not_made_when_an_earlier_copy_of_its_hold_is_granted(town: Town, database_url: str) -> None:
    """The connection breaks, the second copy is refused, and the first waits in the database until the minute is over."""
    caller = replace(await town.caller("1000"), requests_per_minute=1, tokens_per_minute_utok=1_000_000_000)
    before = await town.wallet(caller)
    owner, other = await connect_owner(database_url), await connect_app(database_url)
    batches: list[list[Operation]] = []

    async def lose_the_first(connection: asyncpg.Connection, lane: int, operations: Sequence[Operation]) -> list[Outcome]:
        batches.append(list(operations))
        if len(batches) == 1:
            message = "connection was closed in the middle of operation"
            raise asyncpg.ConnectionDoesNotExistError(message)
        if len(batches) == 3:
            # The minute is over, and the first copy is before the void.
            await owner.execute("update admission.buckets set requests_at = 0")
            assert [outcome.status for outcome in await post(other, lane, batches[0])] == [Status.APPLIED]
        return await post(connection, lane, operations)

    await owner.execute(
        "insert into admission.buckets (id, requests_at) values ($1, (extract(epoch from now()) * 1000000000)::bigint + 59 * 1000000000::bigint)",
        caller.key_id,
    )
    town.office.desk.books = books = Books(lambda: connect_app(database_url), lose_the_first, ManualClock(), Limits())
    with pytest.raises(RateLimited):
        await town.videos.submit(town.order(caller, "video"))

    async def is_ended() -> bool:
        return bool(await town.office.pool.fetchval("select count(*) from metering.receipts"))

    await until(is_ended)
    ((held,), *_) = batches
    job = await town.office.jobs.find(held.id, caller.project_id)
    assert job is not None
    assert (job.state, await town.open_holds(), await town.wallet(caller)) == ("failed", 0, before)
    # What the copy had taken of the key's Tokens is there again: the next one may take all of them.
    taken_ns = await owner.fetchval("select tokens_at - (extract(epoch from now()) * 1000000000)::bigint from admission.buckets")
    assert taken_ns <= 0
    await town.assert_books_agree()
    await books.close()
    await owner.close()
    await other.close()
