"""Multipart forms, read from a bounded body.  Strict UTF-8, and nothing touches the disk."""

from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from taximeter.gateway.body import read_body
from taximeter.gateway.errors import InvalidForm, InvalidUtf8

PARTS_MAX = 50


@dataclass(slots=True)
class Part:
    """One part of a form; ``filename`` is None for a plain field."""

    name: str = ""
    filename: str | None = None
    data: bytearray = field(default_factory=bytearray)


async def read_form(request: Request, bytes_max: int, timeout_s: float | None = None) -> list[Part]:
    """The form's parts in order.  Raises BodyTooLarge, BodyTimeout, InvalidForm or InvalidUtf8."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if not boundary:
        message = "The form has no boundary in its Content-Type."
        raise InvalidForm(message)
    return parse_form(await read_body(request, bytes_max, timeout_s), boundary)


def parse_form(body: bytes, boundary: bytes) -> list[Part]:
    """The parts of a multipart body.  Raises InvalidForm."""
    reader = _Reader()
    callbacks: Any = {
        "on_part_begin": reader.begin,
        "on_part_data": reader.data,
        "on_header_field": reader.header_name,
        "on_header_value": reader.header_value,
        "on_header_end": reader.header_end,
        "on_end": reader.end,
    }
    try:
        parser = MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        message = "The request body is not a well-formed multipart form."
        raise InvalidForm(message) from error
    if not reader.complete:
        message = "The multipart form is cut off before its closing boundary."
        raise InvalidForm(message)
    return reader.parts


def field_text(part: Part) -> str:
    """A field's value.  Raises InvalidUtf8 or InvalidForm."""
    try:
        text = part.data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"The form field '{part.name}' is not valid UTF-8."
        raise InvalidUtf8(message, param=part.name) from error
    if "\0" in text:
        message = f"The form field '{part.name}' has a NUL character; remove it."
        raise InvalidForm(message, param=part.name)
    return text


class _Reader:
    """The parser's callbacks."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.complete = False
        self._name = b""
        self._value = b""

    def begin(self) -> None:
        if len(self.parts) >= PARTS_MAX:
            message = f"A form may have at most {PARTS_MAX} fields."
            raise InvalidForm(message)
        self.parts.append(Part())

    def data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data += data[start:end]

    def header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        if self._name.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            part = self.parts[-1]
            part.name = options.get(b"name", b"").decode("utf-8", "replace")
            filename = options.get(b"filename")
            part.filename = None if filename is None else filename.decode("utf-8", "replace")
        self._name = self._value = b""

    def end(self) -> None:
        self.complete = True
