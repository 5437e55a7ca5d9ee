"""Refusals of the meters.

    InvalidRequest (kernel)   400 invalid_value
      UnsupportedSize         400 unsupported_size
      PromptTooLong           400 prompt_too_long
      UnknownVoice            400 unknown_voice
      UnsupportedFormat       400 unsupported_format
      UnsupportedParameter    400 unsupported_parameter
    Unavailable (kernel)      503 service_unavailable
      TokenizerUnavailable    503 tokenizer_unavailable
      MeterUnavailable        503 meter_unavailable
    BadReport                 502 bad_engine_report

BadProfile is not a refusal: it tells whoever writes a catalog what is wrong with a model's entry.
"""

from taximeter.kernel.errors import InvalidRequest, Refusal, Unavailable


class UnsupportedSize(InvalidRequest):
    """The model does not produce this size; the message lists those it does."""

    code = "unsupported_size"


class PromptTooLong(InvalidRequest):
    """The prompt is above the model's limit."""

    code = "prompt_too_long"


class UnknownVoice(InvalidRequest):
    """The model has no such voice; the message lists those it has."""

    code = "unknown_voice"


class UnsupportedFormat(InvalidRequest):
    """The model does not produce this file or number format; the message lists those it does."""

    code = "unsupported_format"


class UnsupportedParameter(InvalidRequest):
    """The request asks for an ability that the model does not have; ignoring it would give a wrong answer."""

    code = "unsupported_parameter"


class TokenizerUnavailable(Unavailable):
    """The model's vocabulary is not on this machine; the message says where it comes from."""

    code = "tokenizer_unavailable"


class MeterUnavailable(Unavailable):
    """The catalog names a meter that no package on this machine brings; the message says which and why."""

    code = "meter_unavailable"


class BadReport(Refusal):
    """An engine's report lacks a quantity or holds one that is negative or not an integer."""

    code = "bad_engine_report"
    status = 502
    openai_type = "server_error"


class BadProfile(Exception):
    """A model's meter entry cannot be used.

    Attributes:
        key: the entry at fault (``steps_max``), or an empty string when it is the whole.
        message: what is wrong with it.
    """

    def __init__(self, *, key: str, message: str) -> None:
        super().__init__(f"{key}: {message}" if key else message)
        self.key = key
        self.message = message
