"""Reading request bodies: bounded, strict about encoding, tolerant of unknown fields."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.types import Receive

from taximeter.gateway.errors import (
    BodyTimeout,
    BodyTooLarge,
    ClientGone,
    InvalidJson,
    InvalidUtf8,
    MissingField,
    UnsupportedMediaType,
)
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.patience import Patience

MODEL_LENGTH_MAX = 200
_decode = msgspec.json.Decoder().decode


async def read_body(request: Request, bytes_max: int, timeout_s: float | None = None) -> bytes:
    """The whole body.

    Raises BodyTooLarge as soon as it is announced or found to be longer, without reading the rest,
    BodyTimeout when it has not come within ``timeout_s`` seconds (None: however long it takes),
    UnsupportedMediaType when it is compressed, and ClientGone when the client left half-way.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        message = "Compressed request bodies are not accepted; send the body as it is."
        raise UnsupportedMediaType(message)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > bytes_max:
        raise _too_large(bytes_max)
    if timeout_s is None:
        return await _collect(request.receive, bytes_max)
    patience = Patience(timeout_s)
    try:
        with patience:
            return await _collect(request.receive, bytes_max)
    except TimeoutError as error:
        message = f"The request body did not arrive within {timeout_s:g} seconds; send it faster, or send less."
        raise BodyTimeout(message, headers={"Connection": "close"}) from error
    finally:
        patience.close()


async def _collect(receive: Receive, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    length = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        more = message.get("more_body", False)
        part = message.get("body", b"")
        length += len(part)
        if length > bytes_max:
            raise _too_large(bytes_max)
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large(bytes_max: int) -> BodyTooLarge:
    # The rest of the body is still on the way: the connection cannot carry another request.
    return BodyTooLarge(f"The request body is larger than {bytes_max} bytes; send less.", headers={"Connection": "close"})


async def read_json(request: Request, bytes_max: int, timeout_s: float | None = None) -> dict[str, Any]:
    """The body as a JSON object.

    Of a field that stands twice, the last one counts, here as with OpenAI; nothing behind the gateway
    sees the body as it was sent, so that no two parts can read it differently.  Raises
    UnsupportedMediaType, BodyTooLarge, BodyTimeout, InvalidUtf8 or InvalidJson.
    """
    check_json_type(request)
    return parse_json(await read_body(request, bytes_max, timeout_s))


def check_json_type(request: Request) -> None:
    """Raises UnsupportedMediaType when the body is said to be something else than JSON."""
    kind = media_type(request)
    if kind not in ("", "application/json") and not kind.endswith("+json"):
        message = f"This route reads 'application/json', not '{kind[:100]}'."
        raise UnsupportedMediaType(message)


def parse_json(text: bytes) -> dict[str, Any]:
    """A JSON object.  Raises InvalidUtf8 or InvalidJson."""
    try:
        body = _decode(text)
    except UnicodeDecodeError as error:
        raise _not_utf8() from error
    except msgspec.DecodeError as error:
        # The reader only looks at the encoding inside of texts; UTF-16 fails at its first byte.
        if not _is_utf8(text):
            raise _not_utf8() from error
        message = f"The request body is not valid JSON: {error}."
        raise InvalidJson(message) from error
    except RecursionError as error:
        message = "The request body is nested too deeply."
        raise InvalidJson(message) from error
    if not isinstance(body, dict):
        message = "The request body must be a JSON object."
        raise InvalidJson(message)
    # PostgreSQL cannot store NUL in text.  It only comes as this escape; raw, it is not JSON.
    if b"\\u0000" in text and _has_nul(body):
        message = "The request body has a NUL character (\\u0000) in a text; remove it."
        raise InvalidJson(message)
    return body


def _not_utf8() -> InvalidUtf8:
    return InvalidUtf8("The request body is not valid UTF-8.")


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _has_nul(value: Any) -> bool:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any("\0" in key or _has_nul(item) for key, item in value.items())
    return isinstance(value, list) and any(_has_nul(item) for item in value)


def media_type(request: Request) -> str:
    """The type of the body, without parameters, in lower case; empty when there is none."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def take_model(body: dict[str, Any]) -> str:
    """Remove and return the model's name.  Raises MissingField or InvalidRequest."""
    model = body.pop("model", None)
    if model is None or model == "":
        message = "You must provide a model; GET /v1/models lists them."
        raise MissingField(message, param="model")
    if not isinstance(model, str) or len(model) > MODEL_LENGTH_MAX:
        message = f"'model' must be a text of at most {MODEL_LENGTH_MAX} characters."
        raise InvalidRequest(message, param="model")
    return model


def take_flag(body: dict[str, Any], name: str) -> bool:
    """Remove and return an optional boolean; absent and null are false.  Raises InvalidRequest."""
    value = body.pop(name, None)
    if value is None:
        return False
    if not isinstance(value, bool):
        message = f"'{name}' must be true or false."
        raise InvalidRequest(message, param=name)
    return value


def take_choice(body: dict[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """Remove and return an optional text out of ``choices``; the first is the default.  Raises InvalidRequest."""
    value = body.pop(name, None)
    if value is None:
        return choices[0]
    if value not in choices:
        message = f"'{name}' must be one of {', '.join(choices)}."
        raise InvalidRequest(message, param=name)
    assert isinstance(value, str)
    return value
