"""What a surge price is made of: the published policy, the state of one engine's controller, and what everybody is told.  Pure."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from taximeter.kernel.canonical import canonical_json

NAME = "surge"
"""The name of the factor in fares and receipts."""
ONE_PCT = 100
"""Factors are whole hundredths: 100 is no change."""
QUANTUM_PCT = 5
"""Prices move by whole twentieths."""
FLOOR_PCT = 80
CAP_PCT = 1_000
LOAD_BP_MAX = 40_000
"""Four times what an engine can do at once; a longer queue changes no price."""
PPM_PER_BP = 100


class Point(msgspec.Struct, frozen=True, array_like=True):
    """A corner of a curve: from this load on, this factor; straight between two of them."""

    load_bp: int
    factor_pct: int


DEFAULT_CURVE = (Point(8_500, 100), Point(10_000, 150), Point(20_000, 250))


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How a price follows a load.  It is published as it stands.

    The defaults are slow on purpose: whoever shifts his work needs to know the price for a while, and a quick price makes those who
    wait for it come back all at once (``bench/surge.py`` has the figures).

    Attributes:
        curve: the factor by load, straight between corners; 1 before the first, as the last after the last, which is the cap.
        discount: factors below 1 for low loads, likewise; they are paid out of what the surge has brought in.  Empty: none.
        smoothing_s: time constant of the smoothing: so long after a jump of the load, some two thirds of it are seen.
        deadband_bp: how far the smoothed load must fall below what the price follows before the price follows it down.
        step_s: the price may move once in each period of so many seconds.
        rise_pct: by at most so many hundredths upwards.
        fall_pct: and downwards, which is less.
    """

    curve: tuple[Point, ...] = DEFAULT_CURVE
    discount: tuple[Point, ...] = ()
    smoothing_s: int = 900
    deadband_bp: int = 2_000
    step_s: int = 600
    rise_pct: int = 10
    fall_pct: int = 5

    @property
    def id(self) -> str:
        """Eight hexadecimal digits that name exactly this policy: of the SHA-256 of its canonical JSON."""
        return hashlib.sha256(canonical_json(msgspec.to_builtins(self))).hexdigest()[:8]

    @property
    def cap_pct(self) -> int:
        """The highest factor."""
        return self.curve[-1].factor_pct

    @property
    def floor_pct(self) -> int:
        """The lowest factor."""
        return self.discount[0].factor_pct if self.discount else ONE_PCT

    def to_api(self) -> dict[str, Any]:
        """The policy as it is published."""
        return {
            "id": self.id,
            "curve": points_to_api(self.curve),
            "discount": points_to_api(self.discount),
            "cap": hundredths(self.cap_pct),
            "floor": hundredths(self.floor_pct),
            "quantum": hundredths(QUANTUM_PCT),
            "smoothing_s": self.smoothing_s,
            "deadband_percent": hundredths(self.deadband_bp),
            "step_s": self.step_s,
            "rise_max": hundredths(self.rise_pct),
            "fall_max": hundredths(self.fall_pct),
        }


class Demand(NamedTuple):
    """Requests for an engine that are open here.

    Attributes:
        open: those that run or wait, but for cheap tiers.
        cheap: those of cheap tiers that run; the ones that wait give way to everything else.
    """

    open: int = 0
    cheap: int = 0


class Sample(msgspec.Struct, frozen=True):
    """One look at how busy an engine is.

    Attributes:
        load_bp: work at it and waiting for it, in hundredths of a percent of what it can do at once; None: unknown, which is not 0.
        reason: why it is unknown.
    """

    load_bp: int | None
    reason: str = ""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The controller of one engine's price.

    Attributes:
        factor_pct: the factor in force.
        smoothed_ppm: the load, smoothed, in millionths; None: it was never known.
        followed_ppm: the load that the price follows: the smoothed one with the deadband above it.
        known_ms: when the load was last known, in Unix time, as the next.
        decided_ms: when the price was last looked at; it moves once in a period.
        since_ms: when the factor last changed; 0: never.
    """

    factor_pct: int = ONE_PCT
    smoothed_ppm: int | None = None
    followed_ppm: int = 0
    known_ms: int = 0
    decided_ms: int = 0
    since_ms: int = 0


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one engine's price, as gateways read it.

    Attributes:
        load_bp: of the last sample; None: unknown.
        reason: why it is.
        change: the number of the last change in the audit; 0: the factor has never changed.
        changes: how many there were.
        surplus_utok: what the surge has brought in and discounts have not paid out yet.
        left_s: for how long this may be relied on, from when it was read; not above 0: whoever samples is gone.
        source: where the load comes from, in words.
    """

    engine: str
    policy: Policy
    state: State
    load_bp: int | None
    reason: str
    source: str
    change: int
    changes: int
    surplus_utok: int
    left_s: float

    @property
    def label(self) -> str:
        """The words of the factor's line on a receipt: which change of the audit has set it, by which policy."""
        what = "Surge" if self.state.factor_pct > ONE_PCT else "Calm"
        return f"{what} at {self.engine}, change {self.change} by policy {self.policy.id}"


def hundredths(value: int) -> str:
    """A number of hundredths as a decimal: ``1.25`` for a factor of 125, ``92.5`` for a load of 9250."""
    whole, rest = divmod(value, 100)
    return f"{whole}.{rest:02d}".rstrip("0") if rest else str(whole)


def points_to_api(points: Sequence[Point]) -> list[dict[str, str]]:
    """A curve as it is published."""
    return [{"utilisation_percent": hundredths(point.load_bp), "multiplier": hundredths(point.factor_pct)} for point in points]
