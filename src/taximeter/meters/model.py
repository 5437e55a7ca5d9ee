"""Work as numbers: what a request is expected to take, at most takes, and took."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import msgspec

Work = Mapping[str, int]
"""Physical quantities by name (``prompt_tokens``, ``decode_steps``, ``linear_flop`` ...), integers >= 0."""


class Estimate(msgspec.Struct, frozen=True):
    """What a request will take.

    Attributes:
        expected: the likely work.
        maximum: the bound that the hold pays for and the engine must stop at; >= expected in every quantity.
        bound: the part of ``maximum`` that the engine is told to stop at.
        request: the normalised request that goes to the engine (defaults filled in, limits applied).
    """

    expected: Work
    maximum: Work
    bound: Work
    request: dict[str, Any]


class Meter(Protocol):
    """A pure calculator for one family of models.

    The only files a meter ever reads are tokenizer vocabularies, once, from this machine.
    """

    @property
    def id(self) -> str:
        """Name and version: ``text.tokens/1``.  A changed result is a new version."""
        ...

    @property
    def quantities(self) -> Mapping[str, str]:
        """Every quantity in the work it gives, with a sentence on what it counts."""
        ...

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Pairs ``(a, b)``: the maximum counts units of ``b`` as ``a``, so a card must not price ``b`` above ``a``."""
        ...

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read a model's profile.  Raises BadProfile naming the entry that cannot be used."""
        ...

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """What ``request`` (OpenAI's body) will take on a model with this ``profile``.

        Raises InvalidRequest (or a subclass) when the request is malformed or outside the model's limits,
        TokenizerUnavailable when the model's vocabulary is not on this machine.
        """
        ...

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """The work to be billed for what the engine ``reported``: derived quantities added, nothing invented.

        Raises BadReport when a quantity is missing, negative or not an integer.
        """
        ...


@runtime_checkable
class Residing(Protocol):
    """What a meter also does when its profiles describe the model's weights."""

    def resident_bytes(self, profile: Mapping[str, Any]) -> Mapping[str, int]:
        """Memory that the weights take when everything is loaded, by component (``transformer``, ``vae`` ...)."""
        ...
