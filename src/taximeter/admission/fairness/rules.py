"""The order of the fair queue.  Pure; the database does the same (migrations 0127 to 0129 and 0134), and a test compares the two.

Start-time fair queueing (Goyal, Vin, Cheng 1996) over virtual Tokens, which is the virtual token counter of Sheng et al.
(OSDI 2024, arXiv 2401.00588) with weights.  Each tenant of a pool has a tag: where his next request starts, in virtual Tokens.
Of those who wait in the highest class, the one whose tenant has the lowest tag is next; his tag moves on by what the request is
expected to consume, divided by his weight, and is corrected when it is known what it did consume.  Who comes, or comes back, starts
at virtual time, which is the tag of whom was granted last: he banks no credit while he wants nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from taximeter.admission.fairness.model import CLASSES, PATIENT
from taximeter.admission.model import Ask

TOKEN_RATE_UTOK = 4_000_000
"""What a slot is taken to do in a second while nothing is known of it: a Token is a quarter of a second of the reference GPU."""
MEMORY = 32
"""A pool's pace is a moving mean over about so many requests."""


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
    rank: int
    promote_at_ms: int | None


@dataclass(slots=True)
class FairPool:
    """The queue of one engine.

    Args:
        slots: how many requests it works on at once; None: as many as come.
        bounds_s: after how long who waits in class 1, 2, 3 goes up one class.
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
        self._waiting[arrival.id] = _Place(arrival, arrival.rank, self._leaves_at(arrival.rank, now_ms, arrival.urgent_at_ms))

    def fill(self, now_ms: int) -> list[Arrival]:
        """Grant slots while there are any; answers to whom."""
        granted: list[Arrival] = []
        if not self._waiting or not self._has_slot():
            return granted
        self._promote(now_ms)
        while self._waiting and self._has_slot():
            place = self._next()
            if place is None:
                break
            arrival = place.arrival
            del self._waiting[arrival.id]
            self._running[arrival.id] = arrival
            tag = self.tags[arrival.tenant]
            self.virtual = max(self.virtual, tag)
            self.tags[arrival.tenant] = tag + arrival.cost
            self.highest = max(self.highest, tag + arrival.cost)
            granted.append(arrival)
        return granted

    def leave(self, request_id: int, used_utok: int) -> None:
        """A request has ended, and consumed so much; who left while he waited has consumed nothing."""
        if self._waiting.pop(request_id, None) is not None:
            return
        arrival = self._running.pop(request_id)
        tag = max(0, self.tags[arrival.tenant] + used_utok // arrival.weight - arrival.cost)
        self.tags[arrival.tenant] = tag
        self.highest = max(self.highest, tag)

    def order(self) -> list[int]:
        """The ids of those who wait, in the order in which they are next as things stand."""
        tags, keys = dict(self.tags), []
        for place in sorted(self._waiting.values(), key=_own_order):
            arrival = place.arrival
            keys.append((place.rank, tags[arrival.tenant], arrival.id))
            tags[arrival.tenant] += arrival.cost
        return [request_id for _, _, request_id in sorted(keys)]

    def _has_slot(self) -> bool:
        return self.slots is None or len(self._running) < self.slots + self.ahead

    def _long_may_run(self) -> bool:
        if self.slots is None or self.slots == 1:
            return True
        return sum(arrival.long for arrival in self._running.values()) < self.slots - 1

    def _next(self) -> _Place | None:
        room = self._long_may_run()
        able = [place for place in self._waiting.values() if room or not place.arrival.long]
        return min(able, key=lambda place: (place.rank, self.tags[place.arrival.tenant], place.arrival.id), default=None)

    def _promote(self, now_ms: int) -> None:
        """One class at a time, and to the highest when a deadline leaves no more time.

        What a tenant did not get while others were to go first is no credit against them: beyond one request he starts there
        as if he came now.
        """
        while due := [place for place in self._waiting.values() if place.promote_at_ms is not None and place.promote_at_ms <= now_ms]:
            costs: dict[str, int] = {}
            for place in due:
                arrival, since_ms = place.arrival, place.promote_at_ms
                assert since_ms is not None
                urgent_ms = arrival.urgent_at_ms
                place.rank = 0 if urgent_ms is not None and urgent_ms <= now_ms else place.rank - 1
                place.promote_at_ms = self._leaves_at(place.rank, since_ms, urgent_ms)
                costs[arrival.tenant] = max(costs.get(arrival.tenant, 0), arrival.cost)
            for tenant, cost in costs.items():
                self.tags[tenant] = max(self.tags[tenant], self.virtual - cost)

    def _leaves_at(self, rank: int, from_ms: int, urgent_ms: int | None) -> int | None:
        if rank == 0:
            return None
        bound_ms = from_ms + self.bounds_s[rank - 1] * 1000
        return bound_ms if urgent_ms is None else min(bound_ms, urgent_ms)


def _own_order(place: _Place) -> tuple[int, int]:
    """Within a tenant: by class, then as they came."""
    return place.rank, place.arrival.id


def queue_fact(ask: Ask, amount_utok: int, slots: int | None, bounds_s: Sequence[int], long_s: int, deadline: str | None) -> Mapping[str, Any]:
    """What ``metering.post`` is asked with a hold that wants a place.

    Args:
        ask: the request.
        amount_utok: what it is expected to consume.
        slots: how many requests its engine works on at once.
        bounds_s: as in FairPool.
        long_s: from how many seconds on it is a long one.
        deadline: when its result is worthless, in ISO 8601; counts for tiers that may wait.
    """
    fact: dict[str, Any] = {
        "pool": ask.engine,
        "slots": slots,
        "bounds": list(bounds_s),
        "tenant": str(ask.caller.project_id),
        "weight": 1 if ask.plan is None else ask.plan.queue_weight,
        "amount": max(1, amount_utok),
        "rank": CLASSES.get(ask.tier, CLASSES["standard"]),
        "long_s": long_s,
    }
    if deadline is not None and ask.tier in PATIENT:
        fact["deadline"] = deadline
    return fact
