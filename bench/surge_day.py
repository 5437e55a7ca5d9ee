"""A day at one engine whose callers mind the price: random arrivals, a queue, and the controller of the product.

What callers do is assumed, and written down in ``World``; what the price does is the product's own code, sampled as often as a
worker does in production.  Money is counted in whole micro-Tokens; only what stands for people is a float.
"""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from taximeter.admission.surge.model import ONE_PCT, Policy, Sample, State
from taximeter.admission.surge.rules import spread_s, step, wait_s
from taximeter.kernel.units import UTOK_PER_TOKEN, divide_half_even

DAY_S = 86_400
HOUR_S = 3_600
WINDOW_S = 900
"""Utilisation is told as the mean of a quarter of an hour."""
PEAK_H = (13, 17)
# The share of what the engine can do that is wanted at each hour when the price is 1; it goes straight from one to the next.
WANTED_BY_HOUR = (25, 20, 18, 18, 20, 28, 40, 55, 66, 72, 76, 80, 90, 102, 106, 104, 94, 80, 68, 60, 52, 44, 36, 30)


@dataclass(frozen=True)
class World:
    """What is assumed.

    Attributes:
        slots: requests that the engine does at once.
        service_s: how long one takes, in the mean; exponentially distributed.
        elasticity: of the requests that run at once or not at all: their rate is the price to the power of minus this.
        patient: the share of the requests that name the highest multiplier they take, from 1 to 1.5, and come back when told to.
        return_s: how long after the moment that Retry-After names they do so, in the mean: not everybody looks at the clock.  0: at once.
        spread: whether Retry-After tells each of them another moment, as the product's does.
        batch: the share of those that wait for the calm.
        wait_max_s: after so long both run at any price.
        sample_s: how often the load is sampled.
    """

    slots: int = 16
    service_s: float = 20.0
    elasticity: float = 0.5
    patient: float = 0.2
    return_s: float = 1800.0
    spread: bool = True
    batch: float = 0.1
    wait_max_s: int = 12 * HOUR_S
    sample_s: int = 5


@dataclass
class Day:
    """What came of it.

    Attributes:
        loads: the mean share of the slots that were taken or wanted at once, by quarter of an hour, cheap tiers included.
        prices_pct: the factor after each sample.
        consumed_utok: work that was begun.
        charged_utok: what it cost.
        waits_s: how long those waited for a slot that do not wait for the calm or for a price.
        peak_work_s: seconds of work begun in the hours of the peak.
        work_s: and all day.
        surplus_utok: what is left of what the surge has brought in.
    """

    loads: list[float] = field(default_factory=list)
    prices_pct: list[int] = field(default_factory=list)
    consumed_utok: int = 0
    charged_utok: int = 0
    waits_s: list[float] = field(default_factory=list)
    peak_work_s: float = 0.0
    work_s: float = 0.0
    surplus_utok: int = 0

    @property
    def turns(self) -> int:
        """How often the price has changed its direction."""
        moves = [after - before for before, after in zip(self.prices_pct, self.prices_pct[1:], strict=False) if after != before]
        return sum((before > 0) != (after > 0) for before, after in itertools.pairwise(moves))

    @property
    def changes(self) -> int:
        """How often it has changed."""
        return sum(before != after for before, after in zip(self.prices_pct, self.prices_pct[1:], strict=False))

    @property
    def peak_load(self) -> float:
        """The busiest quarter of an hour."""
        return max(self.loads)

    @property
    def wait_p99_s(self) -> float:
        """The wait that one in a hundred exceeds."""
        waits = sorted(self.waits_s)
        return waits[int(len(waits) * 0.99)] if waits else 0.0

    @property
    def charged_ratio(self) -> float:
        """What was charged over what was consumed: 1 is what it would have cost without a surge."""
        return self.charged_utok / self.consumed_utok


def wanted(world: World, at_s: float) -> float:
    """Requests a second that would come at a price of 1."""
    hour, rest = divmod(at_s % DAY_S, HOUR_S)
    now, then = WANTED_BY_HOUR[int(hour)], WANTED_BY_HOUR[(int(hour) + 1) % 24]
    share = (now + (then - now) * rest / HOUR_S) / 100
    return share * world.slots / world.service_s


