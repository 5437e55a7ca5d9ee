"""Laws that every meter obeys, on whatever it is asked: the entries stand in ``tests/support/meter_laws.py``."""

import copy
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter import meters
from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import Estimate, Meter, Work
from taximeter.pricing import RateCard, rate
from taximeter.pricing.model import Line, Term
from tests.support.meter_laws import LAWS

HUGE: list[object] = [10**9, 10**18, 2**63, 10**30, 10**400, -(10**400), 1e308, 1e-308, float("inf"), float("nan"), "9" * 30, "9" * 5000, "1e9", True]
# Far above any real work; products of a few quantities, rates and Tokens stay exact anyway, because nothing is a float.
WORK_MAX = 10**24

every_meter = pytest.mark.parametrize("meter_id", sorted(LAWS))


def assert_work(meter: Meter, work: Work) -> None:
    assert set(work) == set(meter.quantities)
    assert all(type(count) is int and 0 <= count <= WORK_MAX for count in work.values())


def assert_lawful(meter: Meter, estimate: Estimate) -> None:
    assert_work(meter, estimate.expected)
    assert_work(meter, estimate.maximum)
    assert not_above(estimate.expected, estimate.maximum)
    assert estimate.bound
    assert all(type(count) is int and count >= 1 for count in estimate.bound.values())


def not_above(less: Work, more: Work) -> bool:
    return all(less[quantity] <= more[quantity] for quantity in less)


def cards(meter: Meter) -> st.SearchStrategy[RateCard]:
    """Any card that a catalog may have for the meter: no quantity dearer than what a hold counts it as."""

    def card(tokens: Mapping[str, Fraction]) -> RateCard:
        dear = dict(tokens)
        # As often as there are pairs: they may form chains.
        for held, other in meter.held_as * len(meter.held_as):
            dear[other] = min(dear[other], dear[held])
        lines = tuple(Line(label=name, terms=(Term(name, value),)) for name, value in dear.items())
        return RateCard("any", 1, datetime(2026, 1, 1, tzinfo=UTC), lines=lines)

    price = st.fractions(min_value=0, max_value=1000, max_denominator=10**6)
    return st.fixed_dictionaries(dict.fromkeys(meter.quantities, price)).map(card)


def test_every_built_in_meter_has_its_entry() -> None:
    assert sorted(LAWS) == list(meters.IDS)


@every_meter
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_expected_is_at_most_maximum_and_both_are_whole(meter_id: str, data: st.DataObject) -> None:
    law, meter = LAWS[meter_id], meters.get(meter_id)
    assert_lawful(meter, meter.estimate(data.draw(law.requests), law.profile))


@every_meter
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_asking_again_gives_the_same(meter_id: str, data: st.DataObject) -> None:
    law, meter = LAWS[meter_id], meters.get(meter_id)
    request = data.draw(law.requests)
    asked = copy.deepcopy(request)
    first = meter.estimate(request, law.profile)
    assert request == asked, "a request belongs to its sender"
    # Also when nothing of it is remembered.
    assert meter.estimate(asked, law.profile) == meter.estimate(asked, copy.deepcopy(law.profile)) == first


@pytest.mark.parametrize(("meter_id", "driver"), [(meter_id, driver) for meter_id, law in sorted(LAWS.items()) for driver in law.drivers])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_more_is_never_less_work(meter_id: str, driver: str, data: st.DataObject) -> None:
    law, meter = LAWS[meter_id], meters.get(meter_id)
    request, (small, large) = data.draw(law.requests), data.draw(law.drivers[driver])
    less, more = (meter.estimate(request | change, law.profile) for change in (small, large))
    assert not_above(less.maximum, more.maximum)
    assert not_above(less.expected, more.expected)


@pytest.mark.parametrize("meter_id", sorted(meter_id for meter_id, law in LAWS.items() if law.parts is not None))
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_the_parts_of_a_request_add_up_to_the_whole(meter_id: str, data: st.DataObject) -> None:
    law, meter = LAWS[meter_id], meters.get(meter_id)
    assert law.parts is not None
    one, other, both = (meter.estimate(request, law.profile) for request in data.draw(law.parts))
    assert law.additive
    for quantity in law.additive:
        assert one.maximum[quantity] + other.maximum[quantity] == both.maximum[quantity], quantity
        assert one.expected[quantity] + other.expected[quantity] == both.expected[quantity], quantity


@every_meter
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_no_report_within_the_maximum_costs_more_than_it(meter_id: str, data: st.DataObject) -> None:
    law, meter = LAWS[meter_id], meters.get(meter_id)
    estimate = meter.estimate(data.draw(law.requests if law.settled is None else law.settled), law.profile)
    work = meter.actual(data.draw(law.reports(estimate)), estimate, law.profile)
    assert_work(meter, work)
    card = data.draw(cards(meter))
    assert rate(card, work).total_utok <= rate(card, estimate.maximum).total_utok


@pytest.mark.parametrize(("meter_id", "field"), [(meter_id, field) for meter_id, law in sorted(LAWS.items()) for field in law.numbers])
@given(data=st.data())
@settings(max_examples=4, deadline=None)
def test_a_huge_number_is_refused_or_counted_exactly(meter_id: str, field: str, data: st.DataObject) -> None:
    law, meter = LAWS[meter_id], meters.get(meter_id)
    request = data.draw(law.requests)
    for value in HUGE:
        try:
            estimate = meter.estimate({**request, field: value}, law.profile)
        except InvalidRequest as refusal:
            assert refusal.param == field  # noqa: PT017 - the field that is at fault is named
        else:
            assert_lawful(meter, estimate)
