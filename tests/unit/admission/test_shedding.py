"""Load shedding: the estimate, who is refused first, and an engine at three times its load."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from taximeter.admission.fairness import Arrival, FairPool
from taximeter.admission.shedding import Line, Overloaded, Patience, Place, Rider, Shedder
from taximeter.kernel.clock import ManualClock

S = 1_000_000
HEAVY, LIGHT = UUID(int=1), UUID(int=2)
CLASSES = {"priority": 0, "standard": 1, "flex": 2}


def rider(tenant: UUID = HEAVY, *, rank: int = 1, amount_utok: int = 1, weight: int = 1) -> Rider:
    return Rider(tenant=tenant, rank=rank, amount_utok=amount_utok, weight=weight)


def no_luck() -> int:
    return 0


PATIENCE = Patience({"priority": 30 * S, "standard": 20 * S, "flex": 10 * S}, 20 * S)
NONE = Patience({}, 0)


def test_nobody_waits_while_a_place_is_free() -> None:
    line = Line(2)
    assert line.wait_us(0) == 0
    line.enter(0, rider())
    assert line.wait_us(5 * S) == 0
    line.enter(5 * S, rider())
    assert line.wait_us(6 * S) is None, "nobody has left yet: who can tell"


def steady(line: Line, seconds: int, ahead: int) -> int:
    """One leaves each second and another comes; ``ahead`` wait beside those who are served."""
    for number in range(line.slots + ahead):
        line.enter(0, rider())
        if number < line.slots:
            line.begin(rider())
    for second in range(1, seconds + 1):
        line.leave(second * S, rider(), worked=True)
        line.enter(second * S, rider())
        line.begin(rider())
    return seconds * S


def test_a_newcomer_waits_for_those_before_him() -> None:
    for ahead in (0, 3, 9):
        line = Line(2)
        now_us = steady(line, 50, ahead)
        wait_us = line.wait_us(now_us)
        assert wait_us is not None
        assert abs(wait_us - (ahead + 1) * S) <= (ahead + 1) * S // 8


def test_the_estimate_grows_while_nobody_leaves() -> None:
    line = Line(2)
    now_us = steady(line, 50, 4)
    before, after = line.wait_us(now_us), line.wait_us(now_us + 160 * S)
    assert before is not None
    assert after is not None
    assert after > before * 5


def test_whom_the_engine_turns_away_says_nothing_about_its_speed() -> None:
    line = Line(1)
    now_us = steady(line, 30, 2)
    before = line.wait_us(now_us)
    for _ in range(100):
        line.enter(now_us, rider())
        line.begin(rider())
        line.leave(now_us, rider(), worked=False)
    assert line.wait_us(now_us) == before


PROMOTED_US = (0, 60 * S, 360 * S, 2160 * S)


def leave_before(line: Line, now_us: int, who: Rider, promoted_us: Sequence[int] = (0, 10**12, 10**12, 10**12)) -> int:
    """How many leave until it is his turn."""
    wait_us, thousand_us = line.fair_wait_us(now_us, who, promoted_us), line._until_us(now_us, 1000)
    assert wait_us is not None
    assert thousand_us is not None
    return round(wait_us * 1000 / thousand_us)


def test_a_newcomer_waits_for_one_of_the_heavy_tenant_and_for_all_of_his_own() -> None:
    line = Line(2)
    now_us = steady(line, 50, 500)
    assert leave_before(line, now_us, rider(HEAVY)) == 501
    assert leave_before(line, now_us, rider(LIGHT)) == 2
    for number in range(4):
        line.enter(now_us, rider(LIGHT))
        assert leave_before(line, now_us, rider(LIGHT)) == 2 + 2 * (number + 1)
    assert leave_before(line, now_us, rider(HEAVY)) == 505


def test_small_requests_go_many_to_a_large_one_and_twice_the_weight_is_twice_as_many() -> None:
    line = Line(1)
    now_us = steady(line, 50, 0)
    for _ in range(100):
        line.enter(now_us, rider(HEAVY, amount_utok=1_000))
    for _ in range(10):
        line.enter(now_us, rider(LIGHT, amount_utok=10))
    assert leave_before(line, now_us, rider(LIGHT, amount_utok=10)) == 1 + 10 + 1
    for _ in range(40):
        line.enter(now_us, rider(LIGHT, amount_utok=10))
    line.enter(now_us, rider(LIGHT, amount_utok=3_500))
    assert leave_before(line, now_us, rider(LIGHT, amount_utok=10)) == 1 + 51 + 5
    assert leave_before(line, now_us, rider(LIGHT, amount_utok=10, weight=2)) == 1 + 51 + 3


def test_higher_classes_go_first_until_a_newcomer_is_promoted_and_lower_ones_never() -> None:
    line = Line(1)
    now_us = steady(line, 50, 0)
    for _ in range(30):
        line.enter(now_us, rider(HEAVY, rank=0))
    for _ in range(500):
        line.enter(now_us, rider(HEAVY, rank=2))
    assert leave_before(line, now_us, rider(LIGHT, rank=0)) == 2
    assert leave_before(line, now_us, rider(LIGHT, rank=1)) == 2 + 29
    for _ in range(470):
        line.enter(now_us, rider(HEAVY, rank=0))
    assert leave_before(line, now_us, rider(LIGHT, rank=1)) == 2 + 499
    behind_us, first_us = (line.fair_wait_us(now_us, rider(LIGHT, rank=rank), PROMOTED_US) for rank in (1, 0))
    assert behind_us is not None
    assert first_us is not None
    assert behind_us - first_us == 60 * S


def test_a_line_is_empty_when_all_have_left_whether_their_turn_came_or_not() -> None:
    clock = ManualClock()
    shedder = Shedder(PATIENCE, clock, no_luck)
    places = [shedder.admit("engine", 2, "standard", rider(tenant, rank=rank)) for tenant in (HEAVY, LIGHT) for rank in (0, 1, 1)]
    for number, place in enumerate(places):
        if number % 2:
            place.begin()
            place.begin()
        place.leave(worked=False)
        place.leave(worked=True)
        place.begin()
    assert shedder._lines["engine"] == Line(2)


@pytest.mark.parametrize(
    ("tier", "wait_s", "excess_s"),
    [("flex", 10, 0), ("flex", 11, 1), ("standard", 20, 0), ("standard", 21, 1), ("priority", 30, 0), ("priority", 31, 1), ("other", 21, 1)],
)
def test_each_tier_is_as_patient_as_it_says(tier: str, wait_s: int, excess_s: int) -> None:
    assert PATIENCE.excess_us(tier, wait_s * S) == excess_s * S
    assert NONE.excess_us(tier, 10**12) == 0
    assert PATIENCE.excess_us(tier, None) == 0


def test_an_unknown_capacity_refuses_nobody() -> None:
    shedder = Shedder(PATIENCE, ManualClock(), no_luck)
    for _ in range(1_000):
        place = shedder.admit("engine", None, "flex", rider())
        place.begin()
        place.leave(worked=True)
    assert shedder.waits_s() == {}


def test_a_hundred_small_requests_at_once_are_all_let_in() -> None:
    clock = ManualClock()
    shedder = Shedder(Patience({"standard": 60 * S}, 60 * S), clock, no_luck)
    for _ in range(3):
        places = [shedder.admit("engine", 2, "standard", rider()) for _ in range(100)]
        for place in places:
            clock.advance(0.3)
            place.leave(worked=True)


def test_those_who_are_refused_at_once_are_told_different_times() -> None:
    clock, chances = ManualClock(), iter([0, 500, 1000])
    shedder = Shedder(Patience({}, 20 * S), clock, lambda: next(chances))
    line = Line(1)
    shedder._lines["engine"] = line
    clock.elapsed_s = steady(line, 50, 29) / S
    told = []
    for _ in range(3):
        with pytest.raises(Overloaded) as refused:
            shedder.admit("engine", 1, "standard", rider())
        told.append(int(refused.value.headers["retry-after"]))
    assert 5 < told[0] < told[1] < told[2] <= 2 * told[0]


def test_a_light_tenant_is_never_refused_beside_a_heavy_one() -> None:
    """As the processes do it: a fair queue, one second a request, and a heavy tenant who sends three times what can be done."""
    clock, pool = ManualClock(), FairPool(slots=4, bounds_s=(60, 300, 1800))
    shedder = Shedder(Patience({"standard": 240 * S}, 240 * S), clock, no_luck)
    places: dict[int, tuple[UUID, Place, int]] = {}
    ends: list[tuple[int, int]] = []
    refused, waited_s, number = {HEAVY: 0, LIGHT: 0}, [], 0
    for tick in range(4 * 600):
        clock.elapsed_s = tick / 4
        while ends and ends[0][0] <= tick:
            _, done = heapq.heappop(ends)
            pool.leave(done, 1, tick * 250)
            places.pop(done)[1].leave(worked=True)
        for tenant in [HEAVY, HEAVY, HEAVY] + [LIGHT] * (tick % 10 == 0):
            number += 1
            try:
                place = shedder.admit("engine", 4, "standard", rider(tenant))
            except Overloaded:
                refused[tenant] += 1
                continue
            places[number] = (tenant, place, tick)
            pool.join(Arrival(id=number, tenant=str(tenant), amount_utok=1), tick * 250)
        for granted in pool.fill(tick * 250):
            tenant, place, since = places[granted.id]
            place.begin()
            heapq.heappush(ends, (tick + 4, granted.id))
            if tenant == LIGHT:
                waited_s.append((tick - since) / 4)
    assert refused[LIGHT] == 0
    assert refused[HEAVY] > 0
    assert len(waited_s) > 200
    # Next behind a backlog of any age: he waits for a slot, and for those of the heavy one that are before him by their tags.
    assert max(waited_s) <= 2


@dataclass
class Engine:
    """First come, first served, ``slots`` at a time; requests arrive by chance and are served by chance."""

    slots: int
    shedder: Shedder
    clock: ManualClock
    waits: dict[str, list[float]] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    retry_s: list[int] = field(default_factory=list)

    def run(self, seconds: float, rate: float, mix: Sequence[tuple[str, float]], seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a simulation
        free = [0.0] * self.slots
        ends: list[tuple[float, int, Place]] = []
        now, number = 0.0, 0
        while now < seconds:
            now += chance.expovariate(rate)
            tier = chance.choices([name for name, _ in mix], [share for _, share in mix])[0]
            while ends and ends[0][0] <= now:
                end, _, place = heapq.heappop(ends)
                self.clock.elapsed_s = end
                place.leave(worked=True)
            self.clock.elapsed_s = now
            try:
                place = self.shedder.admit("engine", self.slots, tier, rider(rank=CLASSES[tier]))
            except Overloaded as refusal:
                self.retry_s.append(int(refusal.headers["retry-after"]))
                self.refused[tier] = self.refused.get(tier, 0) + 1
                continue
            # What waits is the engine's own: as without a fair queue.
            place.begin()
            began = max(now, heapq.heappop(free))
            end = began + chance.uniform(0.5, 1.5)
            heapq.heappush(free, end)
            number += 1
            heapq.heappush(ends, (end, number, place))
            self.waits.setdefault(tier, []).append(began - now)

    def p99_s(self, tier: str) -> float:
        waits = sorted(self.waits[tier])
        return waits[len(waits) * 99 // 100]


MIX = (("priority", 0.2), ("standard", 0.5), ("flex", 0.3))


def simulated(patience: Patience, load: float) -> Engine:
    clock = ManualClock()
    engine = Engine(4, Shedder(patience, clock, no_luck), clock)
    engine.run(900.0, 4 * load, MIX, 1)
    return engine


def test_with_shedding_urgent_calls_keep_their_wait_at_three_times_the_load() -> None:
    kept, collapsed = simulated(PATIENCE, 3.0), simulated(NONE, 3.0)
    assert collapsed.p99_s("priority") > 900, "without it, everybody waits longer and longer"
    # Urgent requests alone are less than the engine can do: they wait behind what the others' patience let in.
    assert kept.p99_s("priority") <= 30
    assert kept.refused.get("priority", 0) == 0
    assert 1 <= min(kept.retry_s) <= max(kept.retry_s) <= 60
    share = {tier: kept.refused.get(tier, 0) / (kept.refused.get(tier, 0) + len(kept.waits.get(tier, []))) for tier, _ in MIX}
    assert share["flex"] > 0.9
    assert share["flex"] > share["standard"] > share["priority"]
    served = sum(len(waits) for waits in kept.waits.values())
    assert served >= 0.97 * 900 * 4, "and the engine is never idle because of it"


def test_below_its_capacity_nobody_is_refused() -> None:
    engine = simulated(PATIENCE, 0.8)
    assert engine.refused == {}
