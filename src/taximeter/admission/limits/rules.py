"""What a hold must fit into, and what its sender is told when it does not.  Pure.

The limits themselves are decided in the database, in the transaction of the hold (migration 0130): requests and Tokens by the
generic cell rate algorithm (all of a window may be used at once, and comes back evenly), requests at the same time by rows.
"""

from collections.abc import Sequence
from functools import lru_cache
from uuid import UUID, uuid5

from taximeter.admission.errors import AboveRateLimit, ConcurrencyLimited, RateLimited
from taximeter.admission.model import Ask
from taximeter.identity import Caller, terms
from taximeter.kernel.errors import InvalidRequest, Refusal
from taximeter.kernel.units import AMOUNT_UTOK_MAX, format_tokens
from taximeter.pricing import Plan

NEVER_NS = -1
LIMITS_PER_OWNER = 5
"""Most limits of one owner for one model, or for all: a request meets 30 at most, and there are notes for 32."""
WINDOW_S_MAX = 86_400
REQUESTS_MAX = 1_000_000_000
_NS_PER_S = 1_000_000_000
_PLAN_BUCKETS = UUID("6f1a7c52-0b7d-5d0e-9d3f-6f2f0c1e4a11")
_WINDOWS = {1: "a second", 60: "a minute", 3600: "an hour", 86_400: "a day"}


def limits_on(ask: Ask) -> tuple[terms.Limit, ...]:
    """The limits that a request meets: of its key, of its project, of its model and of its plan; mostly none."""
    caller, plan = ask.caller, ask.plan
    found = tuple(limit for limit in caller.terms.limits if limit.model is None or limit.model == ask.model)
    if caller.requests_per_minute is not None or caller.tokens_per_minute_utok is not None:
        found += _own_limits(caller)
    if plan is not None:
        found += _plan_limits(plan, caller.project_id)
    return found


def limits_of(caller: Caller, plan: Plan | None) -> tuple[terms.Limit, ...]:
    """All limits that requests of a caller meet, whichever model they ask for."""
    return (*caller.terms.limits, *_own_limits(caller), *(() if plan is None else _plan_limits(plan, caller.project_id)))


@lru_cache(maxsize=4096)
def plan_bucket(project_id: UUID) -> str:
    """Where the limits of a project's plan are counted: one bucket a project, which a change of plan does not empty."""
    return str(uuid5(_PLAN_BUCKETS, str(project_id)))


def _own_limits(caller: Caller) -> tuple[terms.Limit, ...]:
    """Those that a key was made with; its own id is their bucket."""
    bucket, found = str(caller.key_id), []
    if caller.requests_per_minute is not None:
        found.append(terms.Limit(bucket=bucket, scope="key", kind="requests", most=caller.requests_per_minute))
    if caller.tokens_per_minute_utok is not None:
        found.append(terms.Limit(bucket=bucket, scope="key", kind="tokens", most=caller.tokens_per_minute_utok))
    return tuple(found)


def _plan_limits(plan: Plan, project_id: UUID) -> tuple[terms.Limit, ...]:
    found = []
    if plan.requests_per_minute is not None:
        found.append(terms.Limit(bucket=plan_bucket(project_id), scope="plan", kind="requests", most=plan.requests_per_minute))
    if plan.tokens_per_minute_utok is not None:
        found.append(terms.Limit(bucket=plan_bucket(project_id), scope="plan", kind="tokens", most=plan.tokens_per_minute_utok))
    if plan.concurrent_max is not None:
        found.append(terms.Limit(bucket=plan_bucket(project_id), scope="plan", kind="concurrency", most=plan.concurrent_max, window_s=0))
    return tuple(found)


def take(limits: Sequence[terms.Limit]) -> tuple[tuple[str, str, int, int, bool], ...]:
    """What a hold asks of its limits, as ``Operation.take`` has it: a request, its amount in Tokens, and a slot while it runs."""
    return tuple((limit.bucket, limit.kind, limit.most, limit.window_s, limit.shadow) for limit in limits)


def refusal(limit: terms.Limit, model: str, maximum_utok: int, wait_ns: int) -> Refusal:
    """What a caller is told whose request a limit does not allow now.

    Args:
        limit: that refused.
        model: that was asked for.
        maximum_utok: what the request may cost at most.
        wait_ns: how long until the limit would allow it; NEVER_NS when it would not.
    """
    whose = _whose(limit, model)
    if limit.kind == "concurrency":
        running = "1 request" if limit.most == 1 else f"{limit.most:,} requests"
        message = f"{whose} may have {running} at the same time, and so many run; nothing was run or charged, send it again when one has ended"
        return ConcurrencyLimited(message, headers={"retry-after": "1"})
    allowed = f"{format_tokens(limit.most)} Tokens" if limit.kind == "tokens" else f"{limit.most:,} requests"
    allowed += f" {_WINDOWS.get(limit.window_s) or f'in {limit.window_s:,} seconds'}"
    if wait_ns == NEVER_NS:
        message = f"this request may cost up to {format_tokens(maximum_utok)} Tokens and {whose} is limited to {allowed}; ask for less"
        return AboveRateLimit(message)
    wait_s = max(-(-wait_ns // _NS_PER_S), 1)
    message = f"{whose} is limited to {allowed}; nothing was run or charged, try again in {wait_s} s"
    return RateLimited(message, headers={"retry-after": str(wait_s)})


def _whose(limit: terms.Limit, model: str) -> str:
    owner = {"key": "the key", "project": "the project", "plan": "the project's plan", "model": f"the model {model}"}[limit.scope]
    return owner if limit.model is None or limit.scope == "model" else f"{owner} with {model}"


def check_height(kind: str, most: int, window_s: int | None) -> None:
    """Raises InvalidRequest for a height that nothing could reach, or a window that is none."""
    highest = AMOUNT_UTOK_MAX if kind == "tokens" else REQUESTS_MAX
    if not 1 <= most <= highest:
        bound = f"{format_tokens(highest)} Tokens" if kind == "tokens" else f"{highest:,}"
        message = f"'most' must be more than 0 and at most {bound}."
        raise InvalidRequest(message, param="most")
    if kind == "concurrency":
        if window_s is not None:
            message = "'window' is not for a limit on requests at the same time; leave it out."
            raise InvalidRequest(message, param="window")
    elif window_s is None or not 1 <= window_s <= WINDOW_S_MAX:
        message = f"'window' must be 1 to {WINDOW_S_MAX:,} seconds."
        raise InvalidRequest(message, param="window")
