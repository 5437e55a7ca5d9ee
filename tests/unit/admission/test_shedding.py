"""Load shedding: the estimate, who is refused first, and an engine at three times its load."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from taximeter.admission.shedding import Line, Overloaded, Patience, Place, Shedder
from taximeter.kernel.clock import ManualClock

S = 1_000_000
PATIENCE = Patience({"priority": 30 * S, "standard": 20 * S, "flex": 10 * S}, 20 * S)
NONE = Patience({}, 0)


def test_nobody_waits_while_a_place_is_free() -> None:
    line = Line(2)
    assert line.wait_us(0) == 0
    line.enter(0)
    assert line.wait_us(5 * S) == 0
    line.enter(5 * S)
    assert line.wait_us(6 * S) is None, "nobody has left yet: who can tell"


def steady(line: Line, seconds: int, ahead: int) -> int:
    """One leaves each second and another comes; ``ahead`` wait beside those who are served."""
    for _ in range(line.slots + ahead):
        line.enter(0)
    for second in range(1, seconds + 1):
        line.leave(second * S, worked=True)
        line.enter(second * S)
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
        line.enter(now_us)
        line.leave(now_us, worked=False)
    assert line.wait_us(now_us) == before


@pytest.mark.parametrize(
    ("tier", "wait_s", "excess_s"),
    [("flex", 10, 0), ("flex", 11, 1), ("standard", 20, 0), ("standard", 21, 1), ("priority", 30, 0), ("priority", 31, 1), ("other", 21, 1)],
)
def test_each_tier_is_as_patient_as_it_says(tier: str, wait_s: int, excess_s: int) -> None:
    assert PATIENCE.excess_us(tier, wait_s * S) == excess_s * S
    assert NONE.excess_us(tier, 10**12) == 0
    assert PATIENCE.excess_us(tier, None) == 0


def test_an_unknown_capacity_refuses_nobody() -> None:
    shedder = Shedder(PATIENCE, ManualClock())
    for _ in range(1_000):
        shedder.admit("engine", None, "flex").leave(worked=True)
    assert shedder.waits_s() == {}


def test_a_hundred_small_requests_at_once_are_all_let_in() -> None:
    clock = ManualClock()
    shedder = Shedder(Patience({"standard": 60 * S}, 60 * S), clock)
    for _ in range(3):
        places = [shedder.admit("engine", 2, "standard") for _ in range(100)]
        for place in places:
            clock.advance(0.3)
            place.leave(worked=True)


def test_who_queues_requests_himself_is_believed() -> None:
    shedder = Shedder(PATIENCE, ManualClock())
    shedder.expected_wait_s = {"mine": 20.5}.get
    shedder.admit("other", 1, "standard")
    with pytest.raises(Overloaded) as refused:
        shedder.admit("mine", 1, "standard")
    assert refused.value.headers == {"retry-after": "1"}
    shedder.admit("mine", 1, "priority").leave(worked=True)


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
                place = self.shedder.admit("engine", self.slots, tier)
            except Overloaded as refusal:
                self.retry_s.append(int(refusal.headers["retry-after"]))
                self.refused[tier] = self.refused.get(tier, 0) + 1
                continue
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
    engine = Engine(4, Shedder(patience, clock), clock)
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
