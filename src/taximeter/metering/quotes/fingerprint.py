"""What a quote is bound to: the model and the job, however its sender has written it down.  Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

from taximeter.kernel.canonical import canonical_json, plain_numbers
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.fares import Fare

PREFIX = "sha256:"
_PART_BYTES = 8
# What OpenAI's reference says is meant when a chat request does not say it.
CHAT_DEFAULTS: Mapping[str, Any] = {
    "temperature": 1,
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "logprobs": False,
    "response_format": {"type": "text"},
    "parallel_tool_calls": True,
    "verbosity": "medium",
}


def job_of(fare: Fare) -> dict[str, Any]:
    """The job that a fare is for: the engine's request with its defaults filled in, what it is bound to, and the tier.

    JSON and form, fields in another order, 1 and 1.0, a default that is written out and one that is left out: all the same job.
    Raises InvalidRequest when the request is nested too deeply.
    """
    estimate = fare.estimate
    try:
        request = plain_numbers(estimate.request)
    except RecursionError as error:
        raise _too_deep() from error
    if fare.model.modality == "chat":
        request = _without_defaults(request)
    return {"model": fare.model.name, "request": request, "bound": dict(estimate.bound), "tier": fare.tier}


def _without_defaults(request: Mapping[str, Any]) -> dict[str, Any]:
    """A chat request without the fields that say what is meant without them; ``tool_choice`` depends on whether there are tools."""
    defaults = {**CHAT_DEFAULTS, "tool_choice": "auto" if request.get("tools") else "none"}
    return {name: value for name, value in request.items() if name not in defaults or not _same(value, defaults[name])}


def _same(value: object, default: object) -> bool:
    # Python's False is 0; JSON's is not.
    return type(value) is type(default) and value == default


def fingerprint(job: Mapping[str, Any]) -> bytes:
    """SHA-256 of a job: 32 bytes.  Raises InvalidRequest when the request is nested too deeply."""
    try:
        return hashlib.sha256(canonical_json(job)).digest()
    except RecursionError as error:
        raise _too_deep() from error


def parts_of(job: Mapping[str, Any]) -> dict[str, str]:
    """A short digest of each field, to tell later which one differs."""
    fields = {"model": job["model"], "service_tier": job["tier"], **job["request"]}
    fields |= {f"bound.{name}": value for name, value in job["bound"].items() if name not in fields}
    return {name: _digest(value) for name, value in fields.items()}


def differences(quoted: Mapping[str, str], sent: Mapping[str, str]) -> list[str]:
    """The fields in which two jobs differ, in order; the engine's bounds only when nothing else does."""
    names = sorted(name for name in quoted.keys() | sent.keys() if quoted.get(name) != sent.get(name))
    return [name for name in names if not name.startswith("bound.")] or names


def to_text(digest: bytes) -> str:
    """As a quote shows it: ``sha256:`` and 64 hexadecimal digits."""
    return PREFIX + digest.hex()


def _too_deep() -> InvalidRequest:
    return InvalidRequest("the request is nested too deeply")


def _digest(value: Any) -> str:  # noqa: ANN401 - any JSON
    return hashlib.blake2b(canonical_json(value), digest_size=_PART_BYTES).hexdigest()
