"""Fingerprints: what makes two requests the same one."""

from typing import Any

import pytest
from starlette.requests import Request

from taximeter.engines import Modality
from taximeter.gateway.body import parse_json
from taximeter.gateway.errors import InvalidJson
from taximeter.gateway.idempotency import fingerprint, fingerprint_of

BODY: dict[str, Any] = {"model": "tiny", "messages": [{"role": "user", "content": "Héllo"}], "temperature": 1}


def request_with(headers: list[tuple[bytes, bytes]]) -> Request:
    return Request({"type": "http", "headers": headers})


def test_a_fingerprint_is_the_same_in_every_process_and_release() -> None:
    # Keys outlive processes: a change of the rule would refuse the repeats of a whole day.
    assert fingerprint("chat", BODY).hex() == "18222e6053bdd3b694e65a74351311c9455d3217f54dae8dbc7e7c957e7a108b"


@pytest.mark.parametrize(
    "text",
    [
        b'{"temperature": 1, "messages": [{"content": "H\\u00e9llo", "role": "user"}], "model": "tiny"}',
        '{"model":"tiny","messages":[{"role":"user","content":"Héllo"}],"temperature":1}'.encode(),
        '{"model":"other","model":"tiny","messages":[{"role":"user","content":"Héllo"}],"temperature":1}'.encode(),
    ],
)
def test_order_spaces_and_escapes_make_no_difference(text: bytes) -> None:
    assert fingerprint("chat", parse_json(text)) == fingerprint("chat", BODY)


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"messages": [{"role": "user", "content": "Hello"}]},
        {"temperature": 1.0},
        {"temperature": "1"},
        {"temperature": None},
        {"stream": True},
        {"stream_options": None},
        {"unknown": {}},
    ],
)
def test_whatever_the_caller_says_differently_makes_a_difference(change: dict[str, Any]) -> None:
    assert fingerprint("chat", {**BODY, **change}) != fingerprint("chat", BODY)


def test_lists_keep_their_order() -> None:
    assert fingerprint("embeddings", {"input": ["a", "b"]}) != fingerprint("embeddings", {"input": ["b", "a"]})


def test_the_same_body_on_another_route_is_another_request() -> None:
    kinds: tuple[Modality, ...] = ("chat", "embeddings", "speech", "video")
    assert len({fingerprint(kind, BODY) for kind in kinds}) == len(kinds)


def test_requests_without_a_key_are_not_fingerprinted() -> None:
    assert fingerprint_of(request_with([]), "chat", BODY) == b""
    assert fingerprint_of(request_with([(b"idempotency-key", b"k")]), "chat", BODY) == fingerprint("chat", BODY)


def test_a_body_that_is_nested_too_deeply_is_refused() -> None:
    body: dict[str, Any] = {}
    for _ in range(100_000):
        body = {"a": body}
    with pytest.raises(InvalidJson):
        fingerprint("chat", body)
