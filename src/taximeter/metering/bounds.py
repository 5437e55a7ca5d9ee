"""Everything that binds a caller: limits, caps, budgets; and what of it is left."""

from typing import Any

from taximeter.admission import limits
from taximeter.identity import Caller
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens
from taximeter.metering.desk import Desk, plan_of
from taximeter.pricing import Plan

NO_KEY = 0


async def bounds_view(
    desk: Desk, office: limits.LimitsOffice, caller: Caller, *, model: str | None, end_user: str | None, shadows: bool
) -> dict[str, Any]:
    """The answer of ``GET /v1/limits``.

    Args:
        desk: for the catalog and the budgets.
        office: of the limits.
        caller: whom it binds.
        model: only what requests for this one meet.
        end_user: with the budgets of this one.
        shadows: also limits that refuse nothing.

    Raises ModelNotFound.
    """
    if model is not None:
        desk.catalog.model(model)
    plan = plan_of(desk, caller)
    standing = await office.standing(caller, plan)
    found = [each for each in standing if (shadows or not each.limit.shadow) and (model is None or each.limit.model in (None, model))]
    budgets = [] if desk.bounds is None else await desk.bounds.of_caller(caller, end_user)
    return {
        "object": "limits",
        "project_id": encode_id("prj", caller.project_id),
        "key_id": None if caller.key_id.int == NO_KEY else encode_id("key", caller.key_id),
        "plan": None if plan is None else plan.name,
        "caps": None if plan is None else _caps(plan),
        "limits": [each.to_api() for each in found],
        "budgets": [
            {
                "id": budget.public_id,
                "scope": budget.scope,
                "hard": budget.hard,
                "tokens": format_tokens(budget.limit_utok),
                "left": format_tokens(budget.left_utok),
            }
            for budget in budgets
        ],
    }


def _caps(plan: Plan) -> dict[str, Any]:
    """What one request may cost at most; the model's own cap goes first, then its modality's, then the plan's."""
    return {
        "request_tokens_max": None if plan.request_utok_max is None else format_tokens(plan.request_utok_max),
        "request_caps": {name: format_tokens(cap) for name, cap in plan.request_caps.items()},
        "above_cap": plan.above_cap,
    }
