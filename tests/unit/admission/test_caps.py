"""Caps on single requests: which one holds, and where it ends."""

import uuid
from datetime import UTC, datetime
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.admission import Ask, approvals
from taximeter.identity import Caller
from taximeter.pricing import Plan

IDS = uuid.UUID(int=1)
CALLER = Caller(organisation_id=IDS, project_id=IDS, key_id=IDS, key_name="k", lane=0, allowance_account=1, prepaid_account=2)
amounts = st.integers(0, 10**15)


def plan(caps: dict[str, int], most: int | None = None, above: Literal["refuse", "approve"] = "refuse") -> Plan:
    return Plan(
        name="p",
        version=1,
        effective_from=datetime(2026, 1, 1, tzinfo=UTC),
        allowance_utok=0,
        allowance_period="none",
        request_utok_max=most,
        request_caps=caps,
        above_cap=above,
    )


def ask(of: Plan | None, maximum_utok: int, model: str = "m", modality: str = "video") -> Ask:
    return Ask(caller=CALLER, model=model, engine="e", modality=modality, tier="standard", maximum_utok=maximum_utok, plan=of)


def test_the_models_own_cap_goes_before_its_modalitys_and_that_before_the_plans() -> None:
    caps = plan({"m": 1, "video": 2}, 3)
    assert approvals.cap_utok(caps, "m", "video") == 1
    assert approvals.cap_utok(caps, "other", "video") == 2
    assert approvals.cap_utok(caps, "other", "chat") == 3
    assert approvals.cap_utok(plan({}), "other", "chat") is None


@given(cap=amounts, above=st.integers(1, 10**15))
def test_a_request_at_its_cap_runs_and_one_above_it_does_not(cap: int, above: int) -> None:
    refusing, approving = plan({"video": cap}), plan({"video": cap}, above="approve")
    assert not approvals.needs_approval(ask(refusing, cap))
    assert not approvals.needs_approval(ask(approving, cap))
    assert approvals.needs_approval(ask(approving, cap + above))
    with pytest.raises(approvals.AbovePlanCap) as caught:
        approvals.needs_approval(ask(refusing, cap + above))
    assert caught.value.headers["taximeter-cap"] in caught.value.message


@given(maximum=amounts)
def test_who_has_no_plan_has_no_cap(maximum: int) -> None:
    assert not approvals.needs_approval(ask(None, maximum))
    assert not approvals.needs_approval(ask(plan({"chat": 0}), maximum))


def test_a_refusal_says_what_may_be_done_for_each_kind_of_request() -> None:
    for modality, advice in (("video", "fewer seconds"), ("speech", "shorten the text"), ("chat", "max_tokens"), ("other", "ask for less")):
        with pytest.raises(approvals.AbovePlanCap, match=advice):
            approvals.needs_approval(ask(plan({}, 5), 6, modality=modality))


small = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=50), st.lists(st.text(max_size=20), max_size=50))


@given(request=st.dictionaries(st.text(max_size=50), small, max_size=50))
def test_what_operators_are_shown_of_a_small_request_is_all_of_it(request: dict[str, Any]) -> None:
    assert approvals.shown(request) == request


def test_what_operators_are_shown_of_a_large_request_ends_and_says_so() -> None:
    shown = approvals.shown({"input": ["x" * 5000] * 100})
    assert len(shown["input"]) == 51
    assert shown["input"][0].endswith("... (3000 characters more)")
    assert shown["input"][-1] == "... (50 more)"
    deep: Any = "end"
    for _ in range(100):
        deep = [deep]
    assert len(str(approvals.shown(deep))) < 100
