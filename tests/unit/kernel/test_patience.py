"""One limit of time over many waits does to each what a timeout of its own would do."""

import asyncio

import pytest

from taximeter.kernel.patience import Patience

pytestmark = pytest.mark.anyio


async def expired(patience: Patience) -> None:
    """Wait until its time is over."""
    while not patience._expired:
        await asyncio.sleep(0)


async def test_a_wait_that_ends_in_time_is_not_touched() -> None:
    patience = Patience(60)
    for number in range(3):
        with patience:
            assert await asyncio.sleep(0, number) == number
    patience.close()
    assert patience._timer.cancelled()


async def test_a_wait_that_lasts_is_ended_by_a_timeout() -> None:
    patience = Patience(0.01)
    with pytest.raises(TimeoutError), patience:
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_between_two_waits_nothing_is_interrupted() -> None:
    patience = Patience(0)
    await expired(patience)
    await asyncio.sleep(0)
    with patience:
        pass
    with pytest.raises(TimeoutError), patience:
        await asyncio.Event().wait()


async def test_what_is_there_already_may_be_taken_when_the_time_is_over() -> None:
    patience = Patience(0)
    await expired(patience)
    ready: asyncio.Queue[int] = asyncio.Queue()
    ready.put_nowait(7)
    with patience:
        assert await ready.get() == 7
    # Nor does the interruption come later.
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_a_cancellation_from_outside_stays_one() -> None:
    patience = Patience(60)

    async def wait() -> None:
        with patience:
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()


async def test_a_cancellation_that_meets_the_timeout_wins() -> None:
    patience = Patience(60)

    async def wait() -> None:
        with patience:
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    patience._expire()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    patience.close()


async def test_each_wait_may_be_another_tasks() -> None:
    patience = Patience(0.02)

    async def wait(seconds: float) -> str:
        with patience:
            await asyncio.sleep(seconds)
        return "done"

    assert await asyncio.create_task(wait(0)) == "done"
    with pytest.raises(TimeoutError):
        await asyncio.create_task(wait(60))


async def test_an_outer_timeout_is_told_from_the_inner_one() -> None:
    patience = Patience(60)

    async def wait() -> None:
        with patience:
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(wait(), 0.01)
    patience.close()
