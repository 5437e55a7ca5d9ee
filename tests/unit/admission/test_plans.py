"""The rules of plans: which grants pay, what a part of a month is worth, what a change does."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.admission import Ask, wallet_legs
from taximeter.admission.budgets.model import BUDGETS_MAX
from taximeter.admission.plans.model import Grant, Subscription
from taximeter.admission.plans.rules import (
    MODALITIES,
    Change,
    change_of,
    due_after,
    monthly,
    prorated,
    spending_order,
    to_give,
    to_take_back,
    usable,
)
from taximeter.identity import Caller, terms
from taximeter.ledger import AccountCode, operator_account
from taximeter.ledger.model import LEGS_MAX
from taximeter.pricing import Plan, documents

NOW_MS = 1_800_000_000_000
ID = UUID(int=1)
START = datetime(2027, 1, 31, tzinfo=UTC)
moments = st.one_of(st.none(), st.integers(NOW_MS - 3, NOW_MS + 3))
grants = st.lists(
    st.builds(
        lambda account, starts, length, modality: terms.Grant(
            account=account, starts_ms=starts, expires_ms=None if length is None else starts + length, modality=modality
        ),
        st.integers(10_000, 99_999),
        st.integers(NOW_MS - 3, NOW_MS + 3),
        st.one_of(st.none(), st.integers(1, 4)),
        st.sampled_from([None, "chat", "speech"]),
    ),
    max_size=15,
)


def ask(agreed: terms.Terms, modality: str = "chat") -> Ask:
    caller = Caller(
        organisation_id=ID, project_id=ID, key_id=ID, key_name="k", lane=3, allowance_account=1, prepaid_account=2, terms=agreed,
    )  # fmt: skip
    return Ask(caller=caller, model="m", engine="e", modality=modality, tier="standard", maximum_utok=1)


@given(grants, st.one_of(st.none(), st.just(77)))
def test_a_request_is_paid_from_at_most_ten_accounts_grants_first_and_credit_last(given_out: list[terms.Grant], line: int | None) -> None:
    legs = wallet_legs(ask(terms.Terms(grants=tuple(given_out), postpaid=line)), NOW_MS)
    assert len(legs) <= 10
    assert {leg.credit for leg in legs} == {operator_account(AccountCode.REVENUE, 3)}
    assert all(leg.cascade for leg in legs)
    debits = [leg.debit for leg in legs]
    fitting = [
        grant.account
        for grant in given_out
        if grant.starts_ms <= NOW_MS and (grant.expires_ms is None or grant.expires_ms > NOW_MS) and grant.modality != "speech"
    ]
    assert debits == [*fitting[:7], 1, 2, *([] if line is None else [line])]


def test_a_hold_has_room_for_every_account_and_every_budget_that_it_may_have() -> None:
    accounts = wallet_legs(ask(terms.Terms(grants=(terms.Grant(account=5),) * 40, postpaid=77)), NOW_MS)
    assert len(accounts) + BUDGETS_MAX == LEGS_MAX


def test_who_has_no_terms_is_held_on_two_accounts_as_ever() -> None:
    assert [leg.debit for leg in wallet_legs(ask(terms.NO_TERMS), NOW_MS)] == [1, 2]


@pytest.mark.parametrize(("now_ms", "is_usable"), [(NOW_MS - 1, False), (NOW_MS, True), (NOW_MS + 4, True), (NOW_MS + 5, False)])
def test_a_grant_is_usable_from_its_start_until_before_its_end(now_ms: int, is_usable: bool) -> None:  # noqa: FBT001 - a parameter
    grant = terms.Grant(account=5, starts_ms=NOW_MS, expires_ms=NOW_MS + 5, modality="chat")
    assert bool(usable([grant], "chat", now_ms)) is is_usable
    assert usable([grant], "speech", now_ms) == []


def test_grants_may_be_for_every_modality_that_the_catalog_knows() -> None:
    assert MODALITIES == documents.MODALITIES


@given(
    st.integers(0, 10**15),
    st.integers(1, 40 * 86_400_000_000),
    st.lists(st.floats(0, 1), min_size=1, max_size=6).map(sorted),
)
def test_parts_of_a_month_are_exact_and_add_up_to_the_month(amount_utok: int, length_us: int, cuts: list[float]) -> None:
    end = START + timedelta(microseconds=length_us)
    moments_us = [round(cut * length_us) for cut in cuts]
    parts = [prorated(amount_utok, START, START + timedelta(microseconds=cut), end) for cut in moments_us]
    for cut, part in zip(moments_us, parts, strict=True):
        exact = Fraction(amount_utok * (length_us - cut), length_us)
        assert abs(part - exact) <= Fraction(1, 2)
    # Later is never more; all of it at the start, nothing at the end and beyond.
    assert all(earlier >= later for earlier, later in pairwise(parts))
    assert prorated(amount_utok, START, START, end) == amount_utok
    assert prorated(amount_utok, START, START - timedelta(days=1), end) == amount_utok
    assert prorated(amount_utok, START, end, end) == prorated(amount_utok, START, end + timedelta(days=1), end) == 0


def test_half_a_micro_token_goes_to_the_even_side() -> None:
    end = START + timedelta(microseconds=2)
    half = START + timedelta(microseconds=1)
    assert [prorated(amount, START, half, end) for amount in (1, 3, 5, 7)] == [0, 2, 2, 4]


def plan(name: str, allowance_utok: int = 0, *, modality: str | None = None, postpaid: bool = False) -> Plan:
    period = "month" if allowance_utok else "none"
    return Plan(name, 1, START, allowance_utok=allowance_utok, allowance_period=period, allowance_modality=modality, postpaid=postpaid)  # type: ignore[arg-type]


def subscribed(allowance_utok: int, next_plan: str | None = None, given_utok: int | None = None) -> Subscription:
    given_utok = allowance_utok if given_utok is None else given_utok
    return Subscription(
        project_id=ID, plan="now", next_plan=next_plan, anchor=date(2027, 1, 31), month=0, period_start=START,
        period_end=START + timedelta(days=28), allowance_utok=allowance_utok, allowance_modality=None, started_at=START,
        due_utok=given_utok, given_utok=given_utok,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("before", "wanted", "when", "change"),
    [
        (subscribed(5), plan("now", 5), None, Change.NOTHING),
        (subscribed(5), plan("now", 5), "now", Change.NOTHING),
        (subscribed(5, "less"), plan("now", 5), None, Change.RAISE),
        (subscribed(5), plan("more", 6), None, Change.RAISE),
        (subscribed(5), plan("same", 5), "now", Change.RAISE),
        (subscribed(5), plan("more", 6), "period_end", Change.WAIT),
        (subscribed(5), plan("less", 4), None, Change.WAIT),
        (subscribed(5), plan("less", 4), "now", Change.SWITCH),
        (subscribed(5), plan("other", 6, modality="speech"), None, Change.WAIT),
        (subscribed(5), plan("other", 6, modality="speech"), "now", Change.SWITCH),
        (subscribed(5), plan("line", postpaid=True), None, Change.RAISE),
        (subscribed(5), plan("line", postpaid=True), "now", Change.SWITCH),
        (subscribed(0), plan("any", 1), None, Change.RESTART),
        (subscribed(0), plan("any", 1), "period_end", Change.WAIT),
        (subscribed(0, given_utok=1), plan("any", 1), None, Change.RAISE),
        (subscribed(0, given_utok=1), plan("any", 1, modality="speech"), "now", Change.RAISE),
    ],
)
def test_what_a_change_of_plan_does(before: Subscription, wanted: Plan, when: str | None, change: Change) -> None:
    assert change_of(before, wanted, when) is change  # type: ignore[arg-type]


PLANS = [plan("none"), plan("less", 40_001), plan("more", 100_003), plan("speech", 70_001, modality="speech")]
flips = st.lists(st.tuples(st.integers(0, 3 * 86_400_000_000), st.sampled_from([None, *PLANS]), st.sampled_from([None, "now"]), st.integers(0, 100)))


@given(st.sampled_from(PLANS[1:]), flips)
def test_a_period_gives_no_more_than_each_plan_for_its_part_of_it_and_never_more_than_the_largest_months(
    first: Plan, drawn: list[tuple[int, Plan | None, str | None, int]]
) -> None:
    """``None``: the subscription ends, and whatever comes next is another one within the period.  Of what is there a part is spent each time."""
    whole_us = 28 * 86_400_000_000
    now, left, largest, used = subscribed(monthly(first)), monthly(first), monthly(first), Fraction(0)
    at_us, changes = 0, 0
    for after_us, wanted, when, spent in drawn:
        step_us = min(after_us, whole_us - at_us)
        used += Fraction(now.allowance_utok * step_us, whole_us)
        at_us += step_us
        at = START + timedelta(microseconds=at_us)
        left -= left * spent // 100
        change = Change.RAISE if wanted is None or now.plan == "" else change_of(now, wanted, when)  # type: ignore[arg-type]
        if change not in (Change.RAISE, Change.SWITCH):
            assert change is not Change.RESTART or now.given_utok == 0, "what was granted for the period counts in it"
            continue
        allowance_utok = 0 if wanted is None else monthly(wanted)
        taken = min(left, to_take_back(now, at)) if change is Change.SWITCH else 0
        due = due_after(now, allowance_utok, at)
        amount = 0 if wanted is None else to_give(due, now.given_utok - taken)
        left += amount - taken
        modality = None if wanted is None else wanted.allowance_modality
        name = "" if wanted is None else wanted.name
        now = replace(
            now, plan=name, allowance_utok=allowance_utok, allowance_modality=modality, due_utok=due, given_utok=now.given_utok - taken + amount
        )
        changes, largest = changes + 1, max(largest, allowance_utok)
        # A micro-Token a change is what rounding once a change may come to.
        exact = used + Fraction(allowance_utok * (whole_us - at_us), whole_us)
        assert abs(due - exact) <= changes
        assert now.given_utok <= largest + changes
        assert amount == 0 or now.given_utok <= exact + changes


many = st.lists(st.tuples(st.one_of(st.none(), st.integers(1, 3)), st.integers(0, 2), st.sampled_from([None, "chat", "speech"])), max_size=12)


@given(many)
def test_the_order_of_spending_is_total_and_as_documented(drawn: list[tuple[int | None, int, str | None]]) -> None:
    made = [
        Grant(
            id=UUID(int=number), project_id=ID, account=number, amount_utok=1, starts_at=START,
            expires_at=None if days is None else START + timedelta(days=days), priority=priority, modality=modality, kind="manual", plan=None,
            reason=None, operator="o", reference=None, created_at=START, closed_at=None, free_utok=1, held_utok=0,
        )
        for number, (days, priority, modality) in enumerate(drawn)
    ]  # fmt: skip
    ordered = sorted(made, key=spending_order)
    for first, second in pairwise(ordered):
        ends = [datetime.max.replace(tzinfo=UTC) if grant.expires_at is None else grant.expires_at for grant in (first, second)]
        assert ends[0] <= ends[1]
        if ends[0] == ends[1]:
            assert first.priority <= second.priority
            if first.priority == second.priority:
                assert (first.modality is None) <= (second.modality is None)
                if first.modality == second.modality:
                    assert first.id < second.id
