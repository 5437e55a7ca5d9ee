"""What the posting function is asked, and what a refused caller is told."""

import uuid

import pytest

from taximeter.admission import AboveRateLimit, RateLimited, given_back, refusal, taken
from taximeter.identity import Caller

IDS = uuid.UUID(int=1)


def caller(requests: int | None = None, tokens_utok: int | None = None) -> Caller:
    return Caller(
        organisation_id=IDS,
        project_id=IDS,
        key_id=IDS,
        key_name="k",
        lane=0,
        allowance_account=1,
        prepaid_account=2,
        requests_per_minute=requests,
        tokens_per_minute_utok=tokens_utok,
    )


def test_a_key_without_limits_asks_nothing() -> None:
    assert taken(caller(), 100) is None
    assert given_back(caller(), 100, 1) is None


def test_a_hold_takes_its_maximum_and_a_resolution_gives_the_rest_back() -> None:
    limits = taken(caller(60, 5_000), 100)
    assert limits == {"key_id": str(IDS), "requests_per_minute": 60, "tokens_per_minute_utok": 5_000, "amount_utok": 100}
    back = given_back(caller(60, 5_000), 100, 30)
    assert back == {"key_id": str(IDS), "tokens_per_minute_utok": 5_000, "amount_utok": 70}


@pytest.mark.parametrize(("limit", "charged"), [(None, 30), (5_000, 100), (5_000, 130)])
def test_nothing_is_given_back_without_a_limit_or_a_rest(limit: int | None, charged: int) -> None:
    assert given_back(caller(60, limit), 100, charged) is None


@pytest.mark.parametrize(("wait_ns", "seconds"), [(1, "1"), (1_000_000_000, "1"), (1_000_000_001, "2")])
def test_the_wait_is_told_in_whole_seconds_rounded_up(wait_ns: int, seconds: str) -> None:
    error = refusal(caller(60, 5_000_000), 100, wait_ns)
    assert isinstance(error, RateLimited)
    assert error.headers == {"retry-after": seconds}
    assert "60 requests and 5 Tokens a minute" in error.message


def test_what_never_fits_has_no_time_to_wait_for() -> None:
    error = refusal(caller(None, 5_000_000), 6_000_000, -1)
    assert isinstance(error, AboveRateLimit)
    assert error.headers == {}
