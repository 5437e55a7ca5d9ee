"""What a video's job takes along: all that a worker needs, whatever the catalog says by then."""

from typing import Any, Literal

import msgspec

from taximeter import pricing
from taximeter.metering.desk import Desk
from taximeter.metering.fares import Fare
from taximeter.metering.model import Order

KIND: Literal["video"] = "video"


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to run and settle a video by the terms it was quoted with, whatever the catalog says by then.

    Attributes:
        request: the normalised request for the engine.
        rate_card: ``name@version``; versions stay in the catalog for ever.
        model: its version, ``name@version``; None: an earlier release wrote it.
        budgets: its hold may have legs on some.
        factors: from consumed to charged; None: ``multiplier`` alone, which is 1 unless an earlier release wrote it.
    """

    lane: int
    engine: str
    engine_model: str
    request: dict[str, Any]
    expected: dict[str, int]
    maximum: dict[str, int]
    bound: dict[str, int]
    rate_card: str
    meter: str
    profile: dict[str, Any]
    multiplier: str
    maximum_utok: int
    keep_s: int
    factors: pricing.Factors | None = None
    service_tier: str = "standard"
    budgets: bool = False
    model: str | None = None

    @property
    def model_id(self) -> str:
        """What the engine's circuit breaker calls the model."""
        return self.model or self.engine_model


def new_payload(desk: Desk, order: Order, fare: Fare) -> Payload:
    """What is kept of a priced order."""
    return Payload(
        lane=order.caller.lane,
        engine=fare.model.engine or "",
        engine_model=fare.model.engine_model or fare.model.name,
        request=fare.estimate.request,
        expected=dict(fare.estimate.expected),
        maximum=dict(fare.estimate.maximum),
        bound=dict(fare.estimate.bound),
        rate_card=fare.parts.rate_card,
        meter=fare.model.meter,
        profile=dict(fare.model.profile),
        multiplier=fare.parts.multiplier,
        maximum_utok=fare.maximum_utok,
        keep_s=desk.settings.video_ttl_s,
        factors=None if fare.parts.factors.plain else fare.parts.factors,
        service_tier=fare.tier,
        budgets=bool(order.caller.terms.budgets),
        model=fare.model.id,
    )


def job_fact(order: Order, payload: Payload) -> dict[str, Any]:
    """The row of ``jobs.jobs`` that is written with the hold."""
    return {"project_id": str(order.caller.project_id), "kind": KIND, "payload": msgspec.to_builtins(payload)}
