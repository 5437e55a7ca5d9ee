"""``text.flops/1``: chat, in the tokens of ``text.tokens/2`` and in what they cost the model's own hardware."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from taximeter.meters import fields, language, text_work
from taximeter.meters.model import Estimate, Work


class FlopsProfile(text_work.WideProfile, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chat model's entry, with its dimensions (``taximeter.meters.language.draft`` makes them from a config.json)."""

    architecture: language.Architecture


@dataclass(frozen=True, slots=True)
class TextFlops:
    """Chat completions of a model whose dimensions are known."""

    id: str = "text.flops/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted; the first nine never overlap, and neither do the operations."""
        return {**text_work.QUANTITIES, **language.FLOP_QUANTITIES}

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """A hold assumes the dearest that the request can lead to; operations are bound by themselves."""
        return text_work.HELD_AS

    @property
    def held_when(self) -> Mapping[str, str]:
        """Most of it only where the model's entry says so."""
        return text_work.HELD_WHEN

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(FlopsProfile, profile)
        text_work.check_wide(entry)
        entry.architecture.check()

    def resident_bytes(self, profile: Mapping[str, Any]) -> Mapping[str, int]:
        """The model's weights; every expert of a mixture is loaded."""
        return {"weights": fields.read_profile(FlopsProfile, profile).architecture.weight_bytes}

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Count the prompt, bound the answer.  Raises InvalidRequest, PromptTooLong, TokenizerUnavailable."""
        entry = fields.read_profile(FlopsProfile, profile)
        counted = text_work.count(request, entry)
        answers = counted.answer.choices
        return Estimate(
            expected=_with_operations(counted.expected(), entry.architecture, answers),
            maximum=_with_operations(counted.maximum(), entry.architecture, answers),
            bound={"output_tokens": counted.answer.most_each * answers},
            request=counted.request,
        )

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The report in buckets, and the operations of its tokens.  Raises BadReport."""
        entry = fields.read_profile(FlopsProfile, profile)
        work = text_work.covered(text_work.buckets_of(reported), estimate)
        return _with_operations(work, entry.architecture, estimate.request.get("n", 1))


def _with_operations(work: dict[str, int], architecture: language.Architecture, answers: int) -> dict[str, int]:
    prompt = work["prompt_tokens"]
    output = work["total_tokens"] - prompt
    return work | msgspec.structs.asdict(language.work(architecture, prompt, work["cached_prompt_tokens"], output, answers))
