"""One synchronous request: the engine runs under a hold, and every way out ends the hold once."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from taximeter.admission import breakers, fairness
from taximeter.engines import Chunk, Done, Engine, EngineError, EngineFailed, EngineTimeout, Event, Job, Media, Vectors
from taximeter.kernel.clock import utc_from_ms
from taximeter.kernel.errors import Refusal
from taximeter.kernel.faults import reach
from taximeter.kernel.ids import encode_id
from taximeter.kernel.patience import Patience
from taximeter.kernel.units import format_tokens
from taximeter.ledger import Kind, Operation, Outcome, Status
from taximeter.metering import model
from taximeter.metering.desk import Desk, Held, use_quote, wallet_of
from taximeter.metering.fares import Fare
from taximeter.metering.guard import Passage
from taximeter.metering.model import Order, Receipt
from taximeter.metering.rules import NOTHING, Bill, bill, encode_fact, key_fact, receipt_fact, terms_of
from taximeter.meters import BadReport


class Ride:
    """A request whose maximum is held.  ``events`` runs it; without that, nothing ends the hold but the sweeper.

    Attributes:
        limits: headers that say what is left of the limits that it met.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - made in one place
        self, desk: Desk, order: Order, fare: Fare, engine: Engine, job: Job, request_id: UUID, held: Held, passage: Passage
    ) -> None:
        self.id = request_id
        self.fare = fare
        self.balance_utok = held.available_utok
        self.limits: Mapping[str, str] = held.told
        self.created_at: datetime = utc_from_ms(desk.clock.now_ms())
        self._desk = desk
        self._order = order
        self._engine = engine
        self._job = job
        self._passage = passage
        self._held_utok = held.total_utok
        self._output_tokens = 0
        self._terms = terms_of(fare)
        self._seat = None if desk.room is None or not held.notes else desk.room.seat(request_id, fare.model.engine or "", held, job.deadline_s)
        self._ended = False

    @property
    def created_at_s(self) -> int:
        """Unix seconds, for OpenAI's ``created``."""
        return int(self.created_at.timestamp())

    @property
    def service_tier(self) -> str:
        """The tier it runs in, by OpenAI's name: the standard one is ``default``."""
        return "default" if self.fare.tier == "standard" else self.fare.tier

    @property
    def expected_work(self) -> Mapping[str, int]:
        """What it was estimated to take."""
        return self.fare.estimate.expected

    def headers(self) -> dict[str, str]:
        """The ``taximeter-*`` headers that are known before the engine runs."""
        return {
            "taximeter-receipt": encode_id(model.RECEIPT_PREFIX, self.id),
            "taximeter-tokens-held": format_tokens(self._held_utok),
            "taximeter-balance": format_tokens(self.balance_utok),
            "taximeter-rate-card": self.fare.parts.rate_card,
            **model.quote_header(self._order.quote_id),
            **model.multiplier_header(self.fare.parts.multiplier, in_motion=self._desk.surge.on),
            **self._waited(),
        }

    def _waited(self) -> dict[str, str]:
        return {} if self._seat is None else self._seat.headers()

    async def events(self) -> AsyncGenerator[Chunk | Media | Vectors | Receipt, None]:
        """Run the engine; the last item is the receipt, settled.

        When the engine is wanted by many it waits for its turn first.
        When the engine fails, the hold is released and the EngineError (or BadReport) is raised; likewise QueueTimeout, and
        EngineCircuitOpen when its breaker has opened since the hold.
        Closing the generator early means that the caller has gone: a streamed text is charged for
        what was generated until then, anything else costs nothing.
        """
        done: Done | None = None
        run: AsyncIterator[Event] | None = None
        patience = await self._take_turn()
        try:
            run = self._begin()
            while True:
                # Around each wait alone: a timeout must not reach across a yield into the caller's code.
                with patience:
                    event = await anext(run, None)
                if isinstance(event, Chunk):
                    self._output_tokens = event.output_tokens or self._output_tokens + 1
                    yield event
                elif event is None:
                    break
                elif isinstance(event, Done):
                    done = event
                elif isinstance(event, (Media, Vectors)):
                    yield event
            if done is None:
                message = f"the engine of {self.fare.model.name} stopped without a report; nothing was charged"
                raise EngineFailed(message)
            charge = bill(self._terms, done.work, measured=done.measured)
            receipt = await self._end(Kind.SETTLE, charge, "truncated" if done.truncated else "completed", None, done)
        except TimeoutError as error:
            message = f"{self.fare.model.name} did not finish within {self._job.deadline_s:g} seconds; nothing was charged"
            timeout = EngineTimeout(message)
            await self._release(timeout)
            raise timeout from error
        except (EngineError, BadReport, breakers.EngineCircuitOpen) as error:
            await self._release(error)
            raise
        finally:
            patience.close()
            # The hold is open here only when the caller left, this task is being cancelled, or a bug came up.
            leaving = None if self._ended else self._desk.spawn(self._leave() if _is_departure(sys.exception()) else self._break_off())
            await _close(run)
            if leaving is not None:
                await asyncio.shield(leaving)
        yield receipt

    def _begin(self) -> AsyncIterator[Event]:
        self._passage.check()
        return self._engine.run(self._job)

    async def _take_turn(self) -> Patience:
        """Wait for a slot of the engine, if it is wanted by many; from then on its time runs.  Whatever else ends the wait ends the hold."""
        if self._seat is None:
            self._passage.begin()
            return Patience(self._job.deadline_s)
        granted = False
        try:
            await self._seat.turn()
            granted = True
        except fairness.QueueTimeout as error:
            await self._release(error)
            raise
        finally:
            if not granted and not self._ended:
                await asyncio.shield(self._desk.spawn(self._leave()))
        self._passage.begin()
        return Patience(self._job.deadline_s)

    async def _leave(self) -> None:
        """The caller has gone."""
        if not (self._order.stream and self._order.modality == "chat" and self._output_tokens):
            await self._end(Kind.VOID, NOTHING, "disconnected", "the caller left before anything was delivered; nothing was charged")
            return
        expected = self.fare.estimate.expected
        reported = {
            "prompt_tokens": expected.get("prompt_tokens", 0),
            "cached_tokens": 0,
            "output_tokens": min(self._output_tokens, self._job.bound["output_tokens"]),
            "reasoning_tokens": 0,
        }
        charge = bill(self._terms, reported, measured=False)
        reason = f"the caller left after {self._output_tokens} tokens were generated; only these are charged"
        await self._end(Kind.SETTLE, charge, "disconnected", reason)

    async def _break_off(self) -> None:
        """A bug, here or in the engine: nobody pays for what it interrupted."""
        await self._end(Kind.VOID, NOTHING, "failed", "internal_error: a bug interrupted the request; nothing was charged")

    async def _release(self, error: Refusal) -> None:
        self._passage.failed(error)
        await self._end(Kind.VOID, NOTHING, "failed", f"{error.code}: {error.message}")

    async def _end(self, kind: Kind, charge: Bill, outcome: model.Outcome, reason: str | None, done: Done | None = None) -> Receipt:
        """End the hold, once.  When the database is slow or away the answer does not wait: its receipt says pending."""
        assert not self._ended
        if done is not None:
            self._passage.succeeded()
            if self._seat is not None:
                self._seat.leave(charge.consumed_utok)
        self._passage.given_back(worked=self._output_tokens > 0)
        reach("metering.ride.ended")
        detail = {} if done is None else done.detail
        engine_ms = 0 if done is None else done.engine_ms
        fact: dict[str, Any] = {"receipt": receipt_fact(charge, outcome, reason, detail, engine_ms)}
        if self._order.idempotency_key is not None and kind is Kind.SETTLE:
            # Should the hold have expired and the key gone to a repeat, then the repeat is charged and this one is not.
            fact["idempotency"] = key_fact(self._order)
        if kind is Kind.SETTLE:
            # The same goes for its quote.
            use_quote(self._order, fact)
            if self._order.caller.terms.budgets:
                fact["budgets"] = True
        charged_utok = charge.charged_utok if kind is Kind.SETTLE else 0
        lane = wallet_of(self._order.caller).lane
        operation = Operation(id=self.id, kind=kind, lane=lane, amount_utok=charged_utok, fact=encode_fact(fact))
        self._ended = True
        posted = await self._desk.settlements.settle(operation)
        reach("metering.ride.settled")
        # The sweeper may have been first; what it wrote stands.
        expected = (Status.APPLIED, Status.REPLAYED, Status.SETTLED_LATE, Status.ALREADY_RESOLVED)
        assert posted is None or posted.status in expected, posted
        return self._receipt(charge, outcome, reason, done, posted)

    def _receipt(
        self,
        charge: Bill = NOTHING,
        outcome: model.Outcome | None = None,
        reason: str | None = None,
        done: Done | None = None,
        posted: Outcome | None = None,
    ) -> Receipt:
        parts, money = self.fare.parts, self.fare.priced.price(self.fare.buyer)
        detail: dict[str, Any] = {} if done is None else done.detail
        return Receipt(
            id=self.id,
            model=self.fare.model.name,
            modality=self.fare.model.modality,
            rate_card=parts.rate_card,
            tariff=parts.tariff,
            service_tier=self.fare.tier,
            multiplier=charge.multiplier if charge.multipliers else parts.multiplier,
            multipliers=charge.multipliers,
            price=model.Price(money.currency, money.price_nano),
            held_utok=self._held_utok,
            created_at=self.created_at,
            outcome=outcome,
            reason=reason,
            work=charge.work,
            measured=charge.measured,
            consumed_utok=charge.consumed_utok,
            charged_utok=charge.charged_utok if posted is None else posted.total_utok,
            settlement="pending" if posted is None else "settled",
            lines=charge.lines,
            detail=detail,
            engine_ms=0 if done is None else done.engine_ms,
            settled_at=None if posted is None else utc_from_ms(self._desk.clock.now_ms()),
            balance_utok=self.balance_utok if posted is None else posted.available_utok,
            quote=self._order.quote_id,
            in_motion=self._desk.surge.on,
            waited=self._waited(),
        )


def _is_departure(error: BaseException | None) -> bool:
    return isinstance(error, (GeneratorExit, asyncio.CancelledError))


async def _close(run: Any) -> None:  # noqa: ANN401 - an engine's iterator; only generators can be closed
    close = getattr(run, "aclose", None)
    if close is not None:
        await close()
