"""When a settlement goes to the spool, and what an answer may say about it."""

import asyncio
import errno
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from taximeter.kernel.clock import ManualClock
from taximeter.ledger import Books, Kind, Operation, Outcome, Status
from taximeter.metering.settlements import Settlements
from taximeter.metering.spool import Spool, spool_folder, survey
from tests.support.waiting import until

pytestmark = pytest.mark.anyio

OPERATION = Operation(id=UUID(int=1), kind=Kind.SETTLE, lane=0, amount_utok=3, fact="{}")
APPLIED = Outcome(Status.APPLIED, 3, 7)


class SlowBooks(Books):
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.down_s = 0.0
        self.answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.posted: list[Operation] = []

    def begin(self, operation: Operation) -> asyncio.Future[Outcome]:
        self.posted.append(operation)
        return asyncio.shield(self.answer)

    def down_for_s(self, lane: int) -> float:
        assert lane == 0
        return self.down_s


def make(home: Path, patience_s: float) -> tuple[SlowBooks, Path, Settlements]:
    books, folder = SlowBooks(), spool_folder(home)
    return books, folder, Settlements(books, Spool(folder, UUID(int=9), ManualClock()), patience_s)


async def test_books_that_answer_leave_nothing_on_the_disk(tmp_path: Path) -> None:
    books, folder, settlements = make(tmp_path, 60)
    books.answer.set_result(APPLIED)
    assert await settlements.settle(OPERATION) == APPLIED
    await settlements.close()
    assert list(folder.iterdir()) == []


async def test_slow_books_make_it_pending_and_the_entry_goes_when_they_have_posted(tmp_path: Path) -> None:
    books, folder, settlements = make(tmp_path, 0.01)
    assert await settlements.settle(OPERATION) is None
    assert survey(folder)[0] == 1
    books.answer.set_result(APPLIED)
    await until(lambda: survey(folder)[0] == 0)
    assert books.posted == [OPERATION]
    await settlements.close()


async def test_an_outage_that_is_older_than_the_patience_is_not_waited_for(tmp_path: Path) -> None:
    books, folder, settlements = make(tmp_path, 60)
    books.down_s = 61
    assert await asyncio.wait_for(settlements.settle(OPERATION), 5) is None
    assert survey(folder)[0] == 1
    await settlements.close()
    # The books did not answer before the end: it stays for the next process.
    assert survey(folder)[0] == 1


async def test_a_disk_that_fails_too_makes_the_answer_wait_and_not_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    books, _, settlements = make(tmp_path, 0.0)

    async def fail(_spool: Spool, _operation: Operation) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "keep", fail)
    waiting = asyncio.create_task(settlements.settle(OPERATION))
    await until(lambda: "cannot be spooled" in caplog.text)
    assert not waiting.done()
    books.answer.set_result(APPLIED)
    assert await waiting == APPLIED
    await settlements.close()


async def test_a_caller_that_is_cancelled_does_not_take_the_settlement_along(tmp_path: Path) -> None:
    _, folder, settlements = make(tmp_path, 0.05)
    waiting = asyncio.create_task(settlements.settle(OPERATION))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await settlements.finish(5)
    assert survey(folder)[0] == 1
    await settlements.close()


async def test_an_operation_that_the_database_rejects_stays_for_a_person(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    books, folder, settlements = make(tmp_path, 0.0)
    assert await settlements.settle(OPERATION) is None
    books.answer.set_exception(asyncpg.CheckViolationError("bad"))
    await until(lambda: "was rejected" in caplog.text)
    await settlements.close()
    assert survey(folder)[0] == 1


async def test_who_waits_for_the_outcome_gets_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    books, folder, settlements = make(tmp_path, 0.01)
    waiting = asyncio.create_task(settlements.settle_and_wait(OPERATION))
    await until(lambda: survey(folder)[0] == 1)
    assert not waiting.done()
    books.answer.set_result(APPLIED)
    assert await waiting == APPLIED
    await until(lambda: survey(folder)[0] == 0)
    await settlements.close()


async def test_who_waits_for_the_outcome_of_books_that_answer_never_sees_the_disk(tmp_path: Path) -> None:
    books, folder, settlements = make(tmp_path, 60)
    books.answer.set_result(APPLIED)
    assert await settlements.settle_and_wait(OPERATION) == APPLIED
    await settlements.finish(5)
    assert list(folder.iterdir()) == []
    await settlements.close()
