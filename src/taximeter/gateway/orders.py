"""From a request's headers and body to an order for metering."""

import re
from datetime import datetime
from fractions import Fraction
from typing import Any

from starlette.requests import Request

from taximeter.engines import Modality
from taximeter.gateway.body import read_json, take_model
from taximeter.gateway.idempotency import IDEMPOTENCY_KEY
from taximeter.gateway.services import Services
from taximeter.identity import Caller
from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.units import parse_tokens
from taximeter.metering import Order

MAX_TOKENS = "taximeter-max-tokens"
MAX_MULTIPLIER = "taximeter-max-multiplier"
QUOTE = "taximeter-quote"
DEADLINE = "taximeter-deadline"
HEADER_LENGTH_MAX = 255
YEARS = range(1971, 9999)
# ASCII digits only, and no exponent: what is meant must be plain.
_MULTIPLIER = re.compile(r"[0-9]{1,4}(?:\.[0-9]{1,6})?")


async def authenticate(services: Services, request: Request) -> Caller:
    """Who sends this request.  Raises Unauthenticated, TooManyFailedKeys."""
    return await services.identity.authenticate(request.headers.get("authorization"), address_of(request))


def address_of(request: Request) -> str:
    """Where a request comes from: the peer of its connection, or whom a trusted proxy names."""
    client = request.scope.get("client")
    return client[0] if client else ""


async def read_call(services: Services, request: Request) -> tuple[Caller, dict[str, Any]]:
    """The caller and the JSON body; strangers' bodies are not read."""
    caller = await authenticate(services, request)
    return caller, await read_json(request, services.settings.body_bytes_max, services.settings.body_timeout_s)


def make_order(
    request: Request, caller: Caller, modality: Modality, body: dict[str, Any], *, stream: bool = False, fingerprint: bytes = b""
) -> Order:
    """The order in ``body`` and the headers; ``fingerprint`` is of the body as it came.  Raises InvalidRequest, naming the header or field."""
    return Order(
        caller=caller,
        model=take_model(body),
        modality=modality,
        request=body,
        stream=stream,
        tokens_max_utok=_tokens_max(request),
        multiplier_max=_multiplier_max(request),
        quote_id=_short_header(request, QUOTE),
        idempotency_key=_short_header(request, IDEMPOTENCY_KEY),
        fingerprint=fingerprint,
        deadline_ms=_deadline(request),
    )


def _tokens_max(request: Request) -> int | None:
    text = _one_header(request, MAX_TOKENS)
    if text is None:
        return None
    try:
        return parse_tokens(text[:HEADER_LENGTH_MAX])
    except ValueError as error:
        message = f"The header '{MAX_TOKENS}' must be a decimal number of Tokens such as 12.5: {error}."
        raise InvalidRequest(message, param=MAX_TOKENS) from error


def _multiplier_max(request: Request) -> Fraction | None:
    text = _one_header(request, MAX_MULTIPLIER)
    return None if text is None else parse_multiplier(text.strip(), MAX_MULTIPLIER)


def parse_multiplier(value: object, name: str) -> Fraction:
    """The highest multiplier that a sender takes: a number above 0, or one as a text.  Raises InvalidRequest, naming the header or field."""
    text = value if isinstance(value, str) else str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""
    multiplier = Fraction(text) if _MULTIPLIER.fullmatch(text) else Fraction(0)
    if multiplier <= 0:
        message = f"'{name}' must be a decimal number above 0 with at most six decimals, such as 1.5."
        raise InvalidRequest(message, param=name)
    return multiplier


def _deadline(request: Request) -> int | None:
    text = _one_header(request, DEADLINE)
    if text is None:
        return None
    try:
        moment: datetime | None = datetime.fromisoformat(text[:HEADER_LENGTH_MAX].strip())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year not in YEARS:
        message = f"The header '{DEADLINE}' must be a time with its zone, such as 2027-01-31T18:00:00Z."
        raise InvalidRequest(message, param=DEADLINE)
    return int(moment.timestamp() * 1000)


def _one_header(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        # Which of them was meant, the sender and we could see differently.
        message = f"The header '{name}' stands {len(values)} times; send it once."
        raise InvalidRequest(message, param=name)
    return values[0] if values else None


def _short_header(request: Request, name: str) -> str | None:
    text = _one_header(request, name)
    if text is None:
        return None
    text = text.strip()
    if not text or len(text) > HEADER_LENGTH_MAX or not text.isprintable():
        message = f"The header '{name}' must be 1 to {HEADER_LENGTH_MAX} printable characters."
        raise InvalidRequest(message, param=name)
    return text
