"""What is asked of admission: one request, priced, about to be held."""

from dataclasses import dataclass

from taximeter.identity import Caller
from taximeter.pricing import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request that wants to ride.

    Attributes:
        caller: whose it is.
        model: by its name in the catalog.
        engine: that runs it.
        modality: ``chat``, ``speech``, ``video``, ...
        tier: the service tier it pays for.
        maximum_utok: what it may cost at most.
        end_user: what the body's ``user`` says; None: nothing.
        plan: that its project has subscribed to; None: none, or one that is not in force any more.
    """

    caller: Caller
    model: str
    engine: str
    modality: str
    tier: str
    maximum_utok: int
    end_user: str | None = None
    plan: Plan | None = None
