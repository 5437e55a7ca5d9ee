"""The prices of the moment as one process knows them: read every second, and worth nothing when they are old."""

import secrets
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from taximeter.admission.surge.errors import FlexUnavailable, MultiplierAboveMaximum
from taximeter.admission.surge.model import NAME, ONE_PCT, Current, hundredths
from taximeter.admission.surge.rules import next_change_ms, spread_s, wait_s
from taximeter.kernel.clock import Clock, utc_from_ms
from taximeter.pricing import Buyer

CALM_TIERS = frozenset({"batch", "flex"})
"""Tiers that wait for the calm instead of paying for the rush."""
# A caller who asks again sooner finds the same price; one who is told to wait for longer finds another server.  What spreads those
# who wait for one price comes on top: else they would all come back with the first moment of it, and be the next peak.
WAIT_S_MAX = 3_600
FORGOTTEN_S = 3_600


def _permille() -> int:
    return secrets.randbelow(1001)


class Board:
    """What is in force for each engine.

    Args:
        clock: for how old it is.
        current: by engine; None: there are no surge prices here.
        chance: 0 to 1000, another number each time.
    """

    def __init__(self, clock: Clock, current: Mapping[str, Current] | None = None, chance: Callable[[], int] = _permille) -> None:
        self.on = current is not None
        self._clock = clock
        self._current = current or {}
        self._read_s = clock.monotonic_s()
        self._chance = chance

    def find(self, engine: str | None) -> Current | None:
        """What is in force for an engine; None: nothing, or nobody has looked at it for too long."""
        current = self._current.get(engine or "")
        return None if current is None or self.is_stale(current) else current

    def is_stale(self, current: Current) -> bool:
        """Whether whoever samples has been silent for too long: the factor is 1 then, whatever it was."""
        return current.left_s <= self._clock.monotonic_s() - self._read_s

    def all(self) -> list[Current]:
        """Everything that was read, in the order of the names."""
        return [self._current[name] for name in sorted(self._current)]

    def buyer(self, buyer: Buyer, engine: str | None, tier: object) -> Buyer:
        """Whom a price is for, at this moment: with the engine's factor, unless it is 1 or the tier waits for the calm."""
        current = self.find(engine)
        if current is None or current.state.factor_pct == ONE_PCT or (isinstance(tier, str) and tier in CALM_TIERS):
            return buyer
        return buyer.with_factor(NAME, current.label, hundredths(current.state.factor_pct))

    def check_calm(self, engine: str | None, tier: str) -> None:
        """Raises FlexUnavailable when the tier waits for the calm and its engine is in a rush; there is nothing to wait in for a call."""
        current = self.find(engine)
        if tier not in CALM_TIERS or current is None or current.state.factor_pct <= ONE_PCT:
            return
        message = (
            f"the service tier {tier} runs in the time that nobody else wants, and {engine} has none now (multiplier"
            f" {hundredths(current.state.factor_pct)}); try again later, or leave the tier out; nothing was charged"
        )
        raise FlexUnavailable(message, param="service_tier", headers={"retry-after": str(self._wait_s(current, ONE_PCT))})

    def above_maximum(self, engine: str | None, product: Fraction, without: Fraction, most: Fraction) -> MultiplierAboveMaximum:
        """The refusal of a request whose factors are above what its sender takes; with Retry-After when they may come down so far.

        Args:
            engine: that would run it.
            product: of all factors now.
            without: of all but the surge.
            most: what the sender takes.
        """
        current = self.find(engine)
        headers = {}
        if current is not None and without <= most and current.state.factor_pct > ONE_PCT:
            headers["retry-after"] = str(self._wait_s(current, int(most / without * ONE_PCT)))
        message = (
            f"each Token consumed costs {_decimal(product)} now, more than the {_decimal(most)} that the request takes at most;"
            f" {'try again later' if headers else 'ask for more, or for another tier'}; nothing was run or charged"
        )
        return MultiplierAboveMaximum(message, param="taximeter-max-multiplier", headers={**headers, "taximeter-multiplier": _decimal(product)})

    def view(self, current: Current) -> dict[str, Any]:
        """One entry of ``GET /v1/surge``."""
        state, now_ms = current.state, self._clock.now_ms()
        stale = self.is_stale(current)
        return {
            "engine": current.engine,
            "multiplier": "1" if stale else hundredths(state.factor_pct),
            "since": utc_from_ms(state.since_ms).isoformat() if state.since_ms else None,
            "next_change": utc_from_ms(next_change_ms(current.policy, now_ms)).isoformat(),
            "utilisation_percent": None if stale or current.load_bp is None else hundredths(current.load_bp),
            "smoothed_percent": None if state.smoothed_ppm is None else hundredths(state.smoothed_ppm // 100),
            "followed_percent": hundredths(state.followed_ppm // 100),
            "unknown_because": "nobody has sampled it for a while" if stale else current.reason or None,
            "source": current.source,
            "changes": current.changes,
            "last_change": current.change or None,
            "policy": current.policy.to_api(),
        }

    def summary(self, engine: str | None) -> dict[str, Any] | None:
        """What ``GET /v1/models`` says of a model's surge; None: it has none."""
        if not self.on or (engine or "") not in self._current:
            return None
        told = self.view(self._current[engine or ""])
        policy = told["policy"]
        kept = ("multiplier", "since", "next_change", "utilisation_percent")
        return {**{name: told[name] for name in kept}, "policy": policy["id"], "curve": policy["curve"], "cap": policy["cap"]}

    def figures(self) -> dict[str, tuple[str, float]]:
        """Gauges for the metrics page: name -> (help, value)."""
        figures: dict[str, tuple[str, float]] = {}
        for current in self.all():
            if current.left_s < -FORGOTTEN_S:
                # It has no plan any more; its row keeps the account.
                continue
            label, stale = f'{{engine="{current.engine}"}}', self.is_stale(current)
            known = not stale and current.load_bp is not None
            figures[f"taximeter_surge_multiplier{label}"] = (
                "What surge multiplies prices by.",
                1.0 if stale else current.state.factor_pct / ONE_PCT,
            )
            if known and current.load_bp is not None:
                figures[f"taximeter_surge_utilisation{label}"] = (
                    "Work at an engine and waiting for it; 1 is all it can do.",
                    current.load_bp / 10_000,
                )
            figures[f"taximeter_surge_known{label}"] = ("Whether the utilisation is known: 0 when its source is silent.", float(known))
            figures[f"taximeter_surge_stale{label}"] = ("Whether no worker has sampled for too long: prices have no surge then.", float(stale))
            figures[f"taximeter_surge_changes_total{label}"] = ("Changes of the multiplier.", float(current.changes))
            figures[f"taximeter_surge_surplus_utok{label}"] = (
                "Micro-Tokens that surges brought in and discounts have not paid out.",
                float(current.surplus_utok),
            )
        return figures

    def _wait_s(self, current: Current, wanted_pct: int) -> int:
        soonest_s = min(WAIT_S_MAX, wait_s(current.policy, current.state.factor_pct, wanted_pct, self._clock.now_ms()))
        return soonest_s + spread_s(current.policy, self._chance())


def _decimal(value: Fraction) -> str:
    """A factor for people: exact when it is a decimal, else to six places."""
    millionths = value * 1_000_000
    whole, rest = divmod(int(millionths), 1_000_000)
    return f"{whole}.{rest:06d}".rstrip("0").rstrip(".") if rest else str(whole)
