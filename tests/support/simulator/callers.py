"""Callers: what they ask for, how they are served, and what they were told.  Their notes are kept outside of the books."""

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from taximeter.admission.errors import AboveRateLimit, RateLimited
from taximeter.db.pool import DATABASE_ERRORS
from taximeter.engines import Modality
from taximeter.identity import Caller
from taximeter.kernel.errors import Refusal
from taximeter.kernel.ids import encode_id
from taximeter.metering import Order, Receipt, Replayed
from tests.support.simulator.machine import MODELS, Program
from tests.support.tenants import REQUESTS

if TYPE_CHECKING:
    from tests.support.simulator.schedule import World

CALLS_MAX = 6
AGAIN_AFTER_S = 1.5


@dataclass(eq=False)
class Deal:
    """What one caller asked for and was told.

    Attributes:
        key: the caller's own name for the request; whoever has one asks again until there is an answer.
        ids: of the requests that were made of it, as far as the gateway knew them.
    """

    number: int
    modality: Modality
    stream: bool
    caller: Caller
    starts_s: float
    key: str | None = None
    leaves_after: int | None = None
    cut_after_s: float | None = None
    request_id: UUID | None = None
    receipt: Receipt | None = None
    pieces: int = 0
    refusal: str = ""
    told: str = ""
    program: Program | None = None
    answer: "asyncio.Future[str] | None" = None
    ids: list[UUID] = field(default_factory=list)

    @property
    def says(self) -> str:
        """What stands on the receipt that came with the answer."""
        return "" if self.receipt is None else self.receipt.settlement

    @property
    def is_unanswered(self) -> bool:
        """Whether a caller with a key asks again."""
        again = ("ledger_unavailable", "ledger_busy", "disk_full", "idempotency_in_progress")
        return self.key is not None and (self.told in ("lost", "error") or (self.told == "refused" and self.refusal in again))


class Callers:
    """Plays the callers of one world, and the routes of its gateways."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def order(self, deal: Deal) -> Order:
        return Order(
            caller=deal.caller,
            model=MODELS[deal.modality][0],
            modality=deal.modality,
            request=dict(REQUESTS[deal.modality]),
            stream=deal.stream,
            idempotency_key=deal.key,
            fingerprint=bytes(32) if deal.key is not None else b"",
        )

    async def run(self, deal: Deal) -> None:
        """Ask, and with a key ask again."""
        await asyncio.sleep(deal.starts_s)
        for _ in range(CALLS_MAX):
            await self._call(deal)
            if not deal.is_unanswered:
                break
            self._world.dice.happens("asked again")
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _call(self, deal: Deal) -> None:
        """Find a gateway, ask, and note what is told."""
        world = self._world
        while True:
            gateways = [program for program in world.programs if not program.works]
            open_ones = [program for program in gateways if program.ready and program.process.alive and not program.stopping]
            if open_ones:
                break
            await asyncio.sleep(0.3)
        deal.program, deal.answer = world.rng.choice(open_ones), world.loop.create_future()
        deal.request_id, deal.receipt, deal.pieces, deal.refusal = None, None, 0, ""
        task = world.loop.spawn(deal.program.process, self._serve(deal.program, deal))
        deal.program.rides.add(task)
        task.add_done_callback(deal.program.rides.discard)
        if deal.cut_after_s is not None:
            world.loop.call_later(deal.cut_after_s, self._cut_off, deal, task)
        deal.told = await deal.answer
        world.dice.trace(f"caller {deal.number} is told: {deal.told} {deal.refusal} {deal.says}")

    def _cut_off(self, deal: Deal, task: "asyncio.Task[Any]") -> None:
        """The gateway notices that its caller has gone only once the hold is there."""
        if not task.done() and deal.request_id is not None and deal.program is not None and deal.program.process.alive:
            self._world.dice.happens("client cut off")
            task.cancel()

    async def _serve(self, program: Program, deal: Deal) -> None:
        """The gateway's side of a call."""
        answer = deal.answer
        told = "left"
        try:
            told = await (self._video(program, deal) if deal.modality == "video" else self._ride(program, deal))
        except Replayed as replayed:
            deal.receipt, told = replayed.receipt, "replayed"
        except (RateLimited, AboveRateLimit) as refusal:
            told, deal.refusal = "limited", refusal.code
        except Refusal as refusal:
            told, deal.refusal = "refused", refusal.code
        except DATABASE_ERRORS as error:
            told, deal.refusal = "error", type(error).__name__
        finally:
            assert answer is not None
            if not answer.done():
                answer.set_result(told)

    async def _video(self, program: Program, deal: Deal) -> str:
        dice = self._world.dice
        view = await program.videos.submit(self.order(deal))
        deal.request_id = view.job.id
        deal.ids.append(view.job.id)
        if not dice.strikes("video deleted", 0.2):
            return "ordered"
        await asyncio.sleep(dice.rng.random() * 3)
        await program.videos.delete(deal.caller, encode_id("video", view.job.id))
        return "deleted"

    async def _ride(self, program: Program, deal: Deal) -> str:
        ride = await program.metering.open(self.order(deal))
        deal.request_id = ride.id
        deal.ids.append(ride.id)
        events = ride.events()
        try:
            async for event in events:
                if isinstance(event, Receipt):
                    deal.receipt = event
                    if deal.key is not None and not deal.stream:
                        await program.metering.keep_answer(ride.id, 200, "application/json", b"{}")
                    return "receipt"
                deal.pieces += 1
                if deal.pieces == deal.leaves_after:
                    self._world.dice.happens("client left")
                    return "left"
        finally:
            await events.aclose()
        message = "a ride ended without a receipt"
        raise AssertionError(message)
