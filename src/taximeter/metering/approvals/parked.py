"""A job that waits for its approval, in the shape of one that was queued.  Pure."""

from typing import Any

from taximeter.admission import approvals
from taximeter.jobs import Job
from taximeter.kernel.units import format_tokens
from taximeter.metering.model import Price, Receipt


def parked_job(approval: approvals.Approval, kind: str) -> Job:
    """The job that it would be; one that was not approved has failed."""
    error = _error(approval)
    return Job(
        id=approval.id,
        project_id=approval.project_id,
        kind=kind,
        state="queued" if error is None else "failed",
        payload={"request": approval.normal},
        progress=0,
        attempt=0,
        given_back=0,
        error_code=None if error is None else error[0],
        error_message=None if error is None else error[1],
        object_key=None,
        object_bytes=None,
        object_gone=False,
        result=None,
        created_at=approval.created_at,
        completed_at=approval.decided_at or (None if error is None else approval.expires_at),
        expires_at=None,
    )


def parked_receipt(approval: approvals.Approval) -> Receipt:
    """What it would cost and by which versions; nothing is held."""
    offer = approval.offer
    return Receipt(
        id=approval.id,
        model=approval.model,
        modality=approval.modality,
        rate_card=offer["rate_card"],
        tariff=offer["tariff"],
        multiplier=offer["multiplier"],
        held_utok=0,
        created_at=approval.created_at,
        quote=approval.public_quote_id,
        service_tier=offer["service_tier"],
        price=Price(offer["money"]["currency"], int(offer["money"]["price_nano_per_token"])),
    )


def parked_extra(approval: approvals.Approval) -> dict[str, Any]:
    """The ``taximeter`` object of its view: there is no receipt before something is held."""
    return {
        "receipt": None,
        "state": "needs_approval" if approval.state == "pending" else approval.state,
        "approval": approval.public_id,
        "quote": approval.public_quote_id,
        "tokens_max": format_tokens(approval.maximum_utok),
        "cap": format_tokens(approval.cap_utok),
        "tokens_held": "0",
        "tokens_consumed": "0",
        "tokens_charged": "0",
        "expires_at": approval.expires_at.isoformat(),
    }


def _error(approval: approvals.Approval) -> tuple[str, str] | None:
    if approval.state == "declined":
        why = f": {approval.reason}" if approval.reason else ""
        return "declined", f"an operator has declined it{why}; nothing was held, run or charged"
    if approval.state == "expired":
        return "approval_expired", "nobody has approved it in time; nothing was held, run or charged"
    return None
