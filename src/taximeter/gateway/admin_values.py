"""Ids, amounts and pages as the admin API is sent them."""

from typing import Annotated
from uuid import UUID

from fastapi import Query

from taximeter.kernel.errors import InvalidRequest, NotFound
from taximeter.kernel.ids import decode_id
from taximeter.kernel.units import parse_tokens

OPERATOR = "admin"
"""What entries say that were made with the admin key, of which there is one, when nobody says who he is."""
Sender = Annotated[str, Query(min_length=1, max_length=200, description="Who does it.")]
"""Of requests without a body."""
PageLimit = Annotated[int, Query(ge=1, le=100, description="Objects on a page.")]
PageCursor = Annotated[str | None, Query(alias="cursor", description="The `next_cursor` of the page before.")]


def object_id(prefix: str, text: str, noun: str) -> UUID:
    """The id in a path.  Raises NotFound: what cannot be an id names nothing."""
    value = decode_id(prefix, text)
    if value is None:
        message = f"There is no {noun} with this id."
        raise NotFound(message)
    return value


def amount_utok(tokens: str | int, param: str = "tokens") -> int:
    """A positive amount of Tokens in micro-Tokens.  Raises InvalidRequest."""
    try:
        amount = parse_tokens(str(tokens))
    except ValueError as error:
        message = f"'{param}' must be a positive decimal number of Tokens: {error}."
        raise InvalidRequest(message, param=param) from error
    if amount == 0:
        message = f"'{param}' must be more than 0."
        raise InvalidRequest(message, param=param)
    return amount
