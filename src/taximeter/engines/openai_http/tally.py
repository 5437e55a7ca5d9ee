"""Counts a chat's tokens as they pass, and stops the chat at its bound."""

from collections.abc import Mapping
from typing import Any

from taximeter.engines.model import Done, Job
from taximeter.engines.openai_http.usage import CountTokens, Usage, estimate_tokens, prompt_texts, read_usage, with_timings

Choice = dict[str, Any]
_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


class Tally:
    """What one chat has produced so far, and how much more it may.

    A chunk that carries anything counts as at least one token; with the model's tokenizer it counts
    exactly.  ``output`` is that count; an upstream's own ``usage``, when it is believable, replaces
    it in the final report.
    """

    def __init__(self, job: Job, count_tokens: CountTokens | None) -> None:
        self.output = 0
        self.usage: Usage | None = None
        self.truncated = False
        self._job = job
        self._bound = job.bound["output_tokens"]
        self._count = count_tokens
        self.over = False
        self._at_length = False
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    @property
    def finished(self) -> bool:
        """Something came, and the upstream said that it is all."""
        return bool(self._begun) and (self.over or self._begun == self._ended)

    def end(self) -> None:
        """The upstream says that nothing follows."""
        self.over = True

    def admit(self, choices: list[Choice]) -> list[Choice] | None:
        """Count a chunk.  Returns what may be passed on of it, or None when nothing of it fits the bound.

        Once ``over`` is set, nothing more may be taken from the upstream.
        """
        tokens = 0
        for choice in choices:
            delta = choice.get("delta")
            if delta:
                tokens += self._tokens(delta)
        room = self._bound - self.output
        if tokens > room:
            self.truncated = self.over = True
            clipped = self._clip(choices, "delta", room)
            self.output += room if clipped else 0
            return clipped
        self.output += tokens
        for choice in choices:
            index = choice.get("index", 0)
            self._begun.add(index)
            reason = choice.get("finish_reason")
            if reason:
                self._ended.add(index)
                self._at_length |= reason == "length"
        return choices

    def admit_answer(self, choices: list[Choice]) -> list[Choice]:
        """Count a whole answer (``message`` instead of ``delta``), cut to the bound where it can be counted."""
        self._at_length = any(choice.get("finish_reason") == "length" for choice in choices)
        if self.usage is not None and self.usage.output <= self._bound:
            return choices
        texts = [text for choice in choices for text in _texts(choice.get("message") or {})]
        self.output = estimate_tokens(texts, self._count) if texts else 0
        clipped = self._clip(choices, "message", self._bound) if self.output > self._bound else None
        if clipped is None:
            return choices
        self.truncated = True
        return [{**clipped[0], "finish_reason": "length"}]

    def cut_off(self) -> list[Choice]:
        """The closing chunk of a chat that was stopped at its bound."""
        return [{"index": index, "delta": {}, "finish_reason": "length"} for index in sorted(self._begun - self._ended or {0})]

    def hear(self, raw: object) -> None:
        """Take the upstream's ``usage``, if it can be true; the last believable one counts."""
        usage = read_usage(raw)
        if usage is not None and (usage.output > 0 or self.output == 0):
            self.usage = usage

    def hear_timings(self, raw: object) -> None:
        """Take llama.cpp's ``timings``, which come with its ``usage`` or instead of it."""
        usage = with_timings(self.usage, raw)
        if usage is not None and (usage.output > 0 or self.output == 0):
            self.usage = usage

    def work(self) -> dict[str, int]:
        """The work until now by the meters' names, never above the bound."""
        if self.usage is None:
            prompt = estimate_tokens(prompt_texts(self._job.request.get("messages")), self._count)
            return Usage(prompt, 0, min(self.output, self._bound), 0).work()
        if self.usage.output > self._bound:
            # Not believed as it is, so nothing else that the upstream says of it is passed on.
            return Usage(self.usage.prompt, self.usage.cached, self._bound, min(self.usage.reasoning, self._bound)).work()
        return self.usage.work()

    def done(self, mode: str, engine_ms: int) -> Done:
        """The final report; ``measured`` only when the upstream's figures were believed as they are."""
        detail: dict[str, Any] = {"mode": mode}
        work = self.work()
        over = self.usage is not None and self.usage.output > self._bound
        if over and self.usage is not None:
            detail["upstream_output_tokens"] = self.usage.output
        contradicted = self.usage is not None and self.usage.told_total is not None
        if contradicted and self.usage is not None:
            detail["upstream_total_tokens"] = self.usage.told_total
        doubted = self.usage is not None and self.usage.doubted
        if doubted:
            detail["upstream_contradicts_itself"] = True
        return Done(
            work=work,
            measured=self.usage is not None and not over and not contradicted and not doubted,
            truncated=self.truncated or (self._at_length and work["output_tokens"] >= self._bound),
            engine_ms=engine_ms,
            detail=detail,
        )

    def _tokens(self, delta: Mapping[str, Any]) -> int:
        if self._count is None:
            content = delta.get("content")
            return 1 if content or any(delta.get(name) for name in _TEXTS) or delta.get("tool_calls") or delta.get("function_call") else 0
        text = "".join(_texts(delta))
        return max(1, self._count(text)) if text else 0

    def _clip(self, choices: list[Choice], part: str, room: int) -> list[Choice] | None:
        """The longest beginning of a lone choice's text that fits; None when there is none or no tokenizer."""
        text = (choices[0].get(part) or {}).get("content")
        if self._count is None or len(choices) != 1 or not isinstance(text, str):
            return None
        low, high = 0, len(text) if room > 0 else 0
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._count(text[:middle]) <= room else (low, middle - 1)
        return [{**choices[0], part: {**choices[0][part], "content": text[:low]}, "finish_reason": None}] if low else None


def _texts(delta: Mapping[str, Any]) -> list[str]:
    texts = [delta[name] for name in _TEXTS if isinstance(delta.get(name), str)]
    calls = [call.get("function") for call in delta.get("tool_calls") or [] if isinstance(call, Mapping)]
    for function in (*calls, delta.get("function_call")):
        if isinstance(function, Mapping):
            texts += [function[name] for name in ("name", "arguments") if isinstance(function.get(name), str)]
    return texts
