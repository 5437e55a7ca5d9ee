"""What is left of limits, as callers and operators look it up between requests.  Pure."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from taximeter.admission.limits.model import LIMIT_PREFIX
from taximeter.admission.limits.rules import plan_bucket
from taximeter.identity import Caller, terms
from taximeter.kernel.ids import encode_id
from taximeter.kernel.units import format_tokens

_NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """How full a bucket is.

    Attributes:
        requests_at_ns: up to when requests have used it up, nanoseconds since 1970; 0: nobody has used it.
        tokens_at_ns: likewise Tokens.
        running: requests that have a slot in it.
        now_ns: when this was so, by the database's clock.
    """

    requests_at_ns: int
    tokens_at_ns: int
    running: int
    now_ns: int


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit and what of it is left.

    Attributes:
        id: None: it came with the key or the plan.
        left: requests, micro-Tokens, or requests at the same time; rounded down.
        full_ns: until all of it is there, when nobody asks; 0 for requests at the same time, which end when they end.
    """

    id: UUID | None
    limit: terms.Limit
    left: int
    full_ns: int

    def to_api(self) -> dict[str, Any]:
        """One entry of ``GET /v1/limits``."""
        limit, concurrent = self.limit, self.limit.kind == "concurrency"
        return {
            "id": None if self.id is None else encode_id(LIMIT_PREFIX, self.id),
            "scope": limit.scope,
            "model": limit.model,
            "kind": limit.kind,
            "most": _amount(limit, limit.most),
            "window": None if concurrent else limit.window_s,
            "left": _amount(limit, self.left),
            "full_in_s": None if concurrent else -(-self.full_ns // _NS_PER_S),
            "shadow": limit.shadow,
        }


def standing(caller: Caller, limit: terms.Limit, bucket: Bucket) -> Standing:
    """What is left of a limit, as the next hold finds it: the same arithmetic as in migration 0130."""
    set_apart = limit.bucket not in (str(caller.key_id), plan_bucket(caller.project_id))
    limit_id = UUID(limit.bucket) if set_apart else None
    if limit.kind == "concurrency":
        return Standing(limit_id, limit, max(limit.most - bucket.running, 0), 0)
    window_ns = limit.window_s * _NS_PER_S
    at_ns = bucket.tokens_at_ns if limit.kind == "tokens" else bucket.requests_at_ns
    used_ns = max(at_ns - bucket.now_ns, 0)
    return Standing(limit_id, limit, max((window_ns - used_ns) * limit.most // window_ns, 0), used_ns)


def _amount(limit: terms.Limit, amount: int) -> str:
    return format_tokens(amount) if limit.kind == "tokens" else str(amount)
