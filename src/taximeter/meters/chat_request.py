"""A chat request in OpenAI's shape: checked, and cut down to what an engine understands."""

from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields
from taximeter.meters.errors import PromptTooLong, UnsupportedParameter

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
STOPS_MAX = 4
STOP_CHARS_MAX = 256
CHOICES_LIMIT = 128
OUTPUT_TOKENS_LIMIT = 10_000_000
SEED_LIMIT = 2**63 - 1
TOP_K_LIMIT = 2**31 - 1
TOP_LOGPROBS_MAX = 20
BIAS_MAX = 100
RESPONSE_FORMATS = ("text", "json_object", "json_schema")
PART_TYPES = frozenset({"text", "refusal", "image_url", "input_audio", "file"})
TEXT_PARTS = frozenset({"text"})
"""The parts of a message that every model reads."""
URL_CHARS_MAX = 20_000_000

# Abilities that only some models have.  Without them in the profile such a request is refused,
# because an answer that ignored them would be wrong.
_ABILITIES = frozenset(
    {"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "response_format", "logprobs", "top_logprobs", "logit_bias"}
)
_HINTS = frozenset({"reasoning_effort", "verbosity", "service_tier", "user", "safety_identifier", "prompt_cache_key", "top_k", "min_p"})
OPTIONAL_FIELDS = _ABILITIES | _HINTS
_IN_ORDER = tuple(sorted(OPTIONAL_FIELDS))
# Numbers beside zero that are smaller than this are looked at digit by digit.
_PLAINLY_ABOVE_ZERO = 1e-9


class Limits(msgspec.Struct, frozen=True):
    """What a model takes."""

    messages: int
    prompt_chars: int
    choices: int
    accepts: frozenset[str]
    parts: frozenset[str] = TEXT_PARTS


def normalise(request: Mapping[str, Any], limits: Limits, *, flatten: bool) -> dict[str, Any]:
    """The request that an engine gets; fields that no engine knows are left out, as OpenAI does.

    Args:
        request: the caller's body.
        limits: the model's limits.
        flatten: write text parts as one text, which is what the model's template does.

    Raises:
        InvalidRequest: a field is malformed or out of range.
        PromptTooLong: the messages are above the limit in characters.
        UnsupportedParameter: the request needs an ability that the model lacks.
    """
    normal: dict[str, Any] = {"messages": _messages(request.get("messages"), limits, flatten=flatten)}
    output = _output_tokens(request)
    if output is not None:
        normal["max_tokens"] = output
    for name, read in _SAMPLING.items():
        if request.get(name) is not None:
            normal[name] = read(request[name], name)
    choices = fields.strict_whole(request["n"], "n", 1, CHOICES_LIMIT) if request.get("n") is not None else 1
    if choices > limits.choices:
        message = f"n is {choices}; this model gives at most {limits.choices} answers a request"
        raise UnsupportedParameter(message, param="n")
    if choices > 1:
        normal["n"] = choices
    _optional(request, limits, normal)
    return normal


def _optional(request: Mapping[str, Any], limits: Limits, normal: dict[str, Any]) -> None:
    if OPTIONAL_FIELDS.isdisjoint(request):
        return
    for name in _IN_ORDER:
        value = request.get(name)
        if value is None:
            continue
        if name in limits.accepts:
            read = _CHECKED.get(name)
            normal[name] = value if read is None else read(value, name)
        elif name in _ABILITIES and not _harmless(name, value):
            message = f"this model does not support {name}; leave it out"
            raise UnsupportedParameter(message, param=name)
    if "top_logprobs" in normal and normal.get("logprobs") is not True:
        message = "top_logprobs needs logprobs to be true"
        raise InvalidRequest(message, param="top_logprobs")


def _harmless(name: str, value: object) -> bool:
    """Whether leaving the field out gives the same answer."""
    if name == "response_format":
        return isinstance(value, dict) and value.get("type") == "text"
    if name in {"tool_choice", "function_call"}:
        return value in ("none", "auto")
    return name == "parallel_tool_calls" or value is False or value in ([], {}, 0)


def content_text(message: Mapping[str, Any]) -> str:
    """The text of a checked message: its parts joined by line ends."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join([part["text"] for part in content if part["type"] == "text"])
    return content or ""


def _messages(value: object, limits: Limits, *, flatten: bool) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        message = "messages must be a list with at least one message"
        raise InvalidRequest(message, param="messages")
    if len(value) > limits.messages:
        message = f"messages has {len(value)} entries; this model takes at most {limits.messages}"
        raise PromptTooLong(message, param="messages")
    checked = [_message(entry, f"messages[{index}]", limits) for index, entry in enumerate(value)]
    texts = [content_text(entry) for entry in checked]
    total = sum(len(text) for text in texts)
    if total > limits.prompt_chars:
        message = f"the messages have {total} characters; this model takes at most {limits.prompt_chars}"
        raise PromptTooLong(message, param="messages")
    if not any(text.strip() for text in texts) and (limits.parts is TEXT_PARTS or not _has_media(checked)):
        message = "the prompt is empty; send some text"
        raise InvalidRequest(message, param="messages")
    if flatten:
        return [{**entry, "content": text} for entry, text in zip(checked, texts, strict=True)]
    return checked


def _has_media(messages: list[dict[str, Any]]) -> bool:
    return any(part["type"] != "text" for message in messages if isinstance(message["content"], list) for part in message["content"])


def _message(entry: object, name: str, limits: Limits) -> dict[str, Any]:
    if not isinstance(entry, dict):
        message = f"{name} must be an object with role and content"
        raise InvalidRequest(message, param=name)
    role = entry.get("role")
    if role not in ROLES:
        message = f"{name}.role must be one of {', '.join(ROLES)}"
        raise InvalidRequest(message, param=f"{name}.role")
    content = entry.get("content")
    if isinstance(content, list):
        for index, part in enumerate(content):
            _check_part(part, f"{name}.content[{index}]", limits)
    elif content is not None or role != "assistant":
        fields.text(content, f"{name}.content", limits.prompt_chars, blank=True)
    kept = {"role": role, "content": content}
    # What a tool conversation needs; models without tools get it too and their template ignores it.
    return kept | {key: entry[key] for key in ("name", "tool_calls", "tool_call_id", "function_call") if entry.get(key) is not None}


def _check_part(part: object, name: str, limits: Limits) -> None:
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(kind, str) or kind not in PART_TYPES:
        message = f"{name} must be an object of type text"
        raise InvalidRequest(message, param=name)
    if kind not in limits.parts:
        message = f"{name} is of type {kind}; this model reads {'text only' if limits.parts is TEXT_PARTS else ', '.join(sorted(limits.parts))}"
        raise UnsupportedParameter(message, param=name)
    if kind == "text":
        fields.text(part.get("text"), f"{name}.text", limits.prompt_chars, blank=True)
        return
    inner = part.get(kind)
    if not isinstance(inner, dict):
        message = f"{name}.{kind} must be an object"
        raise InvalidRequest(message, param=f"{name}.{kind}")
    if kind == "image_url":
        fields.text(inner.get("url"), f"{name}.image_url.url", URL_CHARS_MAX)


def _output_tokens(request: Mapping[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_tokens"):
        if request.get(name) is not None:
            return fields.strict_whole(request[name], name, 1, OUTPUT_TOKENS_LIMIT)
    return None


def _between(low: int, high: int) -> Callable[[object, str], Any]:
    def read(value: object, name: str) -> object:
        if _is_plain(value) and low <= value <= high:
            # The bounds are whole numbers, so a float lies between them exactly when its decimal does.
            return value
        if isinstance(value, str):
            message = f"{name} must be a number from {low} to {high}"
            raise InvalidRequest(message, param=name)
        fields.number(value, name, low, high)
        return value

    return read


def _is_plain(value: object) -> TypeGuard[float]:
    """A number with few enough decimals that they need not be counted."""
    return isinstance(value, int | float) and not isinstance(value, bool) and (value == 0 or abs(value) > _PLAINLY_ABOVE_ZERO)


def _stop(value: object, name: str) -> object:
    stops = value if isinstance(value, list) else [value]
    if len(stops) > STOPS_MAX or not all(isinstance(stop, str) and 0 < len(stop) <= STOP_CHARS_MAX for stop in stops):
        message = f"{name} must be a text or a list of at most {STOPS_MAX} texts of 1 to {STOP_CHARS_MAX} characters"
        raise InvalidRequest(message, param=name)
    return value


def _seed(value: object, name: str) -> int:
    return fields.strict_whole(value, name, -SEED_LIMIT - 1, SEED_LIMIT)


def _top_k(value: object, name: str) -> int:
    return fields.strict_whole(value, name, 0, TOP_K_LIMIT)


def _top_logprobs(value: object, name: str) -> int:
    return fields.strict_whole(value, name, 0, TOP_LOGPROBS_MAX)


def _flag(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        message = f"{name} must be true or false"
        raise InvalidRequest(message, param=name)
    return value


def _logit_bias(value: object, name: str) -> object:
    if not isinstance(value, dict):
        message = f"{name} must be an object from token ids to numbers from -{BIAS_MAX} to {BIAS_MAX}"
        raise InvalidRequest(message, param=name)
    check = _between(-BIAS_MAX, BIAS_MAX)
    for bias in value.values():
        check(bias, name)
    return value


def _response_format(value: object, name: str) -> object:
    kind = value.get("type") if isinstance(value, dict) else None
    if not isinstance(value, dict) or kind not in RESPONSE_FORMATS:
        message = f"{name} must be an object with a type: {', '.join(RESPONSE_FORMATS)}"
        raise InvalidRequest(message, param=name)
    if kind == "json_schema":
        described = value.get("json_schema")
        if not isinstance(described, dict) or not isinstance(described.get("schema"), dict):
            message = f"{name} of type json_schema needs an object json_schema with an object schema"
            raise InvalidRequest(message, param=name)
    return value


# Of what only some models take; the rest (tools ...) is checked by the engine.
_CHECKED: dict[str, Callable[[object, str], Any]] = {
    "logit_bias": _logit_bias,
    "logprobs": _flag,
    "response_format": _response_format,
    "top_k": _top_k,
    "top_logprobs": _top_logprobs,
}
_SAMPLING: dict[str, Callable[[object, str], Any]] = {
    "temperature": _between(0, 2),
    "top_p": _between(0, 1),
    "presence_penalty": _between(-2, 2),
    "frequency_penalty": _between(-2, 2),
    "stop": _stop,
    "seed": _seed,
}
