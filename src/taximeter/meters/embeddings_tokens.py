"""``embeddings.tokens/1``: texts to vectors, counted in tokens the model reads."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields, tokenizers
from taximeter.meters.errors import BadProfile, PromptTooLong, UnsupportedFormat, UnsupportedParameter
from taximeter.meters.model import Estimate, Work
from taximeter.meters.tokenizers.counts import bytes_bound

FORMATS = ("float", "base64")
# Around each input (start, end, an instruction prefix), at most, where the tokenizer is not the model's own.
INPUT_OVERHEAD_TOKENS = 16


class EmbeddingsProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An embedding model's entry in the catalog."""

    tokenizer: str
    exact: bool = False
    dimensions: int
    inputs: int = 2048
    tokens_per_input: int = 8192
    tokens_per_request: int = 300_000
    chars_per_request: int = 1_000_000


@dataclass(frozen=True, slots=True)
class EmbeddingsTokens:
    """Embeddings."""

    id: str = "embeddings.tokens/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {"prompt_tokens": "tokens the model read, its own start and end marks included", "inputs": "texts turned into vectors"}

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(EmbeddingsProfile, profile)
        tokenizers.check_spec(entry.tokenizer)
        for key in ("dimensions", "inputs", "tokens_per_input", "tokens_per_request", "chars_per_request"):
            if getattr(entry, key) < 1:
                raise BadProfile(key=key, message="must be at least 1")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Count the inputs.

        Raises InvalidRequest, PromptTooLong, UnsupportedFormat, UnsupportedParameter, TokenizerUnavailable.
        """
        entry = fields.read_profile(EmbeddingsProfile, profile)
        _check_options(request, entry)
        texts = _inputs(request.get("input"), entry)
        tokenizer = tokenizers.load(entry.tokenizer)
        likely_total = most_total = 0
        for index, text in enumerate(texts):
            likely = tokenizer.count(text)
            if likely > entry.tokens_per_input:
                message = f"input[{index}] has {likely} tokens; this model takes at most {entry.tokens_per_input} an input"
                raise PromptTooLong(message, param="input")
            likely_total += likely
            most_total += likely if entry.exact else max(likely, bytes_bound(text)) + INPUT_OVERHEAD_TOKENS
        if likely_total > entry.tokens_per_request:
            message = f"the inputs have {likely_total} tokens; this model takes at most {entry.tokens_per_request} a request"
            raise PromptTooLong(message, param="input")
        return Estimate(
            expected={"prompt_tokens": likely_total, "inputs": len(texts)},
            maximum={"prompt_tokens": most_total, "inputs": len(texts)},
            bound={"prompt_tokens": most_total},
            request={"input": texts},
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The engine's own counts.  Raises BadReport."""
        del profile
        return {
            "prompt_tokens": fields.reported_quantity(reported, "prompt_tokens"),
            "inputs": fields.reported_quantity(reported, "inputs", estimate.expected["inputs"]),
        }


def _check_options(request: Mapping[str, Any], entry: EmbeddingsProfile) -> None:
    form = request.get("encoding_format")
    if form is not None and form not in FORMATS:
        message = f"encoding_format must be one of {', '.join(FORMATS)}"
        raise UnsupportedFormat(message, param="encoding_format")
    dimensions = request.get("dimensions")
    if dimensions is not None and fields.strict_whole(dimensions, "dimensions", 1, 1_000_000) != entry.dimensions:
        message = f"this model gives vectors of {entry.dimensions} dimensions only; leave dimensions out"
        raise UnsupportedParameter(message, param="dimensions")


def _inputs(value: object, entry: EmbeddingsProfile) -> list[str]:
    inputs = [value] if isinstance(value, str) else value
    if not isinstance(inputs, list) or not inputs:
        message = "input must be a text or a list of texts"
        raise InvalidRequest(message, param="input")
    if all(isinstance(item, int | list) for item in inputs):
        message = "token arrays are not supported by this model; send the text itself as input"
        raise UnsupportedParameter(message, param="input")
    if len(inputs) > entry.inputs:
        message = f"input has {len(inputs)} texts; this model takes at most {entry.inputs}"
        raise PromptTooLong(message, param="input")
    texts = [fields.text(item, f"input[{index}]", entry.chars_per_request) for index, item in enumerate(inputs)]
    total = sum(len(text) for text in texts)
    if total > entry.chars_per_request:
        message = f"the inputs have {total} characters; this model takes at most {entry.chars_per_request} a request"
        raise PromptTooLong(message, param="input")
    return texts