class _Engine:
    """Slots, who waits for them, and what each costs."""

    def __init__(self, world: World, day: Day, source: random.Random) -> None:
        self._world, self._day, self._source = world, day, source
        self._busy: list[tuple[float, bool]] = []
        self._queue: deque[tuple[float, float, int, bool]] = deque()
        self._batch: deque[tuple[float, float]] = deque()

    def arrive(self, at_s: float, price_pct: int) -> None:
        """Somebody wants to ride now, at this price; how much work it is shows later."""
        self._queue.append((at_s, self._source.expovariate(1 / self._world.service_s), price_pct, True))

    def defer(self, at_s: float) -> None:
        """Somebody waits for the calm."""
        self._batch.append((at_s, self._source.expovariate(1 / self._world.service_s)))

    def run(self, now_s: float, price_pct: int) -> None:
        """Free what is done, and fill the slots: first those who wait, then, in the calm, the others."""
        while self._busy and self._busy[0][0] <= now_s:
            heapq.heappop(self._busy)
        while self._batch and now_s - self._batch[0][0] >= self._world.wait_max_s:
            at_s, work_s = self._batch.popleft()
            self._queue.append((at_s, work_s, ONE_PCT, False))
        while len(self._busy) < self._world.slots and self._queue:
            at_s, work_s, paid_pct, counts = self._queue.popleft()
            if counts:
                self._day.waits_s.append(now_s - at_s)
            self._begin(now_s, work_s, paid_pct, cheap=not counts)
        while len(self._busy) < self._world.slots and self._batch and price_pct <= ONE_PCT:
            _, work_s = self._batch.popleft()
            self._begin(now_s, work_s, ONE_PCT, cheap=True)

    def _begin(self, now_s: float, work_s: float, paid_pct: int, *, cheap: bool) -> None:
        day = self._day
        heapq.heappush(self._busy, (now_s + work_s, cheap))
        consumed = round(work_s * UTOK_PER_TOKEN)
        charged = divide_half_even(consumed * paid_pct, ONE_PCT)
        day.consumed_utok += consumed
        day.charged_utok += charged
        day.surplus_utok += charged - consumed
        day.work_s += work_s
        if PEAK_H[0] * HOUR_S <= now_s % DAY_S < PEAK_H[1] * HOUR_S:
            day.peak_work_s += work_s

    def load_bp(self) -> int:
        """As ``Occupancy`` has it: work at the engine and waiting, but for cheap tiers, against the slots."""
        dear = sum(not cheap for _, cheap in self._busy)
        return (dear + len(self._queue)) * 10_000 // self._world.slots

    def taken(self) -> float:
        """The share of the slots that is taken or wanted, by anybody."""
        return (len(self._busy) + len(self._queue)) / self._world.slots


def play(policy: Policy | None, world: World, seed: int, days: int = 1) -> Day:
    """Days at the engine, of which all but the last warm up; without a policy the price is 1 and nobody waits for the calm."""
    source = random.Random(seed)  # noqa: S311 - a simulation
    day, state = Day(), State()
    engine = _Engine(world, day, source)
    patient: list[tuple[float, float, int]] = []
    last_s = (days - 1) * DAY_S
    window: list[float] = []
    for now_s in range(0, days * DAY_S, world.sample_s):
        if now_s == last_s and days > 1:
            kept = day.surplus_utok
            day.__init__()  # type: ignore[misc]  # the warm-up is not told
            day.surplus_utok = kept
        price = state.factor_pct
        _arrivals(world, source, engine, patient, (now_s, price, policy))
        engine.run(now_s, price)
        if policy is not None:
            # Unix time begins at 1970: the controller needs a time after its first.
            state = step(policy, state, Sample(engine.load_bp()), (DAY_S + now_s) * 1000, day.surplus_utok)
        day.prices_pct.append(state.factor_pct)
        window.append(engine.taken())
        if len(window) * world.sample_s == WINDOW_S:
            day.loads.append(sum(window) / len(window))
            window.clear()
    return day


def _arrivals(
    world: World, source: random.Random, engine: _Engine, patient: list[tuple[float, float, int]], moment: tuple[int, int, Policy | None]
) -> None:
    """Who comes between two samples, and who comes back."""
    now_s, price, policy = moment
    rate = wanted(world, now_s) * world.sample_s
    for _ in range(_poisson(source, rate * world.batch)):
        if policy is None:
            engine.arrive(now_s, ONE_PCT)
        else:
            engine.defer(now_s)
    now_or_never = rate * (1 - world.batch - world.patient) * (price / ONE_PCT) ** -world.elasticity
    for _ in range(_poisson(source, now_or_never)):
        engine.arrive(now_s, price)
    comers = [(float(now_s), ONE_PCT + 5 * source.randrange(11)) for _ in range(_poisson(source, rate * world.patient))]
    while patient and patient[0][0] <= now_s:
        _, since_s, most_pct = heapq.heappop(patient)
        comers.append((since_s, most_pct))
    for since_s, most_pct in comers:
        if price <= most_pct or policy is None or now_s - since_s >= world.wait_max_s:
            engine.arrive(now_s, price)
        else:
            back_s = now_s + wait_s(policy, price, most_pct, (DAY_S + now_s) * 1000) + _later_s(world, source, policy)
            heapq.heappush(patient, (back_s, since_s, most_pct))


def _later_s(world: World, source: random.Random, policy: Policy) -> float:
    """How long after the soonest moment one of those who wait for a price comes back: as he is told, and some time later."""
    told_s = spread_s(policy, source.randrange(1001)) if world.spread else 0
    return told_s + (source.expovariate(1 / world.return_s) if world.return_s else 0.0)


def _poisson(source: random.Random, mean: float) -> int:
    """How many of something that comes so often in the mean."""
    limit, count, product = math.exp(-mean), 0, source.random()
    while product > limit:
        count += 1
        product *= source.random()
    return count


def hourly(values: Sequence[float]) -> list[tuple[float, float]]:
    """Values over a day, as points by the hour."""
    return [(24 * number / len(values), value) for number, value in enumerate(values)]
