"""How holds are ended: through the books, and by way of the spool while the database is slow or away."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from taximeter.ledger import Books, Operation, Outcome
from taximeter.metering.spool import Spool

log = logging.getLogger(__name__)


class Settlements:
    """Posts resolutions.

    One that the books have not posted within ``patience_s`` goes to the spool as well, and is then not lost with this
    process.  Both ways use the same operation with the same id, so it takes effect once.
    """

    def __init__(self, books: Books, spool: Spool, patience_s: float) -> None:
        self._books = books
        self._spool = spool
        self._patience_s = patience_s
        self._posting: set[asyncio.Future[Outcome]] = set()
        self._keeping: set[asyncio.Task[Any]] = set()

    async def settle(self, operation: Operation) -> Outcome | None:
        """End a hold.  None: the database is slow or away, the operation is safe on the disk and will be posted.

        Runs on when the caller is cancelled.  When the disk fails too, it waits for the database: it never says that
        something is kept which is not.
        """
        posting = self._begin(operation)
        try:
            await asyncio.wait({posting}, timeout=self._patience_for(operation))
        except asyncio.CancelledError:
            self._watch(operation, posting)
            raise
        if not posting.done():
            await asyncio.shield(_start(self._keep(operation, posting), self._keeping))
        return posting.result() if posting.done() else None

    async def settle_and_wait(self, operation: Operation) -> Outcome:
        """End a hold and wait for its outcome for as long as it takes; kept in the spool meanwhile."""
        posting = self._begin(operation)
        self._watch(operation, posting)
        return await asyncio.shield(posting)

    async def finish(self, grace_s: float) -> None:
        """Wait until everything that was begun is posted or on the disk."""
        if self._keeping:
            _, late = await asyncio.wait(self._keeping, timeout=grace_s)
            if late:
                log.error("%s settlements were neither posted nor kept before the end; their holds will expire", len(late))

    async def close(self) -> None:
        """Stop waiting for the books, which are closed.  What they have not posted stays in the spool."""
        for waiting in self._posting | self._keeping:
            waiting.cancel()
        await asyncio.gather(*self._posting, *self._keeping, return_exceptions=True)
        if self._spool.entries:
            log.warning("%s settlements stay in the spool until a process of this home starts", self._spool.entries)
        await self._spool.close()

    def _begin(self, operation: Operation) -> asyncio.Future[Outcome]:
        posting = self._books.begin(operation)
        self._posting.add(posting)
        posting.add_done_callback(lambda done: self._ended(done, operation))
        return posting

    def _ended(self, posting: asyncio.Future[Outcome], operation: Operation) -> None:
        self._posting.discard(posting)
        error = None if posting.cancelled() else posting.exception()
        if error is not None:
            log.error("settlement %s was rejected: %r", operation.id, error)

    def _patience_for(self, operation: Operation) -> float:
        """An outage that is older than our patience has used it up."""
        return max(0.0, self._patience_s - self._books.down_for_s(operation.lane))

    def _watch(self, operation: Operation, posting: asyncio.Future[Outcome]) -> None:
        watching = _start(self._keep_if_late(operation, posting), self._keeping)
        watching.set_name(f"settlement {operation.id}")

    async def _keep_if_late(self, operation: Operation, posting: asyncio.Future[Outcome]) -> None:
        await asyncio.wait({posting}, timeout=self._patience_for(operation))
        if not posting.done():
            await self._keep(operation, posting)

    async def _keep(self, operation: Operation, posting: asyncio.Future[Outcome]) -> None:
        try:
            number = await self._spool.keep(operation)
        except OSError:
            log.exception("settlement %s cannot be spooled; it waits for the database in memory", operation.id)
            await asyncio.wait({posting})
            return
        posting.add_done_callback(lambda done: self._forget(done, number))

    def _forget(self, posting: asyncio.Future[Outcome], number: int) -> None:
        if not posting.cancelled() and posting.exception() is None:
            self._spool.posted(number)


def _start(work: Coroutine[Any, Any, Any], among: set[asyncio.Task[Any]]) -> asyncio.Task[Any]:
    task = asyncio.create_task(work)
    among.add(task)
    task.add_done_callback(among.discard)
    return task
