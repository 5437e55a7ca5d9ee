"""The gateway's own refusals.

    InvalidRequest (kernel)      400 invalid_value
      InvalidJson                400 invalid_json
      InvalidUtf8                400 invalid_utf8
      InvalidForm                400 invalid_form
      MissingField               400 missing_required_parameter
      UnsupportedInput           400 unsupported_input
      UnsupportedVariant         400 unsupported_variant
    BodyTimeout                  408 body_timeout
    BodyTooLarge                 413 body_too_large
    HeadersTooLarge              431 headers_too_large
    UnsupportedMediaType         415 unsupported_media_type
    RangeNotSatisfiable          416 range_not_satisfiable
    UnknownUrl                   404 unknown_url
    MethodNotAllowed             405 method_not_allowed
    DatabaseUnavailable          503 database_unavailable
    InternalError                500 internal_error        a bug of ours; the log has it under the request id

``ClientGone`` is not a refusal: nobody is left to be answered.
"""

from taximeter.kernel.errors import InvalidRequest, Refusal, Unavailable


class ClientGone(Exception):
    """The client closed the connection before its answer was complete."""


class InvalidJson(InvalidRequest):
    """The body is not one JSON object."""

    code = "invalid_json"


class InvalidUtf8(InvalidRequest):
    """The body is not UTF-8."""

    code = "invalid_utf8"


class InvalidForm(InvalidRequest):
    """The body is not a well-formed multipart form."""

    code = "invalid_form"


class MissingField(InvalidRequest):
    """A required field is not there."""

    code = "missing_required_parameter"


class UnsupportedInput(InvalidRequest):
    """A kind of input that would change the result, and that no model here can use."""

    code = "unsupported_input"


class UnsupportedVariant(InvalidRequest):
    """Videos have no such file."""

    code = "unsupported_variant"


class BodyTooLarge(Refusal):
    """The body is above the limit; it was not read."""

    code = "body_too_large"
    status = 413


class BodyTimeout(Refusal):
    """The body did not arrive in time; what came of it was dropped."""

    code = "body_timeout"
    status = 408


class HeadersTooLarge(Refusal):
    """The request line and the headers are above the limit together; the rest of the request was not read."""

    code = "headers_too_large"
    status = 431


class UnsupportedMediaType(Refusal):
    """The body is of a kind that the route does not read."""

    code = "unsupported_media_type"
    status = 415


class RangeNotSatisfiable(Refusal):
    """The wanted range lies outside the file."""

    code = "range_not_satisfiable"
    status = 416


class UnknownUrl(Refusal):
    """There is no such route."""

    code = "unknown_url"
    status = 404


class MethodNotAllowed(Refusal):
    """The route does not know this method."""

    code = "method_not_allowed"
    status = 405


class DatabaseUnavailable(Unavailable):
    """The database does not answer."""

    code = "database_unavailable"


class InternalError(Refusal):
    """A bug.  The message says nothing about it; the log does."""

    code = "internal_error"
    status = 500
    openai_type = "server_error"
