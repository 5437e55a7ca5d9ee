"""The order of the fair queue.  Pure; the database does the same (migrations 0127 to 0150), and a test compares the two.

Start-time fair queueing (Goyal, Vin, Cheng 1996) over virtual Tokens, which is the virtual token counter of Sheng et al.
(OSDI 2024, arXiv 2401.00588) with weights.  Each tenant of a pool has a tag: where his next request starts, in virtual Tokens.
Of those who wait in the highest class, the one whose tenant has the lowest tag is next; his tag moves on by what the request is
expected to consume, divided by his weight, and is corrected when it is known what it did consume.  Who comes, or comes back, starts
at virtual time, which is the tag of whom was granted last: he banks no credit while he wants nothing.

So that lower classes are not starved, a tenant's line in a class goes up one when it was given nothing for the class's bound: counted
from the later of its first request's arrival and the last moment when it had a slot.  Not while his tag is beyond virtual time: who was
given more than his share is not starved.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from taximeter.admission.fairness.model import CLASSES
from taximeter.admission.model import Ask

MEMORY = 32
"""A pool's pace is a moving mean over about so many requests."""
# After every moment that a deadline can name.
_NOT_URGENT = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request that wants a slot; of two alike the lower id is first.

    Attributes:
        amount_utok: what it is expected to consume.
        rank: its class, 0 to 3.
        long: it may not take the last of several slots.
        urgent_at_ms: from then on it must not wait any more.
    """

    id: int
    tenant: str
    amount_utok: int
    weight: int = 1
    rank: int = 1
    long: bool = False
    urgent_at_ms: int | None = None

    @property
    def cost(self) -> int:
        """In virtual Tokens."""
        return max(1, self.amount_utok // self.weight)


@dataclass(slots=True)
class _Place:
    arrival: Arrival
    joined_ms: int


@dataclass(frozen=True, slots=True)
class _Turn:
    """Where a place that waits stands now; the lowest is next."""

    level: int
    start: int
    urgent_at_ms: int
    id: int


@dataclass(slots=True)
class FairPool:
    """The queue of one engine.

    Args:
        slots: how many requests it works on at once; None: as many as come.
        bounds_s: after how long without anything a tenant's line in class 1, 2, 3 goes up one class.
        ahead: so many more may wait in the engine's own queue.
    """

    slots: int | None
    bounds_s: Sequence[int]
    virtual: int = 0
    highest: int = 0
    ahead: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    _waiting: dict[int, _Place] = field(default_factory=dict)
    _running: dict[int, Arrival] = field(default_factory=dict)
    _served_ms: dict[tuple[str, int], int] = field(default_factory=dict)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many have a slot."""
        return len(self._running)

    def join(self, arrival: Arrival, now_ms: int) -> None:
        """A request comes; ``fill`` grants it a slot."""
        if not self._waiting and not self._running:
            # Nobody is here: whoever was served last owes nothing for it.
            self.virtual = max(self.virtual, self.highest)
        tenant = arrival.tenant
        if not any(place.arrival.tenant == tenant for place in self._waiting.values()):
            self.tags[tenant] = max(self.tags.get(tenant, 0), self.virtual)
        self._waiting[arrival.id] = _Place(arrival, now_ms)

    def fill(self, now_ms: int) -> list[Arrival]:
        """Grant slots while there are any; answers to whom."""
        granted: list[Arrival] = []
        while self._waiting and self._has_slot():
            room = self._long_may_run()
            turns = self._turns([place for place in self._waiting.values() if room or not place.arrival.long], now_ms)
            if not turns:
                break
            turn = min(turns, key=_in_order)
            arrival = self._waiting.pop(turn.id).arrival
            self._running[arrival.id] = arrival
            self._served_ms[arrival.tenant, arrival.rank] = now_ms
            self.virtual = max(self.virtual, turn.start)
            self.tags[arrival.tenant] = turn.start + arrival.cost
            self.highest = max(self.highest, turn.start + arrival.cost)
            granted.append(arrival)
        return granted

    def leave(self, request_id: int, used_utok: int, now_ms: int) -> None:
        """A request has ended, and consumed so much; who left while he waited has consumed nothing."""
        if self._waiting.pop(request_id, None) is not None:
            return
        arrival = self._running.pop(request_id)
        tag = max(0, self.tags[arrival.tenant] + used_utok // arrival.weight - arrival.cost)
        self.tags[arrival.tenant] = tag
        self.highest = max(self.highest, tag)
        self._served_ms[arrival.tenant, arrival.rank] = now_ms

    def order(self, now_ms: int) -> list[int]:
        """The ids of those who wait, in the order in which they are next as things stand."""
        given: dict[str, int] = {}
        turns = []
        for turn in sorted(self._turns(self._waiting.values(), now_ms), key=lambda turn: (turn.level, turn.urgent_at_ms, turn.id)):
            arrival = self._waiting[turn.id].arrival
            ahead = given.get(arrival.tenant, 0)
            turns.append(replace(turn, start=turn.start + ahead))
            given[arrival.tenant] = ahead + arrival.cost
        return [turn.id for turn in sorted(turns, key=_in_order)]

    def _has_slot(self) -> bool:
        return self.slots is None or len(self._running) < self.slots + self.ahead

    def _long_may_run(self) -> bool:
        if self.slots is None or self.slots == 1:
            return True
        return sum(arrival.long for arrival in self._running.values()) < self.slots - 1

    def _turns(self, places: Collection[_Place], now_ms: int) -> list[_Turn]:
        """Where each of these stands.

        Only the first of a tenant's line in a class goes up, and only while the line is given nothing and virtual time has passed his
        tag: who is served, or was given more than his share, stays where he is, however long his line.  What a tenant did not get while
        others were to go first is no credit against them: beyond one request he starts there as if he came now.
        """
        heads: dict[tuple[str, int], int] = {}
        for place in places:
            line = place.arrival.tenant, place.arrival.rank
            heads[line] = min(heads.get(line, place.arrival.id), place.arrival.id)
        busy = {(arrival.tenant, arrival.rank) for arrival in self._running.values()}
        levels: list[tuple[int, Arrival]] = []
        risen: dict[str, int] = {}
        for place in places:
            arrival = place.arrival
            line = arrival.tenant, arrival.rank
            level = arrival.rank
            if _is_urgent(arrival, now_ms):
                level = 0
            elif heads[line] == arrival.id and line not in busy and self.tags[arrival.tenant] <= self.virtual:
                level = self._level(arrival.rank, now_ms - max(place.joined_ms, self._served_ms.get(line, place.joined_ms)))
            if level < arrival.rank:
                risen[arrival.tenant] = max(risen.get(arrival.tenant, 0), arrival.cost)
            levels.append((level, arrival))
        starts = self.tags | {tenant: max(self.tags[tenant], self.virtual - cost) for tenant, cost in risen.items()}
        return [_Turn(level, starts[one.tenant], _urgency(one, now_ms), one.id) for level, one in levels]

    def _level(self, rank: int, without_ms: int) -> int:
        """The class of a line that was given nothing for so long: one up after each bound."""
        while rank and without_ms >= self.bounds_s[rank - 1] * 1000:
            without_ms -= self.bounds_s[rank - 1] * 1000
            rank -= 1
        return rank


def _is_urgent(arrival: Arrival, now_ms: int) -> bool:
    return arrival.rank > 0 and arrival.urgent_at_ms is not None and arrival.urgent_at_ms <= now_ms


def _urgency(arrival: Arrival, now_ms: int) -> int:
    """Those whose deadline leaves no more time go by it, before others of their tenant."""
    return arrival.urgent_at_ms or 0 if _is_urgent(arrival, now_ms) else _NOT_URGENT


def _in_order(turn: _Turn) -> tuple[int, int, float, int]:
    return turn.level, turn.start, turn.urgent_at_ms, turn.id


def queue_fact(ask: Ask, tenant: UUID, amount_utok: int, slots: int | None, bounds_s: Sequence[int], long_s: int) -> dict[str, Any]:
    """What ``metering.post`` is asked with a hold that wants a place.

    Args:
        ask: the request.
        tenant: whose line it stands in: its project or organisation.
        amount_utok: what it is expected to consume.
        slots: how many requests its engine works on at once.
        bounds_s: as in FairPool.
        long_s: from how many seconds on it is a long one.
    """
    return {
        "pool": ask.engine,
        "slots": slots,
        "bounds": list(bounds_s),
        "tenant": str(tenant),
        "weight": 1 if ask.plan is None else ask.plan.queue_weight,
        "amount": max(1, amount_utok),
        "rank": CLASSES.get(ask.tier, CLASSES["standard"]),
        "long_s": long_s,
    }
