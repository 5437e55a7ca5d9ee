"""The circuit breaker's states, each at its boundary."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.admission.breakers import Breaker, BreakerRules, Permit

RULES = BreakerRules(failures=3, window_ms=10_000, calls_min=10, failure_percent=50, open_ms=1_000, open_max_ms=4_000, jitter_percent=20)
PROBE_MS = 30_000
BAD, GOOD, OTHER = (UUID(int=number) for number in (1, 2, 3))


def state(breaker: Breaker) -> str:
    """As a text: type checkers take a state that was asserted for one that stays."""
    return breaker.state


def call(breaker: Breaker, now_ms: int, reason: str | None = None, chance: int = 0, project: UUID | None = None) -> bool:
    """One call at one moment; whether it was let through."""
    permit = breaker.admit(now_ms, PROBE_MS, project)
    if permit is None:
        return False
    if reason is None:
        breaker.succeeded(permit, now_ms)
    else:
        breaker.failed(permit, now_ms, reason, chance)
    return True


def opened(rules: BreakerRules = RULES, now_ms: int = 0, chance: int = 0) -> Breaker:
    breaker = Breaker(rules)
    for _ in range(rules.failures):
        assert call(breaker, now_ms, "engine_failed", chance)
    assert state(breaker) == "open"
    return breaker


def test_a_breaker_opens_on_failures_in_a_row_and_not_one_sooner() -> None:
    breaker = Breaker(RULES)
    for reason in ("engine_failed", "engine_timeout", None, "engine_failed", "engine_failed"):
        assert call(breaker, 5, reason)
    assert (breaker.state, breaker.failures) == ("closed", 2)
    assert call(breaker, 6, "engine_unavailable")
    assert (breaker.state, breaker.reason, breaker.since_ms) == ("open", "engine_unavailable", 6)
    assert not call(breaker, 6)


def test_a_share_of_failures_opens_it_once_there_are_enough_calls() -> None:
    breaker = Breaker(RULES)
    for number in range(8):
        call(breaker, number, "engine_failed" if number % 2 else None)
    assert state(breaker) == "closed"
    call(breaker, 8)
    call(breaker, 9, "engine_failed")
    assert state(breaker) == "open", "the tenth call, of which five failed"


def test_less_than_the_share_does_not_open_it() -> None:
    breaker = Breaker(RULES)
    for number in range(60):
        call(breaker, number, None if number % 3 else "engine_failed")
    assert state(breaker) == "closed"


def test_what_is_older_than_the_window_does_not_count() -> None:
    breaker = Breaker(RULES)
    for number in range(9):
        call(breaker, number, "engine_failed" if number % 2 else None)
    call(breaker, 10_000, "engine_failed")
    assert state(breaker) == "closed", "nine calls are too old, one is left"


@pytest.mark.parametrize(("failures", "calls_min", "percent", "opens_at"), [(3, 1, 0, 3), (0, 4, 100, 4)])
def test_each_rule_works_without_the_other(failures: int, calls_min: int, percent: int, opens_at: int) -> None:
    breaker = Breaker(BreakerRules(failures=failures, calls_min=calls_min, failure_percent=percent))
    count = 0
    while breaker.state == "closed":
        call(breaker, 0, "engine_failed")
        count += 1
    assert count == opens_at


def test_after_its_time_one_probe_goes_through_and_its_success_closes() -> None:
    breaker = opened()
    assert breaker.wait_ms(0) == 1_000
    assert breaker.admit(999, PROBE_MS) is None
    assert breaker.closed_to(999)
    assert not breaker.closed_to(1_000)
    probe = breaker.admit(1_000, PROBE_MS)
    assert probe is not None
    assert probe.probe
    assert (breaker.state, breaker.since_ms, breaker.wait_ms(1_000)) == ("half_open", 1_000, 0)
    assert [breaker.admit(moment, PROBE_MS) for moment in (1_000, 30_999)] == [None, None]
    breaker.succeeded(probe, 1_500)
    assert (breaker.state, breaker.failures, breaker.openings, breaker.since_ms) == ("closed", 0, 0, 1_500)
    assert call(breaker, 1_500)


def test_a_failed_probe_opens_it_for_longer_up_to_the_longest_time() -> None:
    breaker, now_ms, waits = opened(), 0, []
    for _ in range(5):
        waits.append(breaker.wait_ms(now_ms))
        now_ms += waits[-1]
        assert call(breaker, now_ms, "engine_failed")
    assert waits == [1_000, 2_000, 4_000, 4_000, 4_000]
    assert call(breaker, now_ms + 4_000)
    assert opened().wait_ms(0) == 1_000, "it starts again after a success"


@pytest.mark.parametrize(("chance", "wait_ms"), [(0, 1_000), (500, 1_100), (1_000, 1_200)])
def test_chance_adds_a_fifth_at_most(chance: int, wait_ms: int) -> None:
    assert opened(chance=chance).wait_ms(0) == wait_ms


def test_a_probe_that_says_nothing_makes_room_for_the_next_one() -> None:
    breaker = opened()
    left = breaker.admit(1_000, PROBE_MS)
    assert left is not None
    breaker.given_back(left)
    lost = breaker.admit(1_001, PROBE_MS)
    assert lost is not None
    assert breaker.admit(31_000, PROBE_MS) is None
    other = breaker.admit(31_001, PROBE_MS)
    assert other is not None, "the second one's time is over"
    breaker.failed(lost, 31_002, "engine_failed", 0)
    assert state(breaker) == "half_open", "what comes later is not heard"
    breaker.succeeded(other, 31_003)
    assert state(breaker) == "closed"


def test_calls_from_before_it_opened_are_not_heard_and_not_sent() -> None:
    breaker = Breaker(RULES)
    early = breaker.admit(0, PROBE_MS)
    assert early is not None
    for _ in range(3):
        call(breaker, 1, "engine_failed")
    assert not breaker.lets(early)
    breaker.succeeded(early, 2)
    assert state(breaker) == "open"
    probe = breaker.admit(1_001, PROBE_MS)
    assert probe is not None
    breaker.failed(early, 1_002, "engine_failed", 0)
    assert (breaker.state, breaker.lets(probe)) == ("half_open", True)


def test_a_reset_closes_it_and_what_ran_before_is_not_heard() -> None:
    breaker = Breaker(RULES)
    early = breaker.admit(0, PROBE_MS)
    assert early is not None
    call(breaker, 0, "engine_failed")
    breaker.reset(1)
    breaker.failed(early, 2, "engine_failed", 0)
    assert (breaker.failures, breaker.lets(early)) == (0, True)
    other = opened()
    other.reset(5)
    assert (other.state, other.since_ms, other.openings, call(other, 5)) == ("closed", 5, 0, True)


@given(
    st.lists(
        st.tuples(st.sampled_from(["admit", "succeed", "fail", "give back", "wait", "reset"]), st.integers(0, 2_000), st.integers(0, 1_000)),
        max_size=80,
    )
)
def test_whatever_happens_a_half_open_breaker_has_one_probe_and_an_open_one_ends(steps: list[tuple[str, int, int]]) -> None:
    breaker, now_ms = Breaker(RULES), 0
    permits: list[Permit] = []
    for what, wait_ms, chance in steps:
        now_ms += wait_ms
        was = breaker.look(now_ms)
        if what == "admit":
            permit = breaker.admit(now_ms, PROBE_MS)
            if permit is not None:
                permits.append(permit)
                assert permit.probe == (was != "closed")
                assert was != "open"
                assert not permit.probe or breaker.admit(now_ms, PROBE_MS) is None
        elif what == "reset":
            breaker.reset(now_ms)
        elif permits and what != "wait":
            permit = permits.pop(chance % len(permits))
            if what == "succeed":
                breaker.succeeded(permit, now_ms)
            elif what == "fail":
                breaker.failed(permit, now_ms, "engine_failed", chance)
            else:
                breaker.given_back(permit)
        assert 0 <= breaker.wait_ms(now_ms) <= RULES.open_max_ms * 12 // 10
        assert breaker.closed_to(now_ms) == (breaker.state == "open" or (breaker.state == "half_open" and breaker._probe_until_ms is not None))
    last = breaker.admit(now_ms + PROBE_MS + RULES.open_max_ms * 2, PROBE_MS)
    assert last is not None, "nobody is shut out for ever"


def test_one_project_alone_does_not_open_what_works_for_others() -> None:
    breaker = Breaker(RULES)
    assert call(breaker, 0, project=GOOD)
    for number in range(500):
        assert call(breaker, number, "engine_failed", project=BAD)
    assert call(breaker, 500, "engine_failed", project=GOOD), "one failure of another may be chance"
    assert state(breaker) == "closed"
    for number in range(3):
        assert call(breaker, 501 + number, "engine_failed", project=BAD)
    call(breaker, 504, "engine_failed", project=GOOD)
    assert state(breaker) == "open", "two are not"


def test_what_others_did_before_the_window_does_not_keep_it_closed() -> None:
    breaker = Breaker(RULES)
    assert call(breaker, 0, project=GOOD)
    for number in range(3):
        assert call(breaker, 9_000 + number, "engine_failed", project=BAD)
    assert state(breaker) == "closed"
    assert call(breaker, 10_000, "engine_failed", project=BAD)
    assert state(breaker) == "open"


def test_of_a_share_the_worst_projects_calls_are_left_out_where_others_called() -> None:
    breaker = Breaker(BreakerRules(failures=0, calls_min=10, failure_percent=50))
    for number in range(40):
        call(breaker, number, "engine_failed", project=BAD)
        call(breaker, number, "engine_failed" if number % 5 > 2 else None, project=(GOOD, OTHER)[number % 2])
        assert state(breaker) == "closed", "seven of ten failed, four of ten of the others'"
    for number in range(16):
        call(breaker, number, "engine_failed", project=OTHER)
    assert state(breaker) == "open"


calls_of_all = st.lists(st.tuples(st.sampled_from([BAD, GOOD, OTHER]), st.integers(0, 30)), max_size=200)


@given(calls_of_all)
def test_whoever_fails_alone_shuts_nobody_out(drawn: list[tuple[UUID, int]]) -> None:
    breaker, now_ms = Breaker(RULES), 0
    assert call(breaker, now_ms, project=GOOD)
    for project, after_ms in drawn:
        now_ms += after_ms
        assert call(breaker, now_ms, "engine_failed" if project is BAD else None, project=project)
    assert state(breaker) == "closed"


@given(calls_of_all, st.integers(2, 5))
def test_an_engine_that_fails_for_two_projects_opens_it_soon_whatever_was_before(drawn: list[tuple[UUID, int]], projects: int) -> None:
    breaker, now_ms = Breaker(RULES), 0
    for project, after_ms in drawn:
        now_ms += after_ms
        call(breaker, now_ms, project=project)
    count = 0
    while state(breaker) == "closed":
        call(breaker, now_ms, "engine_failed", project=UUID(int=1 + count % projects))
        count += 1
    assert count <= max(RULES.failures, 4)


def test_who_opened_it_leaves_the_next_probe_to_others_who_have_asked() -> None:
    def opened_by_the_bad_one(*, others_ask: bool) -> Breaker:
        breaker = Breaker(RULES)
        for _ in range(3):
            call(breaker, 0, "engine_failed", project=BAD)
        assert breaker.admit(1, PROBE_MS, BAD) is None
        if others_ask:
            assert breaker.admit(2, PROBE_MS, GOOD) is None
        return breaker

    assert opened_by_the_bad_one(others_ask=False).admit(1_000, PROBE_MS, BAD) is not None
    breaker = opened_by_the_bad_one(others_ask=True)
    assert breaker.admit(1_999, PROBE_MS, BAD) is None
    assert call(breaker, 1_999, project=GOOD)
    for number in range(20):
        assert call(breaker, 2_000 + number, "engine_failed", project=BAD)
    assert state(breaker) == "closed", "the probe's success speaks for the engine"
    assert opened_by_the_bad_one(others_ask=True).admit(2_000, PROBE_MS, BAD) is not None, "nobody came"
    assert opened_by_the_bad_one(others_ask=True).admit(1_000, PROBE_MS, BAD, yields=False) is not None, "a worker's queue decides"
