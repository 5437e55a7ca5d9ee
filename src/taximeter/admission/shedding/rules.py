"""How long a request would wait for its engine, and whether that is too long.  Pure: time is an argument.

An engine with ``slots`` places works on so many jobs at once; whoever comes later waits for others to leave.  How often somebody
leaves is measured while all places are taken: that is what the engine can do, shared with other gateways or not, with short jobs
or long ones.  With ``n`` departures still to come before it is his turn, a newcomer waits ``n`` times the mean time between two
departures (J. Little, A Proof for the Queuing Formula L = lambda W, 1961).  The estimate adapts: it grows while nobody leaves.

How many are before him is not how many are there: those who wait are served in fair order (``admission.fairness``).  Before his turn
come all of his own, and of each other tenant as much as that one's weight gives him until then, and one request more.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

US_PER_S = 1_000_000
MARKS_MIN, MARKS_MAX = 16, 1024
"""Departures that are remembered: four for each place, within these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rider:
    """Whose request it is, as the fair queue sees it.

    Attributes:
        rank: its class there; the lowest goes first.
        amount_utok: what it is expected to consume, at least 1.
        weight: of its tenant.
    """

    tenant: UUID
    rank: int
    amount_utok: int
    weight: int = 1


@dataclass(slots=True)
class _Group:
    """What waits of one tenant in one class."""

    weight: int
    count: int = 0
    amount_utok: int = 0


@dataclass(slots=True)
class Line:
    """The requests of one process that are in flight at one engine.

    Attributes:
        slots: how many the engine works on at once.
        running: in flight, those that wait included.
        waiting: those of them whose turn has not come.
    """

    slots: int
    running: int = 0
    waiting: int = 0
    _groups: dict[tuple[UUID, int], _Group] = field(default_factory=dict)
    _in_flight_utok: dict[UUID, int] = field(default_factory=dict)
    _at_us: int = 0
    _busy_us: int = 0
    _marks: deque[int] = field(default_factory=deque)

    def enter(self, now_us: int, rider: Rider) -> None:
        """One more, who waits for his turn."""
        self._advance(now_us)
        self.running += 1
        self.waiting += 1
        tenant = rider.tenant
        group = self._groups.get((tenant, rider.rank))
        if group is None:
            group = self._groups[tenant, rider.rank] = _Group(rider.weight)
        group.weight = rider.weight
        group.count += 1
        group.amount_utok += rider.amount_utok
        self._in_flight_utok[tenant] = self._in_flight_utok.get(tenant, 0) + rider.amount_utok

    def begin(self, rider: Rider) -> None:
        """His turn has come, or he waits no more."""
        self.waiting -= 1
        group = self._groups[rider.tenant, rider.rank]
        group.count -= 1
        group.amount_utok -= rider.amount_utok
        if not group.count:
            del self._groups[rider.tenant, rider.rank]

    def leave(self, now_us: int, rider: Rider, *, worked: bool) -> None:
        """One less, whose turn had come; whoever was turned away by the engine says nothing about its speed."""
        self._advance(now_us)
        left_utok = self._in_flight_utok[rider.tenant] - rider.amount_utok
        if left_utok:
            self._in_flight_utok[rider.tenant] = left_utok
        else:
            del self._in_flight_utok[rider.tenant]
        if worked and self.running >= self.slots:
            self._marks.append(self._busy_us)
            while len(self._marks) > max(MARKS_MIN, min(4 * self.slots, MARKS_MAX)):
                self._marks.popleft()
        self.running -= 1

    def wait_us(self, now_us: int) -> int | None:
        """How long whoever came last of all would wait; None: too few have left while all places were taken to tell."""
        return self._until_us(now_us, self.running - self.slots + 1)

    def fair_wait_us(self, now_us: int, rider: Rider, promoted_us: Sequence[int]) -> int | None:
        """How long a rider would wait whose turn comes in fair order; None as above.

        Args:
            now_us: the time.
            rider: who comes.
            promoted_us: by class: after how long whoever waits in it goes on among the first.
        """
        own_utok = self._in_flight_utok.get(rider.tenant, 0)
        ahead, late = max(0, self.running - self.waiting - self.slots + 1), 0
        for (tenant, rank), group in self._groups.items():
            if rank > rider.rank:
                continue
            if tenant == rider.tenant:
                ahead += group.count
                continue
            share = min(group.count, 1 + own_utok * group.weight * group.count // (rider.weight * group.amount_utok))
            ahead += share
            if rank < rider.rank:
                late += group.count - share
        wait_us, late_us = self._until_us(now_us, ahead), self._until_us(now_us, late)
        if wait_us is None or late_us is None:
            return None
        # Higher classes go first, but only until he is one of them.
        return wait_us + min(late_us, promoted_us[rider.rank])

    def _until_us(self, now_us: int, ahead: int) -> int | None:
        """How long it takes until so many have left."""
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
    """How long requests of each service tier may wait for their engine, in microseconds; 0: as long as it takes.

    Attributes:
        promoted_us: by class of the fair queue: after how long whoever waits in it goes on among the first.
    """

    by_tier: Mapping[str, int]
    other_us: int
    promoted_us: Sequence[int] = (0, 0, 0, 0)

    def of(self, tier: str) -> int:
        """The patience of a tier."""
        return self.by_tier.get(tier, self.other_us)

    def excess_us(self, tier: str, wait_us: int | None) -> int:
        """By how much a wait is too long; 0: it is not, or nobody knows how long it is."""
        patience_us = self.of(tier)
        if wait_us is None or not patience_us:
            return 0
        return max(0, wait_us - patience_us)
