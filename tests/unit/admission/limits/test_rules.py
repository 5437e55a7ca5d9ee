"""Which limits a request meets, what it asks of them, and what a refused caller is told."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from taximeter.admission import AboveRateLimit, Ask, ConcurrencyLimited, RateLimited
from taximeter.admission.limits import limits_on, plan_bucket, refusal, take
from taximeter.admission.limits.rules import LIMITS_PER_OWNER, NEVER_NS, check_height
from taximeter.identity import Caller
from taximeter.identity.terms import Limit, Terms
from taximeter.kernel.errors import InvalidRequest
from taximeter.pricing import Plan

ID = UUID(int=1)
CALLER = Caller(organisation_id=ID, project_id=ID, key_id=ID, key_name="k", lane=0, allowance_account=1, prepaid_account=2)
ASK = Ask(caller=CALLER, model="m", engine="e", modality="chat", tier="standard", maximum_utok=100)
PLAN = Plan("p", 1, datetime(2026, 1, 1, tzinfo=UTC), 0, "none", requests_per_minute=60, tokens_per_minute_utok=5_000_000, concurrent_max=4)
PER_KEY = Limit(bucket=str(ID), scope="key", kind="requests", most=60)


def test_who_has_no_limits_asks_nothing() -> None:
    assert limits_on(ASK) == ()


def test_the_limits_of_key_project_model_and_plan_come_together() -> None:
    other = Limit(bucket="b", scope="project", model="another", kind="requests", most=1)
    own = Limit(bucket="c", scope="project", model="m", kind="concurrency", most=1, window_s=0)
    caller = replace(CALLER, requests_per_minute=60, tokens_per_minute_utok=7, terms=Terms(limits=(other, own)))
    found = limits_on(replace(ASK, caller=caller, plan=PLAN))
    assert [(limit.scope, limit.kind, limit.most) for limit in found] == [
        ("project", "concurrency", 1),
        ("key", "requests", 60),
        ("key", "tokens", 7),
        ("plan", "requests", 60),
        ("plan", "tokens", 5_000_000),
        ("plan", "concurrency", 4),
    ]
    assert {limit.bucket for limit in found} == {"c", str(ID), plan_bucket(ID)}


def test_a_plan_is_counted_by_project_and_in_a_bucket_of_its_own() -> None:
    assert len({plan_bucket(ID), plan_bucket(UUID(int=2)), str(ID)}) == 3
    # What is counted there outlives a release.
    assert plan_bucket(ID) == "bfbd9003-990f-58d2-9538-b8d8412483f0"


def test_a_request_meets_no_more_limits_than_there_are_notes_for() -> None:
    # Of key, project and model, the first two also for one model; two that keys are made with; three of plans.
    assert 5 * LIMITS_PER_OWNER + 2 + 3 <= 32


def test_a_hold_asks_for_one_request_and_its_maximum() -> None:
    tokens = Limit(bucket="b", scope="project", kind="tokens", most=5, window_s=3600, shadow=True)
    assert take((PER_KEY, tokens)) == (
        (str(ID), "requests", 60, 60, False),
        ("b", "tokens", 5, 3600, True),
    )


@pytest.mark.parametrize(("wait_ns", "seconds"), [(1, "1"), (1_000_000_000, "1"), (1_000_000_001, "2")])
def test_the_wait_is_told_in_whole_seconds_rounded_up(wait_ns: int, seconds: str) -> None:
    error = refusal(PER_KEY, "m", 100, wait_ns)
    assert isinstance(error, RateLimited)
    assert error.headers == {"retry-after": seconds}
    assert error.message == f"the key is limited to 60 requests a minute; nothing was run or charged, try again in {seconds} s"


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (Limit(bucket="b", scope="project", kind="tokens", most=5_000_000, window_s=3600), "the project is limited to 5 Tokens an hour"),
        (Limit(bucket="b", scope="plan", kind="tokens", most=5_000_000, window_s=86_400), "the project's plan is limited to 5 Tokens a day"),
        (Limit(bucket="b", scope="model", model="m", kind="requests", most=1, window_s=7), "the model m is limited to 1 requests in 7 seconds"),
        (Limit(bucket="b", scope="key", model="m", kind="requests", most=1, window_s=1), "the key with m is limited to 1 requests a second"),
    ],
)
def test_a_refusal_names_the_limit_and_whose_it_is(limit: Limit, words: str) -> None:
    assert refusal(limit, "m", 1, 5).message.startswith(f"{words}; ")


def test_what_never_fits_has_no_time_to_wait_for() -> None:
    error = refusal(Limit(bucket="b", scope="key", kind="tokens", most=5_000_000), "m", 6_000_000, NEVER_NS)
    assert isinstance(error, AboveRateLimit)
    assert error.headers == {}
    assert error.message == "this request may cost up to 6 Tokens and the key is limited to 5 Tokens a minute; ask for less"


def test_whoever_has_too_many_running_may_come_back_soon() -> None:
    error = refusal(Limit(bucket="b", scope="project", kind="concurrency", most=4, window_s=0), "m", 1, 10**9)
    assert isinstance(error, ConcurrencyLimited)
    assert (error.status, error.headers["retry-after"]) == (429, "1")
    assert error.message.startswith("the project may have 4 requests at the same time")


@pytest.mark.parametrize(
    ("kind", "most", "window_s", "param"),
    [
        ("requests", 0, 60, "most"),
        ("requests", 10**9 + 1, 60, "most"),
        ("tokens", 10**15 + 1, 60, "most"),
        ("requests", 1, None, "window"),
        ("tokens", 1, 0, "window"),
        ("tokens", 1, 86_401, "window"),
        ("concurrency", 1, 60, "window"),
    ],
)
def test_a_limit_that_nothing_could_meet_is_refused(kind: str, most: int, window_s: int | None, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_height(kind, most, window_s)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("kind", "most", "window_s"), [("requests", 1, 1), ("requests", 10**9, 86_400), ("tokens", 10**15, 60), ("concurrency", 1, None)]
)
def test_the_least_and_the_highest_limits_are_taken(kind: str, most: int, window_s: int | None) -> None:
    check_height(kind, most, window_s)
