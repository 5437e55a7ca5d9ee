"""How long a request would wait for its engine, and whether that is too long.  Pure: time is an argument.

An engine with ``slots`` places works on so many jobs at once; whoever comes later waits for others to leave.  How often somebody
leaves is measured while all places are taken: that is what the engine can do, shared with other gateways or not, with short jobs
or long ones.  With ``n`` departures still to come before it is his turn, a newcomer waits ``n`` times the mean time between two
departures (J. Little, A Proof for the Queuing Formula L = lambda W, 1961).  The estimate adapts: it grows while nobody leaves.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

US_PER_S = 1_000_000
MARKS_MIN, MARKS_MAX = 16, 1024
"""Departures that are remembered: four for each place, within these."""


@dataclass(slots=True)
class Line:
    """The requests of one process that are in flight at one engine.

    Attributes:
        slots: how many the engine works on at once.
        running: in flight, those that wait there included.
    """

    slots: int
    running: int = 0
    _at_us: int = 0
    _busy_us: int = 0
    _marks: deque[int] = field(default_factory=deque)

    def enter(self, now_us: int) -> None:
        """One more."""
        self._advance(now_us)
        self.running += 1

    def leave(self, now_us: int, *, worked: bool) -> None:
        """One less; whoever was turned away by the engine says nothing about its speed."""
        self._advance(now_us)
        if worked and self.running >= self.slots:
            self._marks.append(self._busy_us)
            while len(self._marks) > max(MARKS_MIN, min(4 * self.slots, MARKS_MAX)):
                self._marks.popleft()
        self.running -= 1

    def wait_us(self, now_us: int) -> int | None:
        """How long a newcomer would wait; None: too few have left while all places were taken to tell."""
        ahead = self.running - self.slots + 1
        if ahead <= 0:
            return 0
        self._advance(now_us)
        # Jobs that began together end together: one round says nothing, two say how far they lie apart.
        if len(self._marks) <= min(self.slots, MARKS_MAX // 2):
            return None
        return ahead * (self._busy_us - self._marks[0]) // len(self._marks)

    def _advance(self, now_us: int) -> None:
        """Let the clock of busy time go on while all places are taken."""
        if self.running >= self.slots:
            self._busy_us += now_us - self._at_us
        self._at_us = now_us


@dataclass(frozen=True, slots=True)
class Patience:
    """How long requests of each service tier may wait for their engine, in microseconds; 0: as long as it takes."""

    by_tier: Mapping[str, int]
    other_us: int

    def of(self, tier: str) -> int:
        """The patience of a tier."""
        return self.by_tier.get(tier, self.other_us)

    def excess_us(self, tier: str, wait_us: int | None) -> int:
        """By how much a wait is too long; 0: it is not, or nobody knows how long it is."""
        patience_us = self.of(tier)
        if wait_us is None or not patience_us:
            return 0
        return max(0, wait_us - patience_us)
