"""Noticing that the client has left while its request is being worked on."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.types import Receive

from taximeter.gateway.errors import ClientGone

# Most answers are ready sooner; a watcher is only started for those that are not.
WATCH_AFTER_S = 0.05


class ClientWatch:
    """``async with ClientWatch(receive):`` cancels its block and raises ClientGone when the client leaves.

    The body must have been read before: from then on ``receive`` only reports the disconnect.  Works
    as ``asyncio.timeout`` does, so that it nests with timeouts and outer cancellations.
    """

    def __init__(self, receive: Receive, after_s: float = WATCH_AFTER_S) -> None:
        self._receive = receive
        self._after_s = after_s
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    async def __aenter__(self) -> Self:
        """Start watching."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._timer = loop.call_later(self._after_s, self._start, loop)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop watching; tell a departure from any other cancellation."""
        self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._gone and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise ClientGone from error

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._watcher = loop.create_task(self._watch())

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._task.cancel()
