"""Sums over receipts by two cards."""

from datetime import UTC, datetime
from fractions import Fraction
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.metering.comparison import Comparer, Held, Left, MoneySums, Side, Sums
from taximeter.metering.model import Price
from taximeter.pricing import Factors, RateCard, rate
from taximeter.pricing.model import Line, Term
from taximeter.pricing.tariffs import ContextBand, Multiplier

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


def compare(first: RateCard, second: RateCard) -> Comparer:
    return Comparer(Side(first), Side(second))


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
    comparer = compare(*cards)
    for receipt in receipts:
        comparer.add(*receipt)
    found = comparer.found
    total = found.total()
    assert merged([sums for _, sums in found.by_model()]) == merged([sums for _, sums in found.by_customer()]) == total
    whole = [work for _, _, work in receipts if work.keys() == {"steps", "frames"}]
    amounts = [(rate(cards[0], work).total_utok, rate(cards[1], work).total_utok) for work in whole]
    assert sum(found.unpriced.values()) == total.receipts
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
    there, back = compare(card("a", *first), card("b", *second)), compare(card("b", *second), card("a", *first))
    for receipt in receipts:
        there.add(*receipt)
        back.add(*receipt)
    for (model, one), (same, other) in zip(there.found.by_model(), back.found.by_model(), strict=True):
        assert (model, one.difference_utok, one.dearer) == (same, -other.difference_utok, other.cheaper)


def test_the_biggest_change_stands_first_whatever_its_direction() -> None:
    comparer = compare(card("a", Fraction(1), Fraction(10)), card("b", Fraction(2), Fraction(1)))
    comparer.add(UUID(int=1), "small", {"steps": 1, "frames": 0})
    comparer.add(UUID(int=2), "cheaper", {"steps": 0, "frames": 9})
    comparer.add(UUID(int=2), "dearer", {"steps": 50, "frames": 0})
    assert [name for name, _ in comparer.found.by_model()] == ["cheaper", "dearer", "small"]
    assert [customer.int for customer, _ in comparer.found.by_customer()] == [2, 1]


def test_what_a_card_does_not_cover_is_left_out_with_its_reason() -> None:
    comparer = compare(card("a", Fraction(1), Fraction(1)), card("b", Fraction(1), Fraction(1)))
    for work in ({"steps": 1}, {"steps": 1, "frames": 1, "tokens": 1}, {}, {}):
        comparer.add(UUID(int=1), "wan", work)
    assert comparer.found.left_out == {
        Left("wan", "a@1 prices frames, which was not measured"): 1,
        Left("wan", "a@1 does not know tokens: it neither prices that nor lists it under unpriced"): 1,
        Left("wan", "nothing was delivered"): 2,
    }
    assert comparer.found.total() == Sums()


HELD = st.builds(
    lambda currency, price, factor, band: Held(
        rate_card="first@1",
        model="wan@1",
        currency=currency,
        price_nano=price,
        maximum_utok=10**17,
        work_max={"steps": 10**9, "frames": 10**6},
        factors=Factors((Multiplier("service_tier", "Tier", factor),), (ContextBand("steps", 1000, band),), "4"),
    ),
    st.sampled_from(["USD", "EUR", "JPY"]),
    st.integers(0, 10**12),
    st.sampled_from(["0.5", "1.5", "53/60"]),
    st.sampled_from(["1", "2", "7/3"]),
)
WHOLE = st.fixed_dictionaries({"steps": st.integers(0, 10**9), "frames": st.integers(0, 10**6)})


@settings(max_examples=50)
@given(receipts=st.lists(st.tuples(st.sampled_from([UUID(int=1), UUID(int=2)]), st.sampled_from(["wan", "kokoro"]), WHOLE, HELD), max_size=20),
       first=st.tuples(RATES, RATES), second=st.tuples(RATES, RATES))  # fmt: skip
def test_money_is_rounded_once_a_receipt_and_adds_up_by_model_customer_and_currency(
    receipts: list[tuple[UUID, str, dict[str, int], Held]], first: tuple[Fraction, Fraction], second: tuple[Fraction, Fraction]
) -> None:
    cards = card("first", *first), card("second", *second)
    comparer = compare(*cards)
    expected: dict[str, MoneySums] = {}
    for project, model, work, held in receipts:
        comparer.add(project, model, work, held)
        # The receipt's own card ends at what was quoted; the other one at what it would have quoted.
        most = held.factors.charge(rate(cards[1], {"steps": 10**9, "frames": 10**6}).total_utok, {"steps": 10**9, "frames": 10**6})
        charged = [held.factors.charge(rate(one, work).total_utok, work, cap) for one, cap in zip(cards, (10**17, most), strict=True)]
        price = Price(held.currency, held.price_nano)
        expected.setdefault(held.currency, MoneySums()).merge(MoneySums(1, *(price.amount_nano(amount) for amount in charged)))
    found = comparer.found
    by_model, by_customer = [merged([sums for _, sums in groups]).money for groups in (found.by_model(), found.by_customer())]
    assert found.total().money == by_model == by_customer == expected
    assert not found.unpriced


def test_what_has_no_price_is_compared_in_tokens_and_named() -> None:
    comparer = compare(card("first", Fraction(1), Fraction(1)), card("second", Fraction(2), Fraction(1)))
    lacking = Held(rate_card="first@1", model="wan@1", currency="USD", price_nano=1, maximum_utok=10**9, work_max={"steps": 3})
    for held in (Held(), lacking):
        comparer.add(UUID(int=1), "wan", {"steps": 1, "frames": 1}, held)
    assert comparer.found.total() == Sums(receipts=2, first_utok=4_000_000, second_utok=6_000_000, dearer=2)
    assert {(left.model, left.reason.partition(";")[0]) for left in comparer.found.unpriced} == {
        ("wan", "an earlier release kept no price with it"),
        ("wan", "the rate card second@1 prices frames, which this model does not measure"),
    }
