"""Keys as text and the judgement of credentials."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.identity import rules
from taximeter.identity.errors import ExpiredApiKey, InvalidApiKey, RevokedApiKey
from taximeter.identity.model import Caller, Credential, KeyText
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.ids import ALPHABET

PREFIX = "0123abcd"
SECRET = "0123456789abcdefghjkmnpqrstvwxyz01234567"
TEXT = KeyText(PREFIX, hashlib.sha256(SECRET.encode()).digest())


@pytest.fixture
def credential(caller: Caller) -> Credential:
    return Credential(caller=caller, secret_sha256=TEXT.secret_sha256, revoked=False, remaining_s=None)


def test_a_formatted_key_is_parsed_back_to_its_prefix_and_hash() -> None:
    assert rules.parse_key(f"Bearer {rules.format_key(PREFIX, SECRET)}") == TEXT


@pytest.mark.parametrize("header", [f"bearer tx-{PREFIX}-{SECRET}", f"  BEARER   tx-{PREFIX}-{SECRET}  "])
def test_the_scheme_is_read_in_any_case_and_with_spaces(header: str) -> None:
    assert rules.parse_key(header) == TEXT


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"tx-{PREFIX}-{SECRET}",
        f"Basic tx-{PREFIX}-{SECRET}",
        f"Bearer sk-{PREFIX}-{SECRET}",
        f"Bearer tx-{PREFIX}-{SECRET}0",
        f"Bearer tx-{PREFIX}-{SECRET[:-1]}",
        f"Bearer tx-{PREFIX.upper()}-{SECRET}",
        f"Bearer tx-{PREFIX}-{SECRET[:-1]}u",
        f"Bearer tx-{PREFIX}-{SECRET[:-1]}é",
        "Bearer \x00",
    ],
)
def test_what_cannot_be_a_key_is_refused_without_a_look_up(header: str | None) -> None:
    with pytest.raises(InvalidApiKey):
        rules.parse_key(header)


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    with pytest.raises(InvalidApiKey):
        rules.parse_key(f"Bearer !{text}")


@given(st.text(ALPHABET, min_size=8, max_size=8), st.text(ALPHABET, min_size=40, max_size=40))
def test_every_drawn_key_is_parsed(prefix: str, secret: str) -> None:
    assert rules.parse_key(f"Bearer {rules.format_key(prefix, secret)}") == KeyText(prefix, rules.hash_secret(secret))


def test_the_right_secret_proves_the_caller(credential: Credential, caller: Caller) -> None:
    assert rules.judge(credential, TEXT) is caller


@pytest.mark.parametrize("change", [{}, {"revoked": True}, {"remaining_s": -1.0}])
def test_a_wrong_secret_learns_nothing_about_the_key(credential: Credential, change: dict[str, object]) -> None:
    with pytest.raises(InvalidApiKey):
        rules.judge(replace(credential, **change), KeyText(PREFIX, b"\0" * 32))  # type: ignore[arg-type]


def test_an_unknown_prefix_is_an_invalid_key() -> None:
    with pytest.raises(InvalidApiKey):
        rules.judge(None, TEXT)


def test_a_revoked_key_is_told_so(credential: Credential) -> None:
    with pytest.raises(RevokedApiKey):
        rules.judge(replace(credential, revoked=True), TEXT)


@pytest.mark.parametrize("remaining_s", [0.0, -0.001])
def test_an_expired_key_is_told_so(credential: Credential, remaining_s: float) -> None:
    with pytest.raises(ExpiredApiKey):
        rules.judge(replace(credential, remaining_s=remaining_s), TEXT)


def test_tokens_are_compared_by_hash() -> None:
    expected = hashlib.sha256(b"admin").digest()
    assert rules.same_token("admin", expected)
    assert not rules.same_token("admim", expected)
    assert not rules.same_token("", expected)
    assert not rules.same_token(None, expected)


def test_a_name_is_trimmed() -> None:
    assert rules.check_name("  Research  ") == "Research"
    assert rules.check_name("研究") == "研究"


@pytest.mark.parametrize("name", ["", "   ", "a" * 201, "two\nlines", "nul\0"])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        rules.check_name(name)
    assert caught.value.param == "name"


def test_an_expiry_is_a_time_to_come_that_utc_has_too() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    rules.check_expiry(datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC), now)
    rules.check_expiry(datetime.max.replace(tzinfo=UTC), now)
    west, east = timezone(timedelta(hours=-14)), timezone(timedelta(hours=14))
    past = [now, datetime.max.replace(tzinfo=west), datetime.min.replace(tzinfo=east), now.replace(tzinfo=None, year=2100)]
    for expires_at in past:
        with pytest.raises(InvalidRequest) as caught:
            rules.check_expiry(expires_at, now)
        assert caught.value.param == "expires_at"
