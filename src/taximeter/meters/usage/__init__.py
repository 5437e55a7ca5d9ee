"""Usage as providers report it, in buckets that never overlap.  Pure."""

from collections.abc import Callable, Mapping
from typing import Literal

from taximeter.meters.errors import BadReport
from taximeter.meters.usage import dialects
from taximeter.meters.usage.buckets import Buckets, Node

__all__ = ["DIALECTS", "Buckets", "Dialect", "detect", "normalise"]

Dialect = Literal["openai.chat", "openai.responses", "anthropic", "gemini", "vllm", "llama.cpp"]

_READERS: dict[str, Callable[[Node], Buckets]] = {
    "openai.chat": dialects.openai,
    "openai.responses": dialects.openai,
    "anthropic": dialects.anthropic,
    "gemini": dialects.gemini,
    "vllm": dialects.vllm,
    "llama.cpp": dialects.llama_cpp,
}
DIALECTS: tuple[str, ...] = tuple(_READERS)

_OF_ANTHROPIC = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "server_tool_use"})
_OF_GEMINI = frozenset({"promptTokenCount", "candidatesTokenCount", "totalTokenCount"})
_DETAILS = frozenset({"input_tokens_details", "input_token_details"})


def detect(usage: object) -> Dialect:
    """Whose report this is, by the names in it.

    ``usage`` is the provider's usage object: for Gemini ``usageMetadata``, for llama.cpp an object with ``usage``, ``timings`` or
    both.  vLLM's looks like OpenAI's and is read alike.  Raises BadReport when it is nobody's.
    """
    if isinstance(usage, Mapping):
        names = usage.keys()
        if "timings" in names or isinstance(usage.get("usage"), Mapping):
            return "llama.cpp"
        if "prompt_tokens" in names:
            return "openai.chat"
        if not _OF_GEMINI.isdisjoint(names):
            return "gemini"
        if "input_tokens" in names:
            theirs = not _OF_ANTHROPIC.isdisjoint(names) or (_DETAILS.isdisjoint(names) and "total_tokens" not in names)
            return "anthropic" if theirs else "openai.responses"
    message = f"the usage report {usage!r:.80} is in no dialect that is known; the request was not charged"
    raise BadReport(message)


def normalise(dialect: str, usage: object) -> Buckets:
    """A provider's usage in buckets.

    Raises BadReport when a count is missing, negative, fractional or absurd, when parts are larger than their whole, and when
    they do not add up to the provider's own total; the message names both numbers.  Raises KeyError for an unknown dialect.
    """
    read = _READERS[dialect]
    if not isinstance(usage, Mapping):
        message = f"the usage report {usage!r:.80} is not an object; the request was not charged"
        raise BadReport(message)
    return read(Node(usage))
