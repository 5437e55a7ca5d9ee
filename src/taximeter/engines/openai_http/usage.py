"""An upstream's ``usage`` object, read with suspicion, as work that the meters understand."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from taximeter.engines.openai_http.told import adds_up

CountTokens = Callable[[str], int]
"""The upstream model's own tokenizer: text -> number of tokens."""

PLAUSIBLE_MAX = 1_000_000_000
"""No single request has more tokens than this; a larger figure is an upstream's mistake."""

BYTES_PER_TOKEN = 4
"""Rule of thumb for text whose tokenizer is unknown; used only where a receipt then says ``estimated``."""


LEAVES_MAX = 64
DEPTH_MAX = 4
NAME_CHARS_MAX = 64
"""More counts, deeper or under longer names, are no usage report."""


class Usage(msgspec.Struct, frozen=True):
    """Token counts that passed the checks: ``cached`` is part of ``prompt``, ``reasoning`` part of ``output``.

    Attributes:
        told: every count of the upstream's own report, under its own path (``prompt_tokens_details.audio_tokens``).
        told_total: the upstream's total, when it is another one than prompt and output together.
        doubted: further counts contradicted these, and were left out.
    """

    prompt: int
    cached: int
    output: int
    reasoning: int
    told: Mapping[str, int] = {}
    told_total: int | None = None
    doubted: bool = False

    def work(self) -> dict[str, int]:
        """The counts by the meters' names, and those of the upstream by its own, behind ``provider.``."""
        return {
            "prompt_tokens": self.prompt,
            "cached_tokens": self.cached,
            "output_tokens": self.output,
            "reasoning_tokens": self.reasoning,
        } | {f"provider.{path}": value for path, value in self.told.items()}


def read_usage(raw: object) -> Usage | None:
    """Read OpenAI's ``usage`` of a chat; None when it is missing or cannot be true.

    Negative, fractional or absurd counts, parts larger than their whole, and an empty prompt (some
    servers fill in zeros) are all "cannot be true": the caller then counts for itself.  Where only further
    counts cannot be true (a cache that was written beyond the prompt), the four that can are kept, ``doubted``.
    """
    if not isinstance(raw, Mapping):
        return None
    prompt = _count(raw.get("prompt_tokens"))
    output = _count(raw.get("completion_tokens"))
    cached = _count(_inner(raw, "prompt_tokens_details", "cached_tokens"))
    reasoning = _count(_inner(raw, "completion_tokens_details", "reasoning_tokens"))
    if prompt is None or output is None or cached is None or reasoning is None:
        return None
    return _beside_the_prompt(raw, prompt, cached, output, reasoning) or _inside_the_prompt(raw, prompt, cached, output, reasoning)


def _inside_the_prompt(raw: Mapping[str, Any], prompt: int, cached: int, output: int, reasoning: int) -> Usage | None:
    """The report of all others: the prompt is everything that went in.  None when it cannot be true."""
    if prompt == 0 or cached > prompt or reasoning > output or not _details_add_up(raw, prompt, output):
        return None
    total = _count(raw.get("total_tokens"))
    if total is not None and total != prompt + output:
        return Usage(prompt, cached, output, reasoning, told_total=total)
    told = _leaves(raw)
    fits = adds_up(told, prompt, output)
    return Usage(prompt, cached, output, reasoning, told if fits else {}, doubted=not fits)


def _beside_the_prompt(raw: Mapping[str, Any], prompt: int, cached: int, output: int, reasoning: int) -> Usage | None:
    """The report of a gateway that leaves the cache out of the prompt, as Anthropic does; None when it is no such report.

    That is certain only where the cache cannot be in it: more tokens were written to it, or read from it, than the prompt has.
    """
    names = ("cache_creation_input_tokens", "cache_read_input_tokens")
    written, read = (_count(raw.get(name, 0) or 0) for name in names)
    if written is None or read is None or max(written, read) <= prompt or cached not in (0, read) or reasoning > output:
        return None
    whole = prompt + written + read
    if whole > PLAUSIBLE_MAX or raw.get("total_tokens") not in (None, prompt + output, whole + output):
        return None
    told = {"input_tokens": prompt, "output_tokens": output, "cache_creation_input_tokens": written, "cache_read_input_tokens": read}
    if reasoning:
        told["output_tokens_details.reasoning_tokens"] = reasoning
    return Usage(whole, read, output, reasoning, told)


# What is told of a prompt and of an answer; the names of a line never mean the same tokens.
_TOGETHER = (
    ("prompt_tokens_details", ("cached_tokens", "cache_write_tokens", "cache_creation_tokens")),
    ("prompt_tokens_details", ("audio_tokens", "image_tokens")),
    ("completion_tokens_details", ("reasoning_tokens", "audio_tokens")),
    ("completion_tokens_details", ("accepted_prediction_tokens", "rejected_prediction_tokens")),
)


def _details_add_up(raw: Mapping[str, Any], prompt: int, output: int) -> bool:
    """Whether what is told of the prompt and the answer are counts, and no parts are above their whole."""
    for outer, names in _TOGETHER:
        if raw.get(outer) is None:
            continue
        counts = [_count(_inner(raw, outer, name)) for name in names]
        if None in counts or sum(filter(None, counts)) > (prompt if outer.startswith("prompt") else output):
            return False
    return True


def _leaves(raw: Mapping[str, Any]) -> dict[str, int]:
    """Every count under its path; what is no count (times, names, lists) is left out, and so is what is too much or too deep."""
    found: dict[str, int] = {}
    places: list[tuple[str, Mapping[Any, Any]]] = [("", raw)]
    for depth in range(DEPTH_MAX):
        deeper: list[tuple[str, Mapping[Any, Any]]] = []
        for prefix, place in places:
            for name, value in place.items():
                if not isinstance(name, str) or len(name) > NAME_CHARS_MAX or "." in name:
                    continue
                if type(value) is int:
                    if 0 <= value <= PLAUSIBLE_MAX and len(found) < LEAVES_MAX:
                        found[prefix + name] = value
                elif isinstance(value, Mapping) and depth < DEPTH_MAX - 1 and len(deeper) < LEAVES_MAX:
                    deeper.append((f"{prefix}{name}.", value))
        if not deeper:
            break
        places = deeper
    return found


def with_timings(usage: Usage | None, raw: object) -> Usage | None:
    """llama.cpp's ``timings`` beside its ``usage``, or in place of one that is missing; left out when the two disagree."""
    if not isinstance(raw, Mapping):
        return usage
    computed, output, cached = _count(raw.get("prompt_n")), _count(raw.get("predicted_n")), _count(raw.get("cache_n", 0))
    if computed is None or output is None or cached is None:
        return usage
    leaves = _leaves(raw)
    timings = {f"timings.{path}": value for path, value in leaves.items()}
    fits = leaves.get("draft_n_accepted", 0) <= leaves.get("draft_n", 0) and {"prompt_n", "predicted_n"} <= leaves.keys()
    if usage is None and computed + cached:
        return Usage(computed + cached, cached, output, 0, timings if fits else {}, doubted=not fits)
    if usage is None or not fits:
        return usage
    told_cache = usage.told.get("prompt_tokens_details.cached_tokens", cached)
    if not usage.told or (usage.prompt, usage.output, told_cache) != (computed + cached, output, cached):
        return usage
    told = {f"usage.{path}": value for path, value in usage.told.items()} | timings
    return Usage(usage.prompt, cached, output, usage.reasoning, told)


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
