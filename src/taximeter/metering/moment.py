"""What the moment does to a price: the surge of the model's engine, and what a sender takes at most."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from taximeter.admission import surge
from taximeter.metering.fares import Fare
from taximeter.pricing import Buyer, Catalog


def buyer_at(board: surge.Board, catalog: Catalog, buyer: Buyer, model: str, request: Mapping[str, Any]) -> Buyer:
    """Whom a price for this request is for, now.  A model that is not there has no surge, and is refused elsewhere."""
    if not board.on:
        return buyer
    entry = catalog.models.get(model)
    return buyer if entry is None else board.buyer(buyer, entry.engine, request.get("service_tier"))


def check_multiplier(board: surge.Board, fare: Fare, most: Fraction | None, param: str) -> None:
    """Raises MultiplierAboveMaximum when the fare's factors together, at its maximum, are above what its sender takes, and has said in ``param``."""
    if most is None:
        return
    factors, work = fare.parts.factors, fare.estimate.maximum
    product = factors.product(work)
    if product > most:
        refusal = board.above_maximum(fare.model.engine, product, factors.without(surge.NAME).product(work), most)
        refusal.param = param
        raise refusal
