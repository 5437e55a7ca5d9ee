"""``classification.tokens/1``: texts to labels by an encoder of BERT's kind, counted in tokens the model reads.

An input is cut to what the model can read, or refused, as the profile says; its own special tokens count.  A batch is
computed at the length of its longest input, or at a fixed one, and those positions are counted beside the tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields, tokenizers
from taximeter.meters.errors import BadProfile, PromptTooLong
from taximeter.meters.model import Estimate, Work
from taximeter.meters.tokenizers.counts import bytes_bound


class ClassificationProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A classifier's entry in the catalog."""

    tokenizer: str
    exact: bool = False
    labels: tuple[str, ...]
    special_tokens: int = 2
    tokens_per_input: int = 512
    truncate: bool = True
    padding: Literal["longest", "fixed", "none"] = "longest"
    inputs: int = 256
    chars_per_request: int = 1_000_000


@dataclass(frozen=True, slots=True)
class ClassificationTokens:
    """Classification of texts."""

    id: str = "classification.tokens/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "prompt_tokens": "tokens the model read, its own start and end marks included",
            "positions": "positions it computed, those that only fill a batch up included",
            "inputs": "texts that were labelled",
            "truncated_inputs": "texts of which the model read only the beginning",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(ClassificationProfile, profile)
        tokenizers.check_spec(entry.tokenizer)
        if len(set(entry.labels)) < 2 or len(set(entry.labels)) < len(entry.labels):  # noqa: PLR2004 - one label tells nothing
            raise BadProfile(key="labels", message="must name at least two labels, each once")
        for key in ("inputs", "chars_per_request"):
            if getattr(entry, key) < 1:
                raise BadProfile(key=key, message="must be at least 1")
        if not 0 <= entry.special_tokens < entry.tokens_per_input:
            raise BadProfile(key="special_tokens", message="must be at least 0 and leave room within tokens_per_input")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Count the inputs, each as far as the model reads it.

        Raises InvalidRequest, PromptTooLong, TokenizerUnavailable.
        """
        entry = fields.read_profile(ClassificationProfile, profile)
        texts = _inputs(request.get("input"), entry)
        tokenizer = tokenizers.load(entry.tokenizer)
        likely = [tokenizer.count(text) + entry.special_tokens for text in texts]
        most = likely if entry.exact else [max(count, bytes_bound(text) + entry.special_tokens) for count, text in zip(likely, texts, strict=True)]
        if not entry.truncate:
            for index, count in enumerate(likely):
                if count > entry.tokens_per_input:
                    message = f"input[{index}] has {count} tokens; this model reads at most {entry.tokens_per_input} an input"
                    raise PromptTooLong(message, param="input")
        maximum = _work(most, entry)
        return Estimate(expected=_work(likely, entry), maximum=maximum, bound={"positions": maximum["positions"]}, request={"input": texts})

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The engine's own counts; what it does not count follows from the request.  Raises BadReport."""
        del profile
        tokens = fields.reported_quantity(reported, "prompt_tokens")
        return {
            "prompt_tokens": tokens,
            # Who does not fill batches up computes the tokens alone.
            "positions": fields.reported_quantity(reported, "positions", tokens),
            "inputs": fields.reported_quantity(reported, "inputs", estimate.expected["inputs"]),
            "truncated_inputs": fields.reported_quantity(reported, "truncated_inputs", estimate.expected["truncated_inputs"]),
        }


def _work(counts: Sequence[int], entry: ClassificationProfile) -> dict[str, int]:
    limit = entry.tokens_per_input
    read = [min(count, limit) for count in counts]
    tokens = sum(read)
    positions = {"longest": max(read) * len(read), "fixed": limit * len(read), "none": tokens}[entry.padding]
    return {
        "prompt_tokens": tokens,
        "positions": positions,
        "inputs": len(read),
        "truncated_inputs": sum([count > limit for count in counts]),
    }


def _inputs(value: object, entry: ClassificationProfile) -> list[str]:
    inputs = [value] if isinstance(value, str) else value
    if not isinstance(inputs, list) or not inputs:
        message = "input must be a text or a list of texts"
        raise InvalidRequest(message, param="input")
    if len(inputs) > entry.inputs:
        message = f"input has {len(inputs)} texts; this model takes at most {entry.inputs}"
        raise PromptTooLong(message, param="input")
    texts = [fields.text(item, f"input[{index}]", entry.chars_per_request) for index, item in enumerate(inputs)]
    total = sum(len(text) for text in texts)
    if total > entry.chars_per_request:
        message = f"the inputs have {total} characters; this model takes at most {entry.chars_per_request} a request"
        raise PromptTooLong(message, param="input")
    return texts
