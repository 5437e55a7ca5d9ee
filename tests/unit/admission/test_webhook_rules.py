"""Standard Webhooks: what is signed, when an attempt is made again, and which addresses may be called."""

import base64
import hashlib
import hmac
import json
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

import taximeter
from taximeter.admission.events import TYPES, WebhookAddressRefused, rules
from taximeter.kernel.errors import InvalidRequest

SOURCES = Path(taximeter.__file__).parent
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
secrets = st.binary(min_size=rules.SECRET_BYTES, max_size=rules.SECRET_BYTES).map(rules.make_secret)


def now_s() -> int:
    return int(datetime.now(tz=UTC).timestamp())


def headers(signature: str, timestamp_s: int, message_id: str = "evt_1") -> dict[str, str]:
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s), "webhook-signature": signature}


def test_the_vector_of_the_specification() -> None:
    body = b'{"test": 2432232314}'
    signed = rules.signature(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(secret=secrets, other=secrets, body=st.dictionaries(st.text(), st.text()).map(lambda value: json.dumps(value).encode()))
def test_the_official_library_takes_our_signature_and_no_other(secret: str, other: str, body: bytes) -> None:
    moment = now_s()
    signed = headers(rules.signature([secret], "evt_1", moment, body), moment)
    assert Webhook(secret).verify(body, signed) == json.loads(body)
    for changed in ((body + b" ", signed), (body, {**signed, "webhook-id": "evt_2"}), (body, {**signed, "webhook-timestamp": str(moment - 1)})):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(*changed)
    if other != secret:
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(body, signed)


@given(secret=secrets, body=st.binary())
def test_a_signature_is_what_anybody_computes_from_the_text_of_the_specification(secret: str, body: bytes) -> None:
    key = base64.b64decode(secret.split("_", 1)[1])
    by_hand = base64.b64encode(hmac.new(key, b"evt_1.5." + body, hashlib.sha256).digest()).decode()
    assert rules.signature([secret], "evt_1", 5, body) == f"v1,{by_hand}"


@given(old=secrets, new=secrets)
def test_while_a_secret_is_rotated_both_verify(old: str, new: str) -> None:
    moment = now_s()
    signed = headers(rules.signature([new, old], "evt_1", moment, b"{}"), moment)
    for secret in (old, new):
        assert Webhook(secret).verify(b"{}", signed) == {}


def test_there_are_ten_attempts_over_three_days() -> None:
    waits = [rules.wait_s(attempt, 0.0, None) for attempt in range(1, 11)]
    assert waits == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400, None]


@given(attempt=st.integers(1, 9), jitter=st.floats(0, 1), wanted=st.one_of(st.none(), st.floats(0, 10**9)))
def test_a_wait_is_never_shorter_than_planned_nor_than_asked_for_and_ends_within_little_more_than_a_day(
    attempt: int, jitter: float, wanted: float | None
) -> None:
    wait = rules.wait_s(attempt, jitter, wanted)
    assert wait is not None
    assert rules.WAITS_S[attempt] <= wait <= 86_400 * 1.1
    assert wait >= min(wanted or 0, 86_400)


def test_jitter_spreads_attempts_that_failed_together() -> None:
    waits = [rules.wait_s(2, number / 10, None) or 0 for number in range(11)]
    assert (waits[0], waits[-1]) == (300, 330)
    assert all(one < other for one, other in pairwise(waits))


def test_retry_after_is_seconds_or_a_date() -> None:
    later = NOW + timedelta(seconds=90)
    assert rules.retry_after_s("120", NOW) == 120
    assert rules.retry_after_s(later.strftime("%a, %d %b %Y %H:%M:%S GMT"), NOW) == 90
    assert rules.retry_after_s((NOW - timedelta(days=1)).strftime("%a, %d %b %Y %H:%M:%S GMT"), NOW) == 0
    assert [rules.retry_after_s(text, NOW) for text in (None, "", "soon", "-5", "1e9")] == [None] * 5
    assert rules.retry_after_s("9" * 400, NOW) == 86_400


PRIVATE = (
    *("127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.1", "255.255.255.255", "224.0.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1"),
    *("192.0.2.1", "198.18.0.1", "240.0.0.1", "2001:db8::1"),
)


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_of_this_machine_or_a_private_network_is_refused(address: str) -> None:
    assert not rules.is_public(ip_address(address))
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(WebhookAddressRefused, match="private network"):
        rules.check_url(f"https://{host}/hooks", private=False)
    assert rules.check_url(f"https://{host}/hooks", private=True)


@pytest.mark.parametrize("address", ["1.1.1.1", "8.8.8.8", "2606:4700:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8"])
def test_an_address_of_the_internet_is_not(address: str) -> None:
    assert rules.is_public(ip_address(address))


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "hooks.localhost"])
def test_names_of_this_machine_are_refused(host: str) -> None:
    with pytest.raises(WebhookAddressRefused):
        rules.check_url(f"http://{host}:8000/", private=False)


@pytest.mark.parametrize(
    "url",
    [
        *("", "example.com", "ftp://example.com", "file:///etc/passwd", "https://", "https://user:word@example.com/", "https://example.com/#a"),
        *("https://a b/", "https://example.com/" + "x" * 2000, "https://example.com/\n", "http://[::1"),
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="url"):
        rules.check_url(url, private=True)


def test_types_are_exact_or_begin_so() -> None:
    assert rules.check_types(["approval.*", "budget.threshold", "approval.*"]) == ("approval.*", "budget.threshold")
    for wrong in ("", "*", "Approval.requested", "approval.", "a" * 61, "nope.*", "budget", "budget.gone", "budget.threshold.*"):
        with pytest.raises(InvalidRequest, match=r"'types' takes approval\.decided, .*, webhook\.test, or 'approval\.\*'"):
            rules.check_types([wrong])
    with pytest.raises(InvalidRequest, match="50 types at most, not 51"):
        rules.check_types(["budget.*"] * 51)


def test_events_are_looked_for_by_type_or_by_what_types_begin_with() -> None:
    assert [rules.check_kind(kind) for kind in (None, "budget", "budget.*", "budget.threshold")] == [None, "budget", "budget", "budget.threshold"]
    for wrong in ("", "nope", "bud", "budget.", "*"):
        with pytest.raises(InvalidRequest, match="is no type of events: 'type' takes"):
            rules.check_kind(wrong)


def test_every_type_that_something_emits_is_known_and_in_the_guide() -> None:
    emitted, families = set(), "approval|breaker|budget|credit|grant|limit|plan|subscription|surge|wallet|webhook"
    for path in [*SOURCES.rglob("*.sql"), *SOURCES.rglob("*.py")]:
        emitted |= set(re.findall(rf"'((?:{families})\.[a-z]+)'", path.read_text("utf-8")))
        emitted |= set(re.findall(r'"((?:grant|plan|subscription)\.[a-z]+)"', path.read_text("utf-8"))) if "plans" in path.parts else set()
    assert emitted == set(TYPES)
    guide = (SOURCES.parents[1] / "docs/guides/webhooks.md").read_text("utf-8")
    listed = "".join(line.split("|")[1] for line in guide.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"`([a-z]+\.[a-z]+)`", listed)) == set(TYPES)
