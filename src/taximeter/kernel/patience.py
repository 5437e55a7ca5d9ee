"""One limit of time over many waits."""

import asyncio
from types import TracebackType
from typing import Self


class Patience:
    """``with patience:`` around a wait raises TimeoutError when ``seconds`` have passed since it was made.

    It does to each wait what ``asyncio.timeout_at`` would do, and needs one timer for all of them: a stream waits for
    each of its tokens.  Between the waits nothing is interrupted.
    """

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False
        self._interrupted = False
        self._timer: asyncio.Handle = self._loop.call_later(seconds, self._expire)

    def __enter__(self) -> Self:
        """A wait begins."""
        task = self._task = asyncio.current_task(self._loop)
        assert task is not None
        self._cancelling = task.cancelling()
        if self._expired:
            # What is there already may still be taken.
            self._timer = self._loop.call_soon(self._interrupt)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """The wait is over; tell its interruption from any other cancellation."""
        task, self._task = self._task, None
        if not self._expired:
            return
        self._timer.cancel()
        if self._interrupted:
            self._interrupted = False
            assert task is not None
            if task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def close(self) -> None:
        """There is nothing more to wait for."""
        self._timer.cancel()

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._interrupt()

    def _interrupt(self) -> None:
        assert self._task is not None
        self._interrupted = True
        self._task.cancel()
