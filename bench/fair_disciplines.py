"""The queue disciplines that `fairness` compares, on one engine whose clock is virtual."""

import heapq
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from taximeter.admission.fairness import Arrival, FairPool

BOUNDS_S = (60, 300, 1800)
UTOK_PER_S = 4_000_000
"""What a slot does: a Token is a quarter of a second of the reference GPU."""
LONG_S = 60
UTOK = 1_000_000


class Queue(Protocol):
    """Who is next for a slot."""

    def join(self, arrival: Arrival, now_ms: int) -> None:
        """A request comes."""
        ...

    def fill(self, now_ms: int) -> list[Arrival]:
        """Grant what can be granted."""
        ...

    def leave(self, request_id: int, used_utok: int, now_ms: int) -> None:
        """A request has ended."""
        ...


class Fifo:
    """First come, first served; with ``by_class`` the higher class before the lower, whoever waits there."""

    def __init__(self, slots: int, *, by_class: bool = False) -> None:
        self._free = slots
        self._lines: tuple[deque[Arrival], ...] = tuple(deque() for _ in range(4))
        self._by_class = by_class

    def join(self, arrival: Arrival, now_ms: int) -> None:
        """To the end of the line."""
        del now_ms
        self._lines[arrival.rank if self._by_class else 0].append(arrival)

    def fill(self, now_ms: int) -> list[Arrival]:
        """From its beginning."""
        del now_ms
        granted = []
        for line in self._lines:
            while self._free and line:
                granted.append(line.popleft())
                self._free -= 1
        return granted

    def leave(self, request_id: int, used_utok: int, now_ms: int) -> None:
        """A slot is free."""
        del request_id, used_utok, now_ms
        self._free += 1


def queue_named(name: str, slots: int) -> Queue:
    """A queue by the name that it has in the tables."""
    if name == "fair queue":
        return FairPool(slots, BOUNDS_S)
    return Fifo(slots, by_class=name == "strict priority")


@dataclass(frozen=True)
class Tenant:
    """How one tenant asks.

    Attributes:
        backlog: so many requests are always there; 0: they come by chance.
        per_s: so many come in a second, if they come by chance.
        sizes: Tokens of each kind of request, as least and most, with how often it is asked for.
    """

    name: str
    sizes: Sequence[tuple[float, int, int]]
    backlog: int = 0
    per_s: float = 0.0
    weight: int = 1
    rank: int = 1


@dataclass
class Served:
    """What became of one tenant's requests."""

    used_utok: int = 0
    waits_s: list[float] = field(default_factory=list)
    done: list[tuple[float, float, float]] = field(default_factory=list)
    """Of each: when it came, its seconds on a slot, and its wait."""


@dataclass
class Engine:
    """Slots, tenants, and a queue between them."""

    queue: Queue
    tenants: Sequence[Tenant]
    seed: int
    now_ms: int = 0
    served: dict[str, Served] = field(default_factory=dict)
    curve: list[tuple[float, float]] = field(default_factory=list)
    """The heavy tenant's part of all Tokens, in per cent, hour by hour."""
    _events: list[tuple[int, int, str, int]] = field(default_factory=list)
    _asked: dict[int, tuple[Tenant, Arrival, int, int]] = field(default_factory=dict)
    _number: int = 0

    def run(self, hours: float) -> None:
        """Let so much virtual time pass."""
        self._dice = {tenant.name: random.Random(f"{self.seed} {tenant.name}") for tenant in self.tenants}  # noqa: S311 - a simulation
        self._tenants = {tenant.name: tenant for tenant in self.tenants}
        for tenant in self.tenants:
            self.served[tenant.name] = Served()
            for _ in range(tenant.backlog):
                self._ask(tenant)
            if not tenant.backlog:
                self._soon(tenant)
        self._fill()
        end_ms, hour_ms = int(hours * 3_600_000), 3_600_000
        while self._events and self._events[0][0] <= end_ms:
            self.now_ms, _, name, request = heapq.heappop(self._events)
            while self.now_ms >= hour_ms * (len(self.curve) + 1):
                total = sum(one.used_utok for one in self.served.values())
                self.curve.append((len(self.curve) + 1.0, 100 * self.served["heavy"].used_utok / total if total else 0.0))
            tenant = self._tenants[name]
            if request:
                self._end(request)
                if tenant.backlog:
                    self._ask(tenant)
            else:
                self._ask(tenant)
                self._soon(tenant)
            self._fill()
        # Who still waits has waited at least until now: nobody is left out because he was never served.
        for tenant, _, came_ms, _ in self._asked.values():
            if self._number_waits(tenant, came_ms):
                self.served[tenant.name].waits_s.append((end_ms - came_ms) / 1000)

    def _number_waits(self, tenant: Tenant, came_ms: int) -> bool:
        return not tenant.backlog and came_ms >= 0

    def _soon(self, tenant: Tenant) -> None:
        wait_ms = round(self._dice[tenant.name].expovariate(tenant.per_s) * 1000)
        self._push(self.now_ms + wait_ms, tenant.name, 0)

    def _push(self, at_ms: int, name: str, request: int) -> None:
        heapq.heappush(self._events, (at_ms, len(self._events) + self._number, name, request))

    def _ask(self, tenant: Tenant) -> None:
        dice = self._dice[tenant.name]
        _, least, most = dice.choices(tenant.sizes, [size[0] for size in tenant.sizes])[0]
        expected = dice.randint(least * UTOK, most * UTOK)
        # Estimates are wrong both ways, as they are.
        used = round(expected * dice.uniform(0.5, 1.2))
        self._number += 1
        arrival = Arrival(
            id=self._number,
            tenant=tenant.name,
            amount_utok=expected,
            weight=tenant.weight,
            rank=tenant.rank,
            long=expected >= LONG_S * UTOK_PER_S,
        )
        self._asked[arrival.id] = (tenant, arrival, self.now_ms, used)
        self.queue.join(arrival, self.now_ms)

    def _fill(self) -> None:
        for arrival in self.queue.fill(self.now_ms):
            tenant, _, came_ms, used = self._asked[arrival.id]
            wait_s, run_ms = (self.now_ms - came_ms) / 1000, max(1, used * 1000 // UTOK_PER_S)
            one = self.served[tenant.name]
            one.waits_s.append(wait_s)
            one.done.append((came_ms / 1000, run_ms / 1000, wait_s))
            self._asked[arrival.id] = (tenant, arrival, -1, used)
            self._push(self.now_ms + run_ms, tenant.name, arrival.id)

    def _end(self, request: int) -> None:
        tenant, _, _, used = self._asked.pop(request)
        self.served[tenant.name].used_utok += used
        self.queue.leave(request, used, self.now_ms)


def jain(shares: Sequence[float]) -> float:
    """Jain's index: 1 when all have the same, 1/n when one has everything."""
    return sum(shares) ** 2 / (len(shares) * sum(share * share for share in shares)) if any(shares) else 0.0


def alone(done: Sequence[tuple[float, float, float]], share: float) -> list[float]:
    """The same requests on an engine of the tenant's own that is as fast as his share of the real one: each one's later end, in seconds.

    Args:
        done: when each came, and its seconds on a slot.
        share: how many slots his part comes to.
    """
    free_s, later = 0.0, []
    for came_s, run_s, _ in sorted(done):
        free_s = max(free_s, came_s) + run_s / share
        later.append(free_s - came_s - run_s)
    return later


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0
