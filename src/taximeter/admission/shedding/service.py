"""Load shedding: what could not begin in time is refused before it is held, the most patient tiers last."""

from collections.abc import Callable
from itertools import accumulate
from typing import Protocol

from taximeter.admission.shedding.errors import Overloaded
from taximeter.admission.shedding.rules import US_PER_S, Line, Patience, Rider
from taximeter.kernel.clock import Clock
from taximeter.kernel.settings import Settings

RETRY_S_MAX = 600
SPREAD_S_MIN = 5
"""Those who are refused at once are told times that lie so far apart at least, and do not come back at once."""


class Place(Protocol):
    """A request's place in flight; given up once."""

    def begin(self) -> None:
        """Its turn has come; told any number of times."""
        ...

    def leave(self, *, worked: bool) -> None:
        """The request has ended; ``worked``: the engine had taken it."""
        ...


class Shedder:
    """Knows what this process has in flight at each engine whose capacity is known.

    Args:
        patience: of each tier.
        clock: of this process.
        chance: 0 to 1000, another number each time.
    """

    def __init__(self, patience: Patience, clock: Clock, chance: Callable[[], int]) -> None:
        self._patience = patience
        self._clock = clock
        self._chance = chance
        self._lines: dict[str, Line] = {}

    def admit(self, engine: str, slots: int | None, tier: str, rider: Rider) -> Place:
        """A place in flight.  Raises Overloaded when the request would wait for longer than its tier may.

        Args:
            engine: by its name.
            slots: how many jobs it works on at once; None: nobody knows, and nothing is refused.
            tier: of the request.
            rider: whose it is.
        """
        if slots is None:
            return _NOWHERE
        line = self._lines.get(engine)
        if line is None:
            line = self._lines[engine] = Line(slots)
        line.slots = slots
        now_us = self._now_us()
        patience = self._patience
        excess_us = patience.excess_us(tier, line.wait_us(now_us))
        if excess_us:
            # Even the last of all would be in time where there is no excess: only here is it asked whose turn comes when.
            excess_us = min(excess_us, patience.excess_us(tier, line.fair_wait_us(now_us, rider, patience.promoted_us)))
        if excess_us:
            raise self._refusal(tier, excess_us)
        line.enter(now_us, rider)
        return _Place(self, line, rider)

    def waits_s(self) -> dict[str, float | None]:
        """How long whoever came last of all would wait at each engine; None: nobody knows."""
        now_us = self._now_us()
        waits = {engine: line.wait_us(now_us) for engine, line in self._lines.items()}
        return {engine: None if wait is None else wait / US_PER_S for engine, wait in waits.items()}

    def leave(self, line: Line, rider: Rider, *, worked: bool) -> None:
        """A place is free again."""
        line.leave(self._now_us(), rider, worked=worked)

    def _refusal(self, tier: str, excess_us: int) -> Overloaded:
        retry_us = excess_us + max(excess_us, SPREAD_S_MIN * US_PER_S) * self._chance() // 1000
        retry_s = min(RETRY_S_MAX, max(1, -(-retry_us // US_PER_S)))
        message = f"more work is in flight than could begin in time for the service tier {tier}; nothing was held or run, try again in {retry_s} s"
        return Overloaded(message, headers={"retry-after": str(retry_s)})

    def _now_us(self) -> int:
        return int(self._clock.monotonic_s() * US_PER_S)


class _Place:
    """See ``Place``."""

    __slots__ = ("_begun", "_left", "_line", "_rider", "_shedder")

    def __init__(self, shedder: Shedder, line: Line, rider: Rider) -> None:
        self._shedder = shedder
        self._line = line
        self._rider = rider
        self._begun = self._left = False

    def begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._line.begin(self._rider)

    def leave(self, *, worked: bool) -> None:
        if not self._left:
            self.begin()
            self._left = True
            self._shedder.leave(self._line, self._rider, worked=worked)


class _Nowhere:
    """Where capacity is not known, nothing is counted."""

    def begin(self) -> None:
        """Nobody counts."""

    def leave(self, *, worked: bool) -> None:
        """Nobody counts."""


_NOWHERE = _Nowhere()


def patience_of(settings: Settings) -> Patience:
    """What the settings say."""
    tiers = {"priority": settings.shed_priority_s, "standard": settings.shed_standard_s, "flex": settings.shed_flex_s, "batch": settings.shed_batch_s}
    by_tier = {tier: int(seconds * US_PER_S) for tier, seconds in tiers.items()}
    bounds_s = (0, settings.queue_standard_s, settings.queue_flex_s, settings.queue_batch_s)
    return Patience(by_tier, by_tier["standard"], [seconds * US_PER_S for seconds in accumulate(bounds_s)])
