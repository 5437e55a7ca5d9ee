"""An upstream's ``usage`` object, read with suspicion, as work that the meters understand."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

CountTokens = Callable[[str], int]
"""The upstream model's own tokenizer: text -> number of tokens."""

PLAUSIBLE_MAX = 1_000_000_000
"""No single request has more tokens than this; a larger figure is an upstream's mistake."""

BYTES_PER_TOKEN = 4
"""Rule of thumb for text whose tokenizer is unknown; used only where a receipt then says ``estimated``."""


class Usage(msgspec.Struct, frozen=True):
    """Token counts that passed the checks: ``cached`` is part of ``prompt``, ``reasoning`` part of ``output``."""

    prompt: int
    cached: int
    output: int
    reasoning: int

    def work(self) -> dict[str, int]:
        """The counts by the meters' names."""
        return {
            "prompt_tokens": self.prompt,
            "cached_tokens": self.cached,
            "output_tokens": self.output,
            "reasoning_tokens": self.reasoning,
        }


def read_usage(raw: object) -> Usage | None:
    """Read OpenAI's ``usage`` of a chat; None when it is missing or cannot be true.

    Negative, fractional or absurd counts, parts larger than their whole, and an empty prompt (some
    servers fill in zeros) are all "cannot be true": the caller then counts for itself.
    """
    if not isinstance(raw, Mapping):
        return None
    prompt = _count(raw.get("prompt_tokens"))
    output = _count(raw.get("completion_tokens"))
    cached = _count(_inner(raw, "prompt_tokens_details", "cached_tokens"))
    reasoning = _count(_inner(raw, "completion_tokens_details", "reasoning_tokens"))
    if prompt is None or output is None or cached is None or reasoning is None:
        return None
    if prompt == 0 or cached > prompt or reasoning > output:
        return None
    return Usage(prompt, cached, output, reasoning)


def read_prompt_tokens(raw: object) -> int | None:
    """Prompt tokens of an embeddings answer; None when missing or impossible."""
    if not isinstance(raw, Mapping):
        return None
    value = raw.get("prompt_tokens")
    return _count(raw.get("total_tokens") if value is None else value) or None


def estimate_tokens(texts: Iterable[str], count_tokens: CountTokens | None) -> int:
    """Tokens in ``texts``: exact with a tokenizer, else one for each four bytes, at least one."""
    if count_tokens is not None:
        return max(1, sum(count_tokens(text) for text in texts))
    return max(1, sum(-(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN) for text in texts))


def prompt_texts(messages: object) -> Iterable[str]:
    """Every piece of text in a chat's messages, parts included."""
    if not isinstance(messages, list):
        return
    for message in messages:
        content = message.get("content") if isinstance(message, Mapping) else None
        if isinstance(content, str):
            yield content
        elif isinstance(content, list):
            for part in content:
                text = part.get("text") if isinstance(part, Mapping) else None
                if isinstance(text, str):
                    yield text


def _inner(raw: Mapping[str, Any], outer: str, name: str) -> object:
    details = raw.get(outer)
    value = details.get(name) if isinstance(details, Mapping) else None
    return 0 if value is None else value


def _count(value: object) -> int | None:
    if type(value) is not int or not 0 <= value <= PLAUSIBLE_MAX:
        return None
    return value
