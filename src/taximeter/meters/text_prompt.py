"""What the chat meters share: a model's entry in the catalog, and how many tokens a conversation has."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import chat_request, tokenizers
from taximeter.meters.errors import BadProfile, PromptTooLong
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


def check_entry(entry: TextProfile) -> None:
    """Raises BadProfile naming what cannot be used."""
    tokenizers.check_spec(entry.tokenizer)
    for key in ("context_tokens", "default_output_tokens", "expected_output_tokens", "prompt_chars", "messages", "choices"):
        if getattr(entry, key) < 1:
            raise BadProfile(key=key, message="must be at least 1")
    unknown = sorted(set(entry.accepts) - chat_request.OPTIONAL_FIELDS)
    if unknown:
        raise BadProfile(key="accepts", message=f"{unknown[0]!r} is not one of {', '.join(sorted(chat_request.OPTIONAL_FIELDS))}")


class Answer(msgspec.Struct, frozen=True):
    """Tokens of one answer: at most, and likely."""

    most_each: int
    likely_each: int
    choices: int


def bind_answer(normal: dict[str, Any], entry: TextProfile, likely_prompt: int) -> Answer:
    """How long an answer may be; ``max_tokens`` of the request is set to it."""
    asked = normal.pop("max_tokens", entry.default_output_tokens)
    ceiling = min(entry.max_output_tokens or entry.context_tokens, entry.context_tokens)
    # The bound on the prompt may be far above the truth, so it must not eat the room for the answer.
    most = min(asked, ceiling, max(1, entry.context_tokens - likely_prompt))
    normal["max_tokens"] = most
    return Answer(most, min(most, entry.expected_output_tokens), normal.get("n", 1))


def prompt_tokens(request: dict[str, Any], entry: TextProfile, media_likely: int = 0) -> tuple[int, int]:
    """Likely and most prompt tokens of a checked request's texts.

    ``media_likely`` is what its pictures and sounds take of the context.  Raises PromptTooLong when the answer would have no room.
    """
    tokenizer = tokenizers.load(entry.tokenizer)
    if entry.template == "smollm2":
        likely = most = tokenizer.count(render_smollm2(request["messages"]))
    else:
        likely, most = _unknown_template(request, tokenizer)
        most = max(likely, min(most, entry.context_tokens))
    if likely + media_likely >= entry.context_tokens:
        message = f"the prompt has {likely + media_likely} tokens; with at least one token of answer this model takes {entry.context_tokens}"
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
