"""``text.tokens/2``: chat in disjoint buckets, read from what the provider itself reports."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from taximeter.meters import fields, text_work
from taximeter.meters.model import Estimate, Work


@dataclass(frozen=True, slots=True)
class TextBuckets:
    """Chat completions, with caches, pictures and sounds."""

    id: str = "text.tokens/2"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted; the first nine never overlap."""
        return text_work.QUANTITIES

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """A hold assumes the dearest that the request can lead to."""
        return text_work.HELD_AS

    @property
    def held_when(self) -> Mapping[str, str]:
        """Most of it only where the model's entry says so."""
        return text_work.HELD_WHEN

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        text_work.check_wide(fields.read_profile(text_work.WideProfile, profile))

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Count the prompt, bound the answer.  Raises InvalidRequest, PromptTooLong, TokenizerUnavailable."""
        counted = text_work.count(request, fields.read_profile(text_work.WideProfile, profile))
        bound = {"output_tokens": counted.answer.most_each * counted.answer.choices}
        return Estimate(expected=counted.expected(), maximum=counted.maximum(), bound=bound, request=counted.request)

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The report in buckets, each as something that was held for.  Raises BadReport."""
        del profile  # What was held for tells all that is asked of it.
        return text_work.covered(text_work.buckets_of(reported), estimate)
