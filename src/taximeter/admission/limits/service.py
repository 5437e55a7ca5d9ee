"""Sets and removes limits; gateways keep them within a second."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from taximeter.admission.errors import TooManyLimits
from taximeter.admission.limits.model import LimitOrder, SetLimit
from taximeter.admission.limits.rules import LIMITS_PER_OWNER, check_height, limits_of
from taximeter.admission.limits.standing import Standing, standing
from taximeter.admission.limits.store import LimitStore
from taximeter.identity import Caller
from taximeter.kernel.errors import NotFound
from taximeter.kernel.ids import IdFactory
from taximeter.pricing import Plan

DAYS = 31
"""Of what a shadow would have refused, so many days are told."""


class LimitsOffice:
    """The verbs of operators."""

    def __init__(self, store: LimitStore, ids: IdFactory) -> None:
        self._store = store
        self._ids = ids

    async def set(self, order: LimitOrder) -> SetLimit:
        """Set a limit, or give the same one of the same owner another height.

        Raises InvalidRequest for a height or a window that cannot be, NotFound for a key or project that is not there, TooManyLimits.
        """
        check_height(order.kind, order.most, order.window_s)
        if order.owner is not None and not await self._store.exists(order.scope, order.owner):
            message = f"There is no {order.scope} with this id."
            raise NotFound(message)
        limit = await self._store.set(self._ids.new(), order)
        if limit is None:
            message = f"there are {LIMITS_PER_OWNER} limits of this {order.scope} for the same models already; change or remove one of them"
            raise TooManyLimits(message)
        return limit

    async def remove(self, limit_id: UUID, operator: str) -> SetLimit:
        """Remove a limit.  Raises NotFound."""
        limit = await self._store.remove(limit_id, operator)
        if limit is None:
            message = "There is no limit with this id."
            raise NotFound(message)
        return limit

    async def in_force(
        self, after: UUID | None, limit: int, *, project: UUID | None = None, key: UUID | None = None, model: str | None = None
    ) -> Sequence[SetLimit]:
        """Those in force, newest first."""
        return await self._store.in_force(after, limit, project=project, key=key, model=model)

    async def standing(self, caller: Caller, plan: Plan | None) -> Sequence[Standing]:
        """All limits that a caller's requests meet, with what is left of each now."""
        met = limits_of(caller, plan)
        buckets = await self._store.buckets([limit.bucket for limit in met]) if met else []
        return [standing(caller, limit, bucket) for limit, bucket in zip(met, buckets, strict=True)]

    async def refused_by_day(self, limit_id: UUID) -> list[dict[str, Any]]:
        """What a shadow would have refused in the last days, latest first."""
        return [{"day": day.isoformat(), "refused": refused} for day, refused in await self._store.refused_by_day(limit_id, DAYS)]
