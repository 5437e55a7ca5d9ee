"""What is left of a caller's limits, as headers say it.  Pure.

``RateLimit-Policy`` and ``RateLimit`` follow the IETF draft (draft-ietf-httpapi-ratelimit-headers), ``x-ratelimit-*`` what OpenAI
sends and its clients read.  Of several limits of one kind the tightest is told: the one with the least left.
"""

from collections.abc import Sequence

from taximeter.identity import terms
from taximeter.kernel.units import UTOK_PER_TOKEN
from taximeter.ledger import Outcome

_NS_PER_S = 1_000_000_000
_NS_PER_MS = 1_000_000
_MS_PER_S = 1000
_MS_PER_MINUTE = 60_000
_MS_PER_HOUR = 3_600_000
# The draft counts requests unless a policy says otherwise.
_UNITS = {"requests": "", "tokens": ';qu="tokens"', "concurrency": ';qu="concurrent-requests"'}


def headers(limits: Sequence[terms.Limit], outcome: Outcome) -> dict[str, str]:
    """The headers of an answer to a request that met these limits.

    Args:
        limits: as they were asked.
        outcome: of the hold; its notes say, by a limit's place, what is left of it and in how many nanoseconds all of it is there.
    """
    tightest: dict[str, tuple[int, int, terms.Limit]] = {}
    for note in outcome.notes:
        if note.kind >= len(limits):
            continue  # Not about limits.
        limit = limits[note.kind]
        known = tightest.get(limit.kind)
        if known is None or (note.first, -note.second) < (known[0], -known[1]):
            tightest[limit.kind] = (note.first, note.second, limit)
    if not tightest:
        return {}
    policies, states, told = [], [], {}
    for kind in dict.fromkeys(limit.kind for limit in limits if limit.kind in tightest):
        rest, full_ns, limit = tightest[kind]
        # Whole Tokens: what is promised is there.
        unit = UTOK_PER_TOKEN if kind == "tokens" else 1
        most, left = limit.most // unit, rest // unit
        window = "" if kind == "concurrency" else f";w={limit.window_s}"
        policies.append(f'"{kind}";q={most}{window}{_UNITS[kind]}')
        states.append(f'"{kind}";r={left}' + ("" if kind == "concurrency" else f";t={-(-full_ns // _NS_PER_S)}"))
        if kind != "concurrency":
            told[f"x-ratelimit-limit-{kind}"] = str(most)
            told[f"x-ratelimit-remaining-{kind}"] = str(left)
            told[f"x-ratelimit-reset-{kind}"] = duration(full_ns)
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states), **told}


def duration(span_ns: int) -> str:
    """A time as OpenAI writes it: ``20ms``, ``1s``, ``1.5s``, ``6m0s``; to the millisecond, rounded up."""
    total_ms = -(-span_ns // _NS_PER_MS)
    if total_ms < _MS_PER_S:
        return f"{total_ms}ms" if total_ms else "0s"
    hours, rest_ms = divmod(total_ms, _MS_PER_HOUR)
    minutes, rest_ms = divmod(rest_ms, _MS_PER_MINUTE)
    seconds, milliseconds = divmod(rest_ms, _MS_PER_S)
    fraction = f".{milliseconds:03d}".rstrip("0") if milliseconds else ""
    whole = f"{seconds}{fraction}s"
    if hours:
        return f"{hours}h{minutes}m{whole}"
    return f"{minutes}m{whole}" if minutes else whole
