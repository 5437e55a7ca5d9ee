"""Load shedding: what could not begin in time is refused before it is held, the most patient tiers last."""

from collections.abc import Callable
from typing import Protocol

from taximeter.admission.shedding.errors import Overloaded
from taximeter.admission.shedding.rules import US_PER_S, Line, Patience
from taximeter.kernel.clock import Clock
from taximeter.kernel.settings import Settings

RETRY_S_MAX = 600
ExpectedWait = Callable[[str], float | None]


class Place(Protocol):
    """A request's place in flight; given up once."""

    def leave(self, *, worked: bool) -> None:
        """The request has ended; ``worked``: the engine had taken it."""
        ...


class Shedder:
    """Knows what this process has in flight at each engine whose capacity is known.

    Args:
        patience: of each tier.
        clock: of this process.
    """

    def __init__(self, patience: Patience, clock: Clock) -> None:
        self._patience = patience
        self._clock = clock
        self._lines: dict[str, Line] = {}
        self.expected_wait_s: ExpectedWait | None = None
        """Whoever queues requests before an engine knows better how long they wait; None from it: not this one."""

    def admit(self, engine: str, slots: int | None, tier: str) -> Place:
        """A place in flight.  Raises Overloaded when the request would wait for longer than its tier may.

        Args:
            engine: by its name.
            slots: how many jobs it works on at once; None: nobody knows, and nothing is refused.
            tier: of the request.
        """
        if slots is None:
            return _NOWHERE
        line = self._lines.get(engine)
        if line is None:
            line = self._lines[engine] = Line(slots)
        line.slots = slots
        now_us = self._now_us()
        excess_us = self._patience.excess_us(tier, self._wait_us(engine, line, now_us))
        if excess_us:
            raise _refusal(tier, excess_us)
        line.enter(now_us)
        return _Place(self, line)

    def waits_s(self) -> dict[str, float | None]:
        """How long a newcomer would wait at each engine; None: nobody knows."""
        now_us = self._now_us()
        waits = {engine: self._wait_us(engine, line, now_us) for engine, line in self._lines.items()}
        return {engine: None if wait is None else wait / US_PER_S for engine, wait in waits.items()}

    def leave(self, line: Line, *, worked: bool) -> None:
        """A place is free again."""
        line.leave(self._now_us(), worked=worked)

    def _wait_us(self, engine: str, line: Line, now_us: int) -> int | None:
        told_s = None if self.expected_wait_s is None else self.expected_wait_s(engine)
        return line.wait_us(now_us) if told_s is None else int(told_s * US_PER_S)

    def _now_us(self) -> int:
        return int(self._clock.monotonic_s() * US_PER_S)


def _refusal(tier: str, excess_us: int) -> Overloaded:
    retry_s = min(RETRY_S_MAX, max(1, -(-excess_us // US_PER_S)))
    message = f"more work is in flight than could begin in time for the service tier {tier}; nothing was held or run, try again in {retry_s} s"
    return Overloaded(message, headers={"retry-after": str(retry_s)})


class _Place:
    """See ``Place``."""

    __slots__ = ("_left", "_line", "_shedder")

    def __init__(self, shedder: Shedder, line: Line) -> None:
        self._shedder = shedder
        self._line = line
        self._left = False

    def leave(self, *, worked: bool) -> None:
        if not self._left:
            self._left = True
            self._shedder.leave(self._line, worked=worked)


class _Nowhere:
    """Where capacity is not known, nothing is counted."""

    def leave(self, *, worked: bool) -> None:
        """Nobody counts."""


_NOWHERE = _Nowhere()


def patience_of(settings: Settings) -> Patience:
    """What the settings say."""
    tiers = {"priority": settings.shed_priority_s, "standard": settings.shed_standard_s, "flex": settings.shed_flex_s, "batch": settings.shed_batch_s}
    by_tier = {tier: int(seconds * US_PER_S) for tier, seconds in tiers.items()}
    return Patience(by_tier, by_tier["standard"])
