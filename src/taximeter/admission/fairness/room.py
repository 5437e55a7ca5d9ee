"""Where requests of one gateway process wait for their turn, and hear that it has come."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import asyncpg

from taximeter.admission.fairness.errors import QueueTimeout
from taximeter.admission.fairness.model import NOTE, Standing
from taximeter.admission.fairness.store import QueueStore
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.kernel.clock import Clock
from taximeter.ledger import Outcome

log = logging.getLogger(__name__)

CHANNEL = "taximeter_places"
LOOK_S = 2.0
"""How often those who wait look for themselves: a notification that was lost delays them by this much."""
HEARD_MAX = 4096
"""Grants that are remembered: one may be told before its request begins to wait."""
RETRY_S = 0.5
WANTED_S = 1.0
"""When somebody came here and had to wait, others are likely to wait for so long: in other processes, or with their hold on its way."""
RETRY_AFTER_S = (5, 60)


class WaitingRoom:
    """One connection that listens, and everybody who waits.

    Nothing is opened before the first one waits.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]], store: QueueStore, clock: Clock, wait_max_s: float) -> None:
        self.store = store
        self.wait_max_s = wait_max_s
        self.clock = clock
        self._connect = connect
        self._waiting: dict[UUID, asyncio.Future[bool]] = {}
        self._heard: OrderedDict[UUID, None] = OrderedDict()
        self._wanted = asyncio.Event()
        # How many wait for each engine, and whose slots are to be handed over; None: nobody listens, and nobody could do it.
        self._line: Counter[str] = Counter()
        self._wanted_until_s: dict[str, float] = {}
        self._left: list[tuple[UUID, int]] | None = None
        self._leaving = asyncio.Event()

    def seat(self, request_id: UUID, pool: str, held: Outcome, wait_max_s: float) -> "Seat | None":
        """A seat for a request whose hold took a place in an engine's pool; None when its engine has no queue."""
        for note in held.notes:
            if note.kind == NOTE:
                standing = Standing(note.first, None if note.second < 0 else note.second)
                if standing.position > 0:
                    self._wanted_until_s[pool] = self.clock.monotonic_s() + WANTED_S
                return Seat(self, request_id, pool, standing, min(wait_max_s, self.wait_max_s))
        return None

    async def granted(self, request_id: UUID, pool: str, patience_s: float) -> bool:
        """Wait until a request has its turn; False when its place is gone.  Raises TimeoutError."""
        if self._heard.pop(request_id, 0) is None:
            return True
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = turn
        self._line[pool] += 1
        self._wanted.set()
        try:
            async with asyncio.timeout(patience_s):
                return await turn
        finally:
            del self._waiting[request_id]
            self._line[pool] -= 1

    def left(self, request_id: UUID, pool: str, used_utok: int) -> None:
        """An engine is through with a request: the next one need not wait for the settlement.  Best effort."""
        if self._left is None:
            return
        if self._line[pool] > 0 or self.clock.monotonic_s() < self._wanted_until_s.get(pool, 0.0):
            self._left.append((request_id, used_utok))
            self._leaving.set()

    async def run(self) -> None:
        """Listen until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._listen()
            except DATABASE_ERRORS as error:
                log.warning("the queue is not heard, trying again: %s", error)
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        connection = await self._connect()
        lost = asyncio.Event()
        handing: asyncio.Task[None] | None = None
        try:
            connection.add_termination_listener(lambda *_: lost.set())
            await connection.add_listener(CHANNEL, self._hear)
            handing = asyncio.create_task(self._hand_over(connection), name="hand-over")
            while not lost.is_set():
                # The first look is for what was told before anybody listened.
                await self._look()
                try:
                    async with asyncio.timeout(LOOK_S):
                        await lost.wait()
                except TimeoutError:
                    continue
        finally:
            self._left = None
            if handing is not None:
                handing.cancel()
            connection.terminate()

    async def _hand_over(self, connection: asyncpg.Connection) -> None:
        """Hand slots over while the connection lasts.  What fails is done by the settlements."""
        self._left = []
        while True:
            await self._leaving.wait()
            self._leaving.clear()
            left, self._left = self._left or [], []
            try:
                for request_id in await self.store.hand_over(connection, left):
                    self._tell(request_id, granted=True)
            except DATABASE_ERRORS as error:
                log.warning("%s slots were not handed over, their settlements will do it: %s", len(left), error)

    async def _look(self) -> None:
        asked = tuple(self._waiting)
        if not asked:
            return
        found = await self.store.tend(asked)
        for request_id in asked:
            granted = found.get(request_id)
            if granted is not False:
                self._tell(request_id, granted=granted is True)

    def _hear(self, _connection: Any, _process: int, _channel: str, payload: object) -> None:  # noqa: ANN401 - the driver's
        request_id = UUID(str(payload))
        if request_id in self._waiting:
            self._tell(request_id, granted=True)
            return
        self._heard[request_id] = None
        if len(self._heard) > HEARD_MAX:
            self._heard.popitem(last=False)

    def _tell(self, request_id: UUID, *, granted: bool) -> None:
        turn = self._waiting.get(request_id)
        if turn is not None and not turn.done():
            turn.set_result(granted)


class Seat:
    """One request's wait.

    Attributes:
        position: how many were before it when it came, itself included; 0: it had not to wait.
        wait_ms: how long it has waited.
    """

    def __init__(self, room: WaitingRoom, request_id: UUID, pool: str, standing: Standing, wait_max_s: float) -> None:
        self.position = standing.position
        self.wait_ms = 0
        self._room = room
        self._id = request_id
        self._pool = pool
        self._expected_ms = standing.wait_ms
        self._wait_max_s = wait_max_s

    async def turn(self) -> None:
        """Wait for the turn.  Raises QueueTimeout."""
        if self.position == 0:
            return
        began_s = self._room.clock.monotonic_s()
        try:
            granted = await self._room.granted(self._id, self._pool, self._wait_max_s)
        except TimeoutError:
            granted = False
        finally:
            self.wait_ms = round((self._room.clock.monotonic_s() - began_s) * 1000)
        if granted:
            return
        after_s = max(RETRY_AFTER_S[0], min(RETRY_AFTER_S[1], (self._expected_ms or 0) // 1000))
        message = (
            f"all slots of the engine were taken for {self.wait_ms / 1000:.0f} seconds; nothing was run or charged,"
            f" try again in {after_s} s, or in a quicker service tier"
        )
        raise QueueTimeout(message, headers={"retry-after": str(after_s), "x-should-retry": "false", **self.headers()})

    def leave(self, used_utok: int) -> None:
        """The engine is through with it, and it consumed so much."""
        self._room.left(self._id, self._pool, used_utok)

    def headers(self) -> dict[str, str]:
        """What the answer tells of the wait."""
        return {"taximeter-queue-position": str(self.position), "taximeter-queue-wait-ms": str(self.wait_ms)}
