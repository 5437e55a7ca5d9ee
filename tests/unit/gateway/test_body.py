"""Reading bodies: bounded, strict, tolerant of unknown fields."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from taximeter.gateway import body
from taximeter.gateway.errors import BodyTimeout, BodyTooLarge, ClientGone, InvalidJson, InvalidUtf8, MissingField, UnsupportedMediaType
from taximeter.kernel.errors import InvalidRequest

pytestmark = pytest.mark.anyio


class Upload:
    """A client that sends pieces and counts how many were taken."""

    def __init__(self, pieces: Iterable[bytes], *, leaves: bool = False) -> None:
        self._messages = self._make(list(pieces), leaves=leaves)
        self.taken = 0

    @staticmethod
    async def _make(pieces: list[bytes], *, leaves: bool) -> AsyncIterator[Message]:
        for index, piece in enumerate(pieces):
            yield {"type": "http.request", "body": piece, "more_body": leaves or index < len(pieces) - 1}
        yield {"type": "http.disconnect"}

    async def __call__(self) -> Message:
        self.taken += 1
        return await anext(self._messages)


def request(upload: Upload, **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, upload)


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await body.read_body(request(Upload([b"ab", b"", b"cd"])), 4) == b"abcd"
    assert await body.read_body(request(Upload([b""])), 4) == b""


async def test_an_announced_giant_is_refused_without_reading_a_byte() -> None:
    upload = Upload([b"x"])
    with pytest.raises(BodyTooLarge) as caught:
        await body.read_body(request(upload, content_length=str(2 * 1024**3)), 10_000_000)
    assert upload.taken == 0
    assert caught.value.headers == {"Connection": "close"}


async def test_an_unannounced_giant_is_refused_at_the_limit() -> None:
    upload = Upload([b"x" * 600] * 1000)
    with pytest.raises(BodyTooLarge):
        await body.read_body(request(upload), 1000)
    assert upload.taken == 2


async def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert len(await body.read_body(request(Upload([b"x" * 1000]), content_length="1000"), 1000)) == 1000


async def test_a_client_that_leaves_half_way_is_noticed() -> None:
    with pytest.raises(ClientGone):
        await body.read_body(request(Upload([b"half"], leaves=True)), 1000)


async def test_a_body_that_does_not_come_in_time_is_refused() -> None:
    async def never() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b""}
    with pytest.raises(BodyTimeout, match=r"within 0\.01 seconds") as caught:
        await body.read_body(Request(scope, never), 1000, 0.01)
    assert caught.value.headers == {"Connection": "close"}


async def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(UnsupportedMediaType):
        await body.read_body(request(Upload([b"x"]), content_encoding="gzip"), 1000)


@pytest.mark.parametrize("kind", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.api+json", ""])
async def test_json_is_read_under_every_name_it_has(kind: str) -> None:
    assert await body.read_json(request(Upload([b'{"a": 1}']), content_type=kind), 1000) == {"a": 1}


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml"])
async def test_other_content_types_are_refused(kind: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        await body.read_json(request(Upload([b"{}"]), content_type=kind), 1000)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nope",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": 1} {"b": 2}',
        b"{'a': 1}",
        b'{"a": "\x00"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\\u0000"}',
        b'{"\\u0000": 1}',
        b'{"a": [{"b": "x\\u0000y"}]}',
        b'\xef\xbb\xbf{"a": 1}',
        b"[" * 100_000,
        b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
        b"[]",
        b"1",
        b'"text"',
        b"null",
    ],
)
def test_what_is_not_one_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidJson):
        body.parse_json(text)


@pytest.mark.parametrize(
    "text", [b'{"a": "\xff"}', b'{"\xc3\x28": 1}', b'{"a": "\xed\xa0\x80"}', '{"a": 1}'.encode("utf-16"), b"\xff", b'{"a": \xff}']
)
def test_invalid_utf8_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidUtf8):
        body.parse_json(text)


def test_an_escaped_escape_is_no_nul() -> None:
    assert body.parse_json(b'{"a": "\\\\u0000"}') == {"a": "\\u0000"}


def test_of_a_field_that_stands_twice_the_last_one_counts() -> None:
    assert body.parse_json(b'{"a": 1, "a": 2}') == {"a": 2}


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), JSON, max_size=4))
def test_every_object_is_read_as_it_was_written_unless_it_holds_nul(value: dict[str, Any]) -> None:
    text = json.dumps(value)
    if "\\u0000" in json.dumps(value).replace("\\\\", ""):
        with pytest.raises(InvalidJson):
            body.parse_json(text.encode())
    else:
        assert body.parse_json(text.encode()) == value


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(text: bytes) -> None:
    with contextlib.suppress(InvalidJson, InvalidUtf8):
        assert isinstance(body.parse_json(text), dict)


def test_the_model_is_taken_out_of_the_body() -> None:
    fields = {"model": "m", "input": "x"}
    assert body.take_model(fields) == "m"
    assert fields == {"input": "x"}


@pytest.mark.parametrize("fields", [{}, {"model": None}, {"model": ""}])
def test_a_missing_model_is_named(fields: dict[str, Any]) -> None:
    with pytest.raises(MissingField) as caught:
        body.take_model(fields)
    assert caught.value.param == "model"


@pytest.mark.parametrize("model", [1, ["m"], {"id": "m"}, True, "m" * 201])
def test_a_model_that_is_no_name_is_refused(model: object) -> None:
    with pytest.raises(InvalidRequest):
        body.take_model({"model": model})


@pytest.mark.parametrize(("value", "expected"), [(None, False), (False, False), (True, True)])
def test_a_flag_is_false_unless_it_is_set(value: object, expected: object) -> None:
    assert body.take_flag({"stream": value}, "stream") is expected


@pytest.mark.parametrize("value", ["true", 1, 0, []])
def test_a_flag_that_is_no_boolean_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        body.take_flag({"stream": value}, "stream")


def test_a_choice_falls_back_to_its_first() -> None:
    assert body.take_choice({}, "encoding_format", ("float", "base64")) == "float"
    assert body.take_choice({"encoding_format": "base64"}, "encoding_format", ("float", "base64")) == "base64"


@pytest.mark.parametrize("value", ["hex", 1, ["float"], {}])
def test_any_other_choice_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest):
        body.take_choice({"encoding_format": value}, "encoding_format", ("float", "base64"))
