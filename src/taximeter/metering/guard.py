"""What stands between an order and its engine: the circuit breaker, and the place in flight."""

from collections.abc import Callable
from uuid import UUID

from taximeter.admission import breakers, shedding
from taximeter.engines import Engine, EngineError, EngineRefused
from taximeter.kernel.clock import Clock
from taximeter.kernel.errors import Refusal
from taximeter.kernel.settings import Settings
from taximeter.metering.fares import Fare
from taximeter.meters import BadReport

PROBE_GRACE_S = 5.0


class Passage:
    """A request's leave to call its engine.  How the call ended is told once; what comes later changes nothing."""

    __slots__ = ("_call", "_place")

    def __init__(self, call: breakers.Call, place: shedding.Place | None = None) -> None:
        self._call = call
        self._place = place

    def check(self) -> None:
        """Raises EngineCircuitOpen when the breaker has opened since."""
        self._call.check()

    def begin(self) -> None:
        """Its turn has come."""
        if self._place is not None:
            self._place.begin()

    def succeeded(self) -> None:
        """The engine did what it was asked."""
        self._call.succeeded()
        self._leave(worked=True)

    def failed(self, error: Refusal) -> None:
        """The engine ended with an error.  What it refuses is its caller's fault, and no failure."""
        if is_failure(error):
            self._call.failed(error.code)
        else:
            self._call.given_back()
        self._leave(worked=False)

    def given_back(self, *, worked: bool = False) -> None:
        """It ended without a word about the engine: its caller left or was refused, or a bug of ours came up."""
        self._call.given_back()
        self._leave(worked=worked)

    def _leave(self, *, worked: bool) -> None:
        if self._place is not None:
            self._place.leave(worked=worked)


class Guard:
    """Lets orders through to engines that work and have room.

    Args:
        settings: when breakers open, and how patient each tier is.
        clock: of this process.
        chance: 0 to 1000, another number each time.
    """

    def __init__(self, settings: Settings, clock: Clock, chance: Callable[[], int]) -> None:
        self.breakers = breakers.Breakers(breakers.rules_of(settings), clock, chance)
        self.shedder = shedding.Shedder(shedding.patience_of(settings), clock, chance)

    def enter(self, engine: Engine, fare: Fare, rider: shedding.Rider, timeout_s: float, project: UUID) -> Passage:
        """Leave for one request that is about to be held.  Raises Overloaded, EngineCircuitOpen."""
        name = fare.model.engine or ""
        # An engine of another package may be older than the property, and says nothing.
        place = self.shedder.admit(name, getattr(engine, "slots", None), fare.tier, rider)
        try:
            return Passage(self.breakers.admit(name, fare.model.id, timeout_s + PROBE_GRACE_S, project), place)
        except breakers.EngineCircuitOpen:
            place.leave(worked=False)
            raise

    def claimed(self, engine: str, model: str, timeout_s: float, project: UUID | None = None) -> Passage:
        """Leave for one attempt at a job that a worker has claimed.  Raises EngineCircuitOpen."""
        # Of jobs the queue says which one is next: put back, it would be claimed again at once.
        return Passage(self.breakers.admit(engine, model, timeout_s + PROBE_GRACE_S, project, yields=False))

    def watched(self, engine: str, model: str, project: UUID | None = None) -> Passage:
        """A question about a job that is at its provider: it is asked in any case."""
        return Passage(self.breakers.watched(engine, model, project))


def is_failure(error: Refusal) -> bool:
    """Whether an error speaks against the engine."""
    return isinstance(error, BadReport) or (isinstance(error, EngineError) and not isinstance(error, EngineRefused))
