"""What one request may cost on a plan, and what operators are shown of a large one.  Pure."""

from typing import Any

from taximeter.admission.approvals.errors import AbovePlanCap
from taximeter.admission.model import Ask
from taximeter.kernel.units import format_tokens
from taximeter.pricing import Plan

SHOWN_CHARS_MAX = 2000
SHOWN_ITEMS_MAX = 50
SHOWN_DEPTH_MAX = 8


def cap_utok(plan: Plan, model: str, modality: str) -> int | None:
    """Most that one request may be held for: the model's own cap, else its modality's, else the plan's; None: no cap."""
    caps = plan.request_caps
    return caps.get(model, caps.get(modality, plan.request_utok_max))


def needs_approval(ask: Ask) -> bool:
    """Whether a request must wait for an operator; False: it may run.

    Raises AbovePlanCap when it may cost more than its plan allows and nobody can approve it.
    """
    if ask.plan is None:
        return False
    cap = cap_utok(ask.plan, ask.model, ask.modality)
    if cap is None or ask.maximum_utok <= cap:
        return False
    if ask.plan.above_cap == "approve":
        return True
    message = (
        f"this request may cost up to {format_tokens(ask.maximum_utok)} Tokens, and one {ask.modality} request on the plan {ask.plan.name} at most"
        f" {format_tokens(cap)}; {_ADVICE.get(ask.modality, 'ask for less')}, or use a project with another plan; nothing was held or run"
    )
    raise AbovePlanCap(message, headers={"taximeter-cap": format_tokens(cap)})


def shown(value: Any, depth: int = 0) -> Any:  # noqa: ANN401 - any JSON
    """A request as operators see it: long texts and lists end early, and say so."""
    if isinstance(value, str):
        rest = len(value) - SHOWN_CHARS_MAX
        return value if rest <= 0 else f"{value[:SHOWN_CHARS_MAX]}... ({rest} characters more)"
    if isinstance(value, dict | list) and depth >= SHOWN_DEPTH_MAX:
        return "..."
    if isinstance(value, dict):
        return {name[:SHOWN_CHARS_MAX]: shown(inner, depth + 1) for name, inner in list(value.items())[:SHOWN_ITEMS_MAX]}
    if isinstance(value, list):
        rest = len(value) - SHOWN_ITEMS_MAX
        told = [shown(inner, depth + 1) for inner in value[:SHOWN_ITEMS_MAX]]
        return told if rest <= 0 else [*told, f"... ({rest} more)"]
    return value


_ADVICE = {
    "chat": "lower max_tokens or shorten the prompt",
    "embeddings": "send fewer or shorter inputs",
    "speech": "shorten the text",
    "video": "ask for fewer seconds, fewer steps or a smaller size",
    "images": "ask for fewer images, fewer steps or a smaller size",
}
