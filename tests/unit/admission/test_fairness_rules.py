"""The rule of the fair queue: shares, bounds, classes, and no slot that is idle for nothing."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.admission.fairness import Arrival, FairPool

BOUNDS_S = (60, 300, 1800)
TENANTS = ("a", "b", "c", "d")


@dataclass
class Shop:
    """A pool whose requests last as long as their Tokens say: a millisecond a micro-Token."""

    pool: FairPool
    now_ms: int = 0
    ids: Iterator[int] = field(default_factory=lambda: count(1))
    ends: list[tuple[int, Arrival]] = field(default_factory=list)
    served: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    granted_at: dict[int, int] = field(default_factory=dict)

    def ask(self, tenant: str, amount: int, **more: int | bool) -> Arrival:
        arrival = Arrival(id=next(self.ids), tenant=tenant, amount_utok=amount, **more)  # type: ignore[arg-type]
        self.pool.join(arrival, self.now_ms)
        self.fill()
        return arrival

    def fill(self) -> None:
        for arrival in self.pool.fill(self.now_ms):
            self.ends.append((self.now_ms + arrival.amount_utok, arrival))
            self.granted_at[arrival.id] = self.now_ms

    def step(self) -> Arrival:
        """On to the next end."""
        end = min(self.ends, key=lambda one: (one[0], one[1].id))
        self.ends.remove(end)
        self.now_ms, arrival = end
        self.served[arrival.tenant] += arrival.amount_utok
        self.pool.leave(arrival.id, arrival.amount_utok, self.now_ms)
        self.fill()
        return arrival


AMOUNTS = st.lists(st.tuples(st.sampled_from(TENANTS[:2]), st.integers(1, 50)), min_size=30, max_size=120)


@given(amounts=AMOUNTS, weights=st.tuples(st.integers(1, 5), st.integers(1, 5)), steps=st.integers(5, 200))
def test_two_that_always_want_more_differ_by_one_request_of_each_at_most(
    amounts: list[tuple[str, int]], weights: tuple[int, int], steps: int
) -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    weight = dict(zip(TENANTS, weights, strict=False))
    shop.ask("z", 1)  # Keeps the slot until both are there.
    for tenant, amount in amounts:
        shop.ask(tenant, amount * weight[tenant], weight=weight[tenant])
    shop.step()
    for _ in range(steps):
        waiting = {place.arrival.tenant for place in shop.pool._waiting.values()}
        if waiting != {"a", "b"}:
            return
        shop.step()
        given_virtual = [shop.served[tenant] / weight[tenant] for tenant in ("a", "b")]
        # The bound of start-time fair queueing: the largest request of each.
        assert abs(given_virtual[0] - given_virtual[1]) <= 100


@settings(max_examples=20)
@given(st.integers(1, 4), st.integers(2, 9))
def test_twice_the_weight_gets_twice_the_tokens(weight: int, factor: int) -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    for _ in range(130):
        shop.ask("a", 100_000, weight=weight, rank=0)
        shop.ask("b", 100_000, weight=weight * factor, rank=0)
    for _ in range(120):
        shop.step()
    share = shop.served["b"] / shop.served["a"]
    assert abs(share - factor) <= factor * 0.25


@given(
    st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(1, 30), st.integers(0, 3), st.booleans()), min_size=1, max_size=60), st.integers(1, 4)
)
def test_everybody_is_served_and_no_slot_is_idle_while_somebody_may_have_it(asked: list[tuple[str, int, int, bool]], slots: int) -> None:
    shop = Shop(FairPool(slots, BOUNDS_S))
    for tenant, amount, rank, long in asked:
        shop.ask(tenant, amount, rank=rank, long=long)
        assert shop.pool.running <= slots
    while shop.ends:
        short_waits = any(not place.arrival.long for place in shop.pool._waiting.values())
        assert not short_waits or shop.pool.running == slots
        assert not shop.pool.waiting or shop.pool.running >= max(1, slots - 1)
        shop.step()
    assert len(shop.granted_at) == len(asked)


@given(st.integers(1, 3))
def test_a_flood_of_a_higher_class_starves_nobody(rank: int) -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    for _ in range(3):
        shop.ask("a", 20_000, rank=0)
    patient = shop.ask("b", 20_000, rank=rank)
    bound_ms = sum(BOUNDS_S[:rank]) * 1000
    while patient.id not in shop.granted_at:
        # As much again as it can do, for ever.
        shop.ask("a", 20_000, rank=0)
        shop.step()
        assert shop.now_ms <= bound_ms + 3 * 20_000


@settings(max_examples=15)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_in_a_flood_of_a_higher_class_a_line_is_given_something_in_each_bound(rank: int, length: int, slots: int) -> None:
    shop = Shop(FairPool(slots, BOUNDS_S))
    for _ in range(3 * slots):
        shop.ask("a", 20_000, rank=0)
    line = [shop.ask("b", 20_000, rank=rank) for _ in range(length)]
    bound_ms, since_ms = sum(BOUNDS_S[:rank]) * 1000, 0
    for patient in line:
        while patient.id not in shop.granted_at:
            # More than it can do, for ever.
            if shop.pool.waiting < 10:
                shop.ask("a", 20_000, rank=0)
            shop.step()
            assert shop.now_ms <= since_ms + bound_ms + 4 * 20_000
        since_ms = shop.granted_at[patient.id] + 20_000


@settings(max_examples=30)
@given(age_s=st.integers(0, 4_000), sizes=st.lists(st.integers(500, 4_000), min_size=1, max_size=9), slots=st.integers(1, 4), rank=st.integers(1, 3))
def test_a_newcomer_is_next_behind_a_backlog_of_any_age(age_s: int, sizes: list[int], slots: int, rank: int) -> None:
    shop = Shop(FairPool(slots, BOUNDS_S))
    for number in range(40):
        shop.ask("heavy", sizes[number % len(sizes)] * 20, rank=rank)
    for number in range(40):
        if shop.now_ms < age_s * 1000:
            shop.step()
            shop.ask("heavy", sizes[number % len(sizes)] * 20, rank=rank)
    # What is left of the age passes while nothing ends: the slots are at films.
    late_ms = max(0, age_s * 1000 - shop.now_ms)
    shop.now_ms += late_ms
    shop.ends = [(at_ms + late_ms, arrival) for at_ms, arrival in shop.ends]
    newcomer = shop.ask("light", 1_000, rank=rank)
    assert shop.pool.order(shop.now_ms)[0] == newcomer.id
    shop.step()
    assert newcomer.id in shop.granted_at


def test_who_was_given_nothing_for_the_bound_is_before_a_newcomer() -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    shop.ask("a", 59_000)
    kept_waiting = [shop.ask("b", 10), shop.ask("b", 10)]
    shop.ask("c", 2_000, rank=0)
    shop.step()
    newcomer = shop.ask("d", 10)
    shop.step()
    # The first of the line has gone up, and the rest of it has not.
    assert [shop.step().id for _ in range(3)] == [kept_waiting[0].id, newcomer.id, kept_waiting[1].id]


def test_of_one_tenants_urgent_requests_the_one_with_the_nearest_deadline_is_first() -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    shop.ask("a", 100_000, rank=0)
    asked = [shop.ask("a", 10, rank=rank, urgent_at_ms=at_ms) for rank, at_ms in ((2, 90_000), (3, 50_000), (3, 120_000), (3, 70_000))]
    assert [shop.step().id for _ in range(5)][1:] == [asked[number].id for number in (1, 3, 0, 2)]


def test_a_higher_class_goes_first() -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    for rank in (3, 3, 2, 1, 0):
        shop.ask("a", 10, rank=rank)
    assert [shop.step().rank for _ in range(5)] == [3, 0, 1, 2, 3]


def test_idleness_banks_no_credit() -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    for _ in range(20):
        shop.ask("a", 100)
    for _ in range(10):
        shop.step()
    for _ in range(10):
        shop.ask("b", 100)
    assert sorted(shop.step().tenant for _ in range(8)) == ["a"] * 4 + ["b"] * 4


def test_who_had_an_idle_engine_to_himself_owes_nothing_for_it() -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    shop.ask("a", 1_000_000)
    shop.step()
    for tenant in ("b", "a", "b", "a"):
        shop.ask(tenant, 10)
    assert [shop.step().tenant for _ in range(4)] == ["b", "a", "b", "a"]


def test_what_was_estimated_too_high_is_given_back() -> None:
    pool = FairPool(1, BOUNDS_S)
    for number in range(40):
        pool.join(Arrival(id=2 * number, tenant="a", amount_utok=1000), 0)
        pool.join(Arrival(id=2 * number + 1, tenant="b", amount_utok=10), 0)
    served: dict[str, int] = defaultdict(int)
    for _ in range(40):
        (arrival,) = pool.fill(0)
        served[arrival.tenant] += 1
        pool.leave(arrival.id, 10, 0)
    assert abs(served["a"] - served["b"]) <= 2


def test_a_long_request_leaves_the_last_of_several_slots_to_short_ones() -> None:
    shop = Shop(FairPool(2, BOUNDS_S))
    for _ in range(3):
        shop.ask("a", 3_600_000, long=True)
    short = shop.ask("b", 5)
    assert short.id in shop.granted_at
    assert shop.pool.running == 2
    assert shop.step() is short
    # With a single slot there is none to leave.
    alone = Shop(FairPool(1, BOUNDS_S))
    assert alone.ask("a", 3_600_000, long=True).id in alone.granted_at


def test_a_deadline_promotes_when_its_slack_is_over_and_not_before() -> None:
    shop = Shop(FairPool(1, BOUNDS_S))
    for _ in range(6):
        shop.ask("a", 10_000, rank=0)
    shop.pool.join(Arrival(id=999, tenant="b", amount_utok=10, rank=3, urgent_at_ms=25_000), 0)
    while 999 not in shop.granted_at:
        shop.step()
    assert shop.granted_at[999] == 30_000


def test_the_order_that_is_told_is_the_order_that_comes() -> None:
    pool = FairPool(1, BOUNDS_S)
    for number, tenant in enumerate("aaaabbcz"):
        pool.join(Arrival(id=number, tenant=tenant, amount_utok=10 + number, rank=number % 3), 0)
    pool.fill(0)
    order = pool.order(0)
    running = 2 if 2 not in order else next(iter(pool._running))
    came = []
    while pool.running:
        pool.leave(running, 10 + running, 0)
        granted = pool.fill(0)
        if granted:
            running = granted[0].id
            came.append(running)
    assert came == order
