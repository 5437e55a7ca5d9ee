"""``text.tokens/1``: chat, counted with the model's own tokenizer in buckets that never overlap."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import chat_request, fields, tokenizers
from taximeter.meters.errors import BadProfile, BadReport, PromptTooLong
from taximeter.meters.model import Estimate, Work
from taximeter.meters.tokenizers.counts import bytes_bound

# What a provider's template may add around a message, around a request and around a tool, at most.
MESSAGE_OVERHEAD_TOKENS = 16
REQUEST_OVERHEAD_TOKENS = 32
TOOLS_OVERHEAD_TOKENS = 1024
# What it adds as a rule.
MESSAGE_LIKELY_TOKENS = 4
REQUEST_LIKELY_TOKENS = 3


class TextProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chat model's entry in the catalog (``docs/reference/meters.md`` explains each)."""

    tokenizer: str
    template: Literal["smollm2", "unknown"] = "unknown"
    context_tokens: int
    default_output_tokens: int
    expected_output_tokens: int = 128
    max_output_tokens: int | None = None
    prompt_chars: int = 400_000
    messages: int = 1000
    choices: int = 1
    accepts: tuple[str, ...] = ()


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
        entry = fields.read_profile(TextProfile, profile)
        tokenizers.check_spec(entry.tokenizer)
        for key in ("context_tokens", "default_output_tokens", "expected_output_tokens", "prompt_chars", "messages", "choices"):
            if getattr(entry, key) < 1:
                raise BadProfile(key=key, message="must be at least 1")
        unknown = sorted(set(entry.accepts) - chat_request.OPTIONAL_FIELDS)
        if unknown:
            raise BadProfile(key="accepts", message=f"{unknown[0]!r} is not one of {', '.join(sorted(chat_request.OPTIONAL_FIELDS))}")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Count the prompt, bound the answer.  Raises InvalidRequest, PromptTooLong, TokenizerUnavailable."""
        entry = fields.read_profile(TextProfile, profile)
        limits = chat_request.Limits(
            messages=entry.messages, prompt_chars=entry.prompt_chars, choices=entry.choices, accepts=frozenset(entry.accepts)
        )
        normal = chat_request.normalise(request, limits, flatten=entry.template != "unknown")
        likely, most = _prompt_tokens(normal, entry)
        choices = normal.get("n", 1)
        asked = normal.pop("max_tokens", entry.default_output_tokens)
        ceiling = min(entry.max_output_tokens or entry.context_tokens, entry.context_tokens)
        # The bound on the prompt may be far above the truth, so it must not eat the room for the answer.
        output_each = min(asked, ceiling, max(1, entry.context_tokens - likely))
        normal["max_tokens"] = output_each
        expected = min(output_each, entry.expected_output_tokens) * choices
        return Estimate(
            expected=_work(likely, 0, expected, 0),
            maximum=_work(most, 0, output_each * choices, 0),
            bound={"output_tokens": output_each * choices},
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


def _prompt_tokens(request: dict[str, Any], entry: TextProfile) -> tuple[int, int]:
    """Likely and most prompt tokens.  Raises PromptTooLong when the answer would have no room."""
    tokenizer = tokenizers.load(entry.tokenizer)
    if entry.template == "smollm2":
        likely = most = tokenizer.count(render_smollm2(request["messages"]))
    else:
        likely, most = _unknown_template(request, tokenizer)
        most = max(likely, min(most, entry.context_tokens))
    if likely >= entry.context_tokens:
        message = f"the prompt has {likely} tokens; with at least one token of answer this model takes {entry.context_tokens}"
        raise PromptTooLong(message, param="messages")
    return likely, most


def _unknown_template(request: dict[str, Any], tokenizer: tokenizers.Tokenizer) -> tuple[int, int]:
    messages = request["messages"]
    texts = [chat_request.content_text(message) for message in messages]
    # Names, tool calls and the like reach the model too; their JSON is longer than what it reads.
    extras = [json.dumps({key: value for key, value in message.items() if key not in {"role", "content"}}) for message in messages]
    tools = json.dumps({key: request[key] for key in ("tools", "functions", "response_format") if key in request})
    others = sum(len(extra) for extra in extras if extra != "{}") + (len(tools) + TOOLS_OVERHEAD_TOKENS if tools != "{}" else 0)
    likely = sum(tokenizer.count(text) for text in texts) + MESSAGE_LIKELY_TOKENS * len(messages) + REQUEST_LIKELY_TOKENS + others // 4
    most = sum(bytes_bound(text) for text in texts) + MESSAGE_OVERHEAD_TOKENS * len(messages) + REQUEST_OVERHEAD_TOKENS + others
    return likely, max(likely, most)


SMOLLM2_SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def render_smollm2(messages: Sequence[Mapping[str, Any]]) -> str:
    """The text that SmolLM2 reads for a conversation (the chat template inside its model file)."""
    turns = [("system" if message["role"] == "developer" else message["role"], message["content"] or "") for message in messages]
    if not turns:
        message = "a conversation has at least one message"
        raise InvalidRequest(message, param="messages")
    if turns[0][0] != "system":
        turns.insert(0, ("system", SMOLLM2_SYSTEM))
    return "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in turns) + "<|im_start|>assistant\n"
