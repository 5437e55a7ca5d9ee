"""``text.tokens/1``: chat, counted with the model's own tokenizer in buckets that never overlap."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taximeter.meters import chat_request, fields
from taximeter.meters.errors import BadReport
from taximeter.meters.model import Estimate, Work
from taximeter.meters.text_prompt import TextProfile, bind_answer, check_entry, prompt_tokens, render_smollm2

__all__ = ["TextProfile", "TextTokens", "render_smollm2"]


@dataclass(frozen=True, slots=True)
class TextTokens:
    """Chat completions."""

    id: str = "text.tokens/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted; the first four never overlap."""
        return {
            "fresh_prompt_tokens": "prompt tokens the model had to read",
            "cached_prompt_tokens": "prompt tokens found in the model's cache",
            "output_tokens": "tokens of the visible answer",
            "reasoning_tokens": "tokens of hidden reasoning",
            "prompt_tokens": "fresh and cached together, for display",
            "total_tokens": "all four together, for display",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """A hold assumes that nothing is cached and that all output is visible."""
        return (("fresh_prompt_tokens", "cached_prompt_tokens"), ("output_tokens", "reasoning_tokens"))

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        check_entry(fields.read_profile(TextProfile, profile))

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Count the prompt, bound the answer.  Raises InvalidRequest, PromptTooLong, TokenizerUnavailable."""
        entry = fields.read_profile(TextProfile, profile)
        limits = chat_request.Limits(
            messages=entry.messages, prompt_chars=entry.prompt_chars, choices=entry.choices, accepts=frozenset(entry.accepts)
        )
        normal = chat_request.normalise(request, limits, flatten=entry.template != "unknown")
        likely, most = prompt_tokens(normal, entry)
        answer = bind_answer(normal, entry, likely)
        most_output = answer.most_each * answer.choices
        return Estimate(
            expected=_work(likely, 0, answer.likely_each * answer.choices, 0),
            maximum=_work(most, 0, most_output, 0),
            bound={"output_tokens": most_output},
            request=normal,
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """Split the report into the four buckets.  Raises BadReport."""
        del estimate, profile  # The report is complete: nothing is derived from the request.
        prompt = fields.reported_quantity(reported, "prompt_tokens")
        cached = fields.reported_quantity(reported, "cached_tokens", 0)
        output = fields.reported_quantity(reported, "output_tokens")
        reasoning = fields.reported_quantity(reported, "reasoning_tokens", 0)
        if cached > prompt or reasoning > output:
            message = f"the engine reported {cached} cached of {prompt} prompt tokens and {reasoning} reasoning of {output} output tokens"
            raise BadReport(message)
        return _work(prompt - cached, cached, output - reasoning, reasoning)


def _work(fresh: int, cached: int, output: int, reasoning: int) -> dict[str, int]:
    return {
        "fresh_prompt_tokens": fresh,
        "cached_prompt_tokens": cached,
        "output_tokens": output,
        "reasoning_tokens": reasoning,
        "prompt_tokens": fresh + cached,
        "total_tokens": fresh + cached + output + reasoning,
    }
