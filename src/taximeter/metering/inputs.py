"""What is kept of a fare with its request, so that its receipt can be computed again.  Pure."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from taximeter import meters, pricing
from taximeter.metering.fares import Fare
from taximeter.metering.model import jsonable_work

# Words and numbers that set a request up; what a caller wrote himself is not kept.
_SETTING = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.:/_-]{0,39}")
# Factors that the tariff decides; any other was passed in when the request was held, and stands in its fare alone.
OF_TARIFF = frozenset({"base", "service_tier", "size_class", "committed_volume"})
_WRITTEN = frozenset({"input", "instructions", "messages", "metadata", "negative_prompt", "prompt", "stop", "text", "user"})


class Inputs(msgspec.Struct, frozen=True, kw_only=True):
    """What a receipt can be computed again from, with the versions that it names.

    Attributes:
        model: ``name@version``.
        meter: its id.
        card: which of the model's cards.
        service_tier: the tier it was held for.
        plan: the version of the plan, ``name@version``; its name alone when none was published; None: nobody's in particular.
        factors: from consumed to charged.
        currency: of the price.
        price_nano: money for one Token.
        work_expected: the estimate's, as the next three.
        quote: the id of the quote that it is bound to.
    """

    model: str
    meter: str
    card: str
    service_tier: str
    plan: str | None
    currency: str
    price_nano: int
    work_expected: Mapping[str, int | str]
    work_max: Mapping[str, int | str]
    bound: Mapping[str, int]
    request: Mapping[str, Any]
    expected_utok: int
    maximum_utok: int
    factors: pricing.Factors = pricing.Factors()
    quote: str | None = None

    def estimate(self) -> meters.Estimate:
        """The estimate, as far as the meters look at it after the run."""
        expected = {name: int(value) for name, value in self.work_expected.items()}
        maximum = {name: int(value) for name, value in self.work_max.items()}
        return meters.Estimate(expected=expected, maximum=maximum, bound=self.bound, request=dict(self.request))


def fare_fact(fare: Fare) -> dict[str, Any]:
    """The ``fare`` of a request's row."""
    plan = fare.priced.plan
    price = fare.priced.price(fare.buyer)
    fact: dict[str, Any] = {
        "model": fare.model.id,
        "meter": fare.model.meter,
        "card": fare.card_name,
        "service_tier": fare.tier,
        "plan": fare.buyer.plan if plan is None else plan.id,
        "currency": price.currency,
        "price_nano": price.price_nano,
        "work_expected": jsonable_work(fare.estimate.expected),
        "work_max": jsonable_work(fare.estimate.maximum),
        "bound": fare.estimate.bound,
        "request": {name: value for name, value in fare.estimate.request.items() if _is_kept(name, value)},
        "expected_utok": fare.expected_utok,
        "maximum_utok": fare.maximum_utok,
    }
    if not fare.parts.factors.plain:
        fact["factors"] = fare.parts.factors
    return fact


def read_inputs(fact: Mapping[str, Any]) -> Inputs | None:
    """What ``fare_fact`` wrote; None: an earlier release wrote less."""
    return msgspec.convert(fact, Inputs) if "model" in fact else None


def _is_kept(name: str, value: Any) -> bool:  # noqa: ANN401 - whatever JSON there is
    if isinstance(value, (bool, int)):
        return True
    return isinstance(value, str) and name not in _WRITTEN and _SETTING.fullmatch(value) is not None
