"""What is left of limits, as headers say it."""

import pytest

from taximeter.admission.limits.headers import duration, headers
from taximeter.identity.terms import Limit
from taximeter.ledger import Outcome, Status
from taximeter.ledger.model import Note

S = 1_000_000_000
REQUESTS = Limit(bucket="a", scope="key", kind="requests", most=600)
TOKENS = Limit(bucket="b", scope="project", kind="tokens", most=5_000_000, window_s=3600)
SLOTS = Limit(bucket="c", scope="plan", kind="concurrency", most=4, window_s=0)


def outcome(*notes: Note) -> Outcome:
    return Outcome(Status.APPLIED, 0, 0, notes)


def test_without_limits_there_is_nothing_to_say() -> None:
    assert headers((), outcome()) == {}
    assert headers((REQUESTS,), outcome(Note(32, 1, 1))) == {}


def test_each_kind_is_told_in_both_ways() -> None:
    told = headers((REQUESTS, TOKENS, SLOTS), outcome(Note(0, 599, S // 10), Note(1, 1_999_999, 90 * S), Note(2, 3, 0)))
    assert told == {
        "ratelimit-policy": '"requests";q=600;w=60, "tokens";q=5;w=3600;qu="tokens", "concurrency";q=4;qu="concurrent-requests"',
        "ratelimit": '"requests";r=599;t=1, "tokens";r=1;t=90, "concurrency";r=3',
        "x-ratelimit-limit-requests": "600",
        "x-ratelimit-remaining-requests": "599",
        "x-ratelimit-reset-requests": "100ms",
        "x-ratelimit-limit-tokens": "5",
        "x-ratelimit-remaining-tokens": "1",
        "x-ratelimit-reset-tokens": "1m30s",
    }


def test_of_several_limits_of_a_kind_the_tightest_is_told() -> None:
    wide = Limit(bucket="d", scope="model", model="m", kind="requests", most=10_000)
    told = headers((wide, REQUESTS), outcome(Note(0, 12, 59 * S), Note(1, 7, S)))
    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("600", "7")
    told = headers((wide, REQUESTS), outcome(Note(0, 7, 59 * S), Note(1, 7, S)))
    assert told["x-ratelimit-limit-requests"] == "10000"


@pytest.mark.parametrize(
    ("span_ns", "text"),
    [
        (0, "0s"),
        (1, "1ms"),
        (20_000_000, "20ms"),
        (999_000_001, "1s"),
        (S, "1s"),
        (1_500_000_000, "1.5s"),
        (59_999 * 1_000_000, "59.999s"),
        (60 * S, "1m0s"),
        (360 * S, "6m0s"),
        (3_600 * S, "1h0m0s"),
        (86_399 * S + 1, "23h59m59.001s"),
    ],
)
def test_times_are_written_as_openai_writes_them(span_ns: int, text: str) -> None:
    assert duration(span_ns) == text
