"""Refusals: what a caller may be told.  Bugs are asserts; there is nothing in between.

Every concrete subclass has a stable ``code``, an HTTP ``status`` and a row in
``docs/reference/errors.md`` (a test compares the two).
"""

from collections.abc import Mapping
from typing import ClassVar

from taximeter.kernel.texts import storable


class Refusal(Exception):
    """A request that is answered with an error, with nothing lost and nothing charged.

    Attributes:
        code: stable machine-readable name, ``snake_case``.
        status: HTTP status.
        openai_type: the ``type`` of OpenAI's error envelope.
        message: one sentence that says what is wrong and what to do.
        param: the request field at fault, if one is.
        headers: extra response headers (``Retry-After`` ...).
    """

    code: ClassVar[str]
    status: ClassVar[int]
    openai_type: ClassVar[str] = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        # Messages quote what engines and clients sent.
        message = storable(message)
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})


class InvalidRequest(Refusal):
    """The request is malformed or a value is out of range."""

    code = "invalid_value"
    status = 400


class NotFound(Refusal):
    """There is no such object, or it belongs to somebody else."""

    code = "not_found"
    status = 404


class Unavailable(Refusal):
    """A part the request needs is down; trying again later may help."""

    code = "service_unavailable"
    status = 503
    openai_type = "server_error"


class SetupError(Exception):
    """The program cannot start; the message is one line that says what to do."""
