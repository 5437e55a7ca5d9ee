"""What can go wrong behind an engine, as the caller is told.

EngineError
  EngineUnavailable     503  nothing ran; try again
  EngineRefused         400  the engine does not accept this request (unknown voice ...)
  EngineFailed          502  it ran and failed; nothing usable was delivered
  EngineTimeout         504  no verdict in time: the provider may still finish (state ``unknown``)
"""

from collections.abc import Mapping

from taximeter.kernel.errors import Refusal


class EngineError(Refusal):
    """A job did not end with a result.  ``work`` is what was done until then, if known."""

    code = "engine_error"
    status = 502
    openai_type = "server_error"

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        work: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(message, param=param, headers=headers)
        self.work: dict[str, int] = dict(work or {})


class EngineUnavailable(EngineError):
    """The engine cannot be reached or has no room; nothing ran."""

    code = "engine_unavailable"
    status = 503


class EngineRefused(EngineError):
    """The engine does not accept this request; nothing ran."""

    code = "engine_refused"
    status = 400
    openai_type = "invalid_request_error"


class EngineFailed(EngineError):
    """The engine started and failed."""

    code = "engine_failed"
    status = 502


class EngineTimeout(EngineError):
    """No verdict in time; the engine may still be working."""

    code = "engine_timeout"
    status = 504
