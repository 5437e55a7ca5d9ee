"""Chat deltas put together into a message, as a client of the stream would do it.  Pure."""

import copy
from collections.abc import Mapping
from typing import Any

# Texts that name something come whole, once; every other text comes in pieces.
_WHOLE = frozenset({"role", "id", "type", "name"})


class Completion:
    """Collects the chunks of one chat completion."""

    def __init__(self) -> None:
        self._choices: dict[int, dict[str, Any]] = {}

    def add(self, choices: list[dict[str, Any]]) -> None:
        """Take in the ``choices`` of one ``chat.completion.chunk``, or of a whole ``chat.completion``."""
        for choice in choices:
            index = choice.get("index", 0)
            kept = self._choices.get(index)
            if kept is None:
                kept = self._choices[index] = {"message": {}, "logprobs": None, "finish_reason": None}
            # An upstream that was asked for a plain answer gives one chunk with whole messages.
            merge(kept["message"], choice.get("delta") or choice.get("message") or {})
            if choice.get("logprobs"):
                kept["logprobs"] = kept["logprobs"] or {}
                merge(kept["logprobs"], choice["logprobs"])
            kept["finish_reason"] = choice.get("finish_reason") or kept["finish_reason"]

    def choices(self, *, truncated: bool) -> list[dict[str, Any]]:
        """The ``choices`` of the ``chat.completion``; one without an end was cut (``truncated``) or just stopped."""
        if not self._choices:
            self.add([{"index": 0, "delta": {}}])
        end = "length" if truncated else "stop"
        return [_finished(index, self._choices[index], end) for index in sorted(self._choices)]


def _finished(index: int, kept: dict[str, Any], end: str) -> dict[str, Any]:
    message = kept["message"]
    calls = message.get("tool_calls")
    if calls is not None:
        message["tool_calls"] = [{key: value for key, value in call.items() if key != "index"} for call in calls]
    # `content` is null beside tool calls, a text everywhere else; `refusal` is always there.
    content = message.pop("content", None)
    ordered = {"role": "assistant", "content": ("" if calls is None and content is None else content), "refusal": None, **message}
    return {"index": index, "message": ordered, "logprobs": kept["logprobs"], "finish_reason": kept["finish_reason"] or end}


def merge(kept: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add a delta to what was collected: texts and lists grow, objects merge, tool calls by their index."""
    for key, value in delta.items():
        if value is None:
            kept.setdefault(key, None)
            continue
        old = kept.get(key)
        if key == "tool_calls":
            kept[key] = _merged_calls(old or [], value)
        elif isinstance(old, str) and isinstance(value, str) and key not in _WHOLE:
            kept[key] = old + value
        elif isinstance(old, list) and isinstance(value, list):
            old.extend(value)
        elif isinstance(old, dict) and isinstance(value, Mapping):
            merge(old, value)
        else:
            # A copy: what is kept will grow, the chunk is not ours.
            kept[key] = copy.copy(value)


def _merged_calls(calls: list[dict[str, Any]], deltas: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for delta in deltas:
        index = delta.get("index", len(calls))
        kept = next((call for call in calls if call.get("index") == index), None)
        if kept is None:
            kept = {"index": index}
            calls.append(kept)
        merge(kept, delta)
    return calls
