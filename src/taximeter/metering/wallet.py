"""What a wallet looks like to those who may see it."""

from datetime import datetime
from typing import Any
from uuid import UUID

from taximeter.admission import plans
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens


def wallet_view(project_id: UUID, sums_utok: tuple[int, int, int], purse: plans.Purse) -> dict[str, Any]:
    """Everything that a project can pay with.

    ``balance`` is what one request of any modality could use: grants in force that are for nothing in particular, the allowance,
    what was bought, and what the credit line has left.

    Args:
        project_id: whose it is.
        sums_utok: what the allowance has, what was bought, and what running requests hold, on grants and credit too.
        purse: the rest.
    """
    allowance_utok, prepaid_utok, held_utok = sums_utok
    balance_utok = allowance_utok + prepaid_utok + purse.granted_utok() + purse.credit_utok
    return {
        "object": "wallet",
        "project_id": encode_id("prj", project_id),
        "balance": format_tokens(balance_utok),
        "held": format_tokens(held_utok),
        "allowance": format_tokens(allowance_utok),
        "prepaid": format_tokens(prepaid_utok),
        "granted": format_tokens(purse.granted_utok()),
        "grants": [grant_view(grant, purse.at) for grant in purse.grants],
        "postpaid": postpaid_view(purse),
        "subscription": None if purse.subscription is None else purse.subscription.to_api(),
        "unit": "Token",
    }


def grant_view(grant: plans.Grant, at: datetime) -> dict[str, Any]:
    """One grant."""
    return {
        "id": encode_id("grt", grant.id),
        "object": "grant",
        "kind": grant.kind,
        "tokens": format_tokens(grant.amount_utok),
        "remaining": format_tokens(grant.free_utok),
        "held": format_tokens(grant.held_utok),
        "in_force": grant.in_force(at),
        "starts_at": grant.starts_at.isoformat(),
        "expires_at": None if grant.expires_at is None else grant.expires_at.isoformat(),
        "priority": grant.priority,
        "modality": grant.modality,
        "plan": grant.plan,
    }


def postpaid_view(purse: plans.Purse) -> dict[str, Any] | None:
    """What may be used before it is paid for, and what is owed; None: nothing was ever lent."""
    line = purse.line
    if line is None:
        return None
    unbounded = line.line_utok is None
    return {
        "active": line.active,
        "line": None if line.line_utok is None else format_tokens(line.line_utok),
        "owed": format_tokens(max(purse.owed_utok, 0)),
        "available": None if unbounded and line.active else format_tokens(max(purse.credit_utok, 0)),
    }
