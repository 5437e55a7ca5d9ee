"""Multipart forms."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.gateway.errors import InvalidForm, InvalidUtf8
from taximeter.gateway.forms import PARTS_MAX, field_text, parse_form

BOUNDARY = b"---line---"


def form(*fields: tuple[str, bytes], end: bytes = b"--\r\n") -> bytes:
    text = b""
    for disposition, value in fields:
        text += b"--" + BOUNDARY + b"\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + value + b"\r\n"
    return text + b"--" + BOUNDARY + end


def test_fields_and_files_are_told_apart() -> None:
    parts = parse_form(form(('name="prompt"', b"a ball"), ('name="input_reference"; filename="a.png"', b"\x89PNG")), BOUNDARY)
    assert [(part.name, part.filename, bytes(part.data)) for part in parts] == [
        ("prompt", None, b"a ball"),
        ("input_reference", "a.png", b"\x89PNG"),
    ]


def test_a_field_is_utf8() -> None:
    (part,) = parse_form(form(('name="prompt"', "一个红球".encode())), BOUNDARY)
    assert field_text(part) == "一个红球"


def test_a_field_that_is_not_utf8_is_refused_and_not_guessed() -> None:
    (part,) = parse_form(form(('name="prompt"', b"caf\xe9")), BOUNDARY)
    with pytest.raises(InvalidUtf8) as caught:
        field_text(part)
    assert caught.value.param == "prompt"


def test_a_nul_in_a_field_is_refused() -> None:
    (part,) = parse_form(form(('name="prompt"', b"a\0b")), BOUNDARY)
    with pytest.raises(InvalidForm):
        field_text(part)


def test_a_form_without_fields_is_empty() -> None:
    assert parse_form(form(), BOUNDARY) == []


@pytest.mark.parametrize("text", [b"", b"not a form", b"--other\r\n\r\n", form(('name="a"', b"1"), end=b"")])
def test_what_is_no_complete_form_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidForm):
        parse_form(text, BOUNDARY)


def test_a_form_has_a_limit_of_fields() -> None:
    assert len(parse_form(form(*[('name="a"', b"1")] * PARTS_MAX), BOUNDARY)) == PARTS_MAX
    with pytest.raises(InvalidForm):
        parse_form(form(*[('name="a"', b"1")] * (PARTS_MAX + 1)), BOUNDARY)


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(noise: bytes) -> None:
    for text in (noise, b"--" + BOUNDARY + b"\r\n" + noise, form(('name="a"', noise))):
        with contextlib.suppress(InvalidForm):
            parse_form(text, BOUNDARY)
