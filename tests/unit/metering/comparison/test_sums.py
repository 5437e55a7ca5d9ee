"""Sums over receipts by two cards."""

from datetime import UTC, datetime
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from taximeter.metering.comparison import Comparer, Left, Sums
from taximeter.pricing import RateCard, rate
from taximeter.pricing.model import Line, Term

START = datetime(2026, 1, 1, tzinfo=UTC)
RATES = st.fractions(min_value=Fraction(1, 10**6), max_value=1000, max_denominator=10**6)
WORKS: st.SearchStrategy[dict[str, int]] = st.one_of(
    st.fixed_dictionaries({"steps": st.integers(0, 10**9), "frames": st.integers(0, 10**6)}),
    st.fixed_dictionaries({"steps": st.integers(0, 10**9)}),
    st.fixed_dictionaries({"tokens": st.integers(0, 10**6)}),
    st.just({}),
)
RECEIPTS = st.lists(st.tuples(st.sampled_from([UUID(int=1), UUID(int=2), UUID(int=3)]), st.sampled_from(["wan", "kokoro"]), WORKS), max_size=40)


def card(name: str, steps: Fraction, frames: Fraction) -> RateCard:
    lines = (Line("Steps", (Term("steps", steps),)), Line("Frames", (Term("frames", frames),)))
    return RateCard(name, 1, START, lines)


def merged(groups: list[Sums]) -> Sums:
    total = Sums()
    for sums in groups:
        total.merge(sums)
    return total


@given(receipts=RECEIPTS, first=st.tuples(RATES, RATES), second=st.tuples(RATES, RATES))
def test_customers_models_and_receipts_add_up_to_the_same_totals(
    receipts: list[tuple[UUID, str, dict[str, int]]], first: tuple[Fraction, Fraction], second: tuple[Fraction, Fraction]
) -> None:
    cards = card("first", *first), card("second", *second)
    comparer = Comparer(*cards)
    for receipt in receipts:
        comparer.add(*receipt)
    found = comparer.found
    total = found.total()
    assert merged([sums for _, sums in found.by_model()]) == merged([sums for _, sums in found.by_customer()]) == total
    whole = [work for _, _, work in receipts if work.keys() == {"steps", "frames"}]
    amounts = [(rate(cards[0], work).total_utok, rate(cards[1], work).total_utok) for work in whole]
    assert total == Sums(
        receipts=len(whole),
        first_utok=sum(one for one, _ in amounts),
        second_utok=sum(two for _, two in amounts),
        dearer=sum(two > one for one, two in amounts),
        cheaper=sum(two < one for one, two in amounts),
    )
    assert total.receipts + sum(found.left_out.values()) == len(receipts)


@given(receipts=RECEIPTS, first=st.tuples(RATES, RATES), second=st.tuples(RATES, RATES))
def test_exchanging_the_cards_turns_every_change_around(
    receipts: list[tuple[UUID, str, dict[str, int]]], first: tuple[Fraction, Fraction], second: tuple[Fraction, Fraction]
) -> None:
    there, back = Comparer(card("a", *first), card("b", *second)), Comparer(card("b", *second), card("a", *first))
    for receipt in receipts:
        there.add(*receipt)
        back.add(*receipt)
    for (model, one), (same, other) in zip(there.found.by_model(), back.found.by_model(), strict=True):
        assert (model, one.difference_utok, one.dearer) == (same, -other.difference_utok, other.cheaper)


def test_the_biggest_change_stands_first_whatever_its_direction() -> None:
    comparer = Comparer(card("a", Fraction(1), Fraction(10)), card("b", Fraction(2), Fraction(1)))
    comparer.add(UUID(int=1), "small", {"steps": 1, "frames": 0})
    comparer.add(UUID(int=2), "cheaper", {"steps": 0, "frames": 9})
    comparer.add(UUID(int=2), "dearer", {"steps": 50, "frames": 0})
    assert [name for name, _ in comparer.found.by_model()] == ["cheaper", "dearer", "small"]
    assert [customer.int for customer, _ in comparer.found.by_customer()] == [2, 1]


def test_what_a_card_does_not_cover_is_left_out_with_its_reason() -> None:
    comparer = Comparer(card("a", Fraction(1), Fraction(1)), card("b", Fraction(1), Fraction(1)))
    for work in ({"steps": 1}, {"steps": 1, "frames": 1, "tokens": 1}, {}, {}):
        comparer.add(UUID(int=1), "wan", work)
    assert comparer.found.left_out == {
        Left("wan", "a@1 prices frames, which was not measured"): 1,
        Left("wan", "a@1 does not know tokens: it neither prices that nor lists it under unpriced"): 1,
        Left("wan", "nothing was delivered"): 2,
    }
    assert comparer.found.total() == Sums()
