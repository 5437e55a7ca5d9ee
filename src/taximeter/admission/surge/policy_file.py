"""Which engines have a surge price, by which policy, and where their load is read: from a YAML file, or by default.

Numbers are read as they are written, never by way of a float.
"""

import itertools
from collections.abc import Collection, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml

from taximeter.admission.surge.model import CAP_PCT, DEFAULT_CURVE, FLOOR_PCT, LOAD_BP_MAX, ONE_PCT, QUANTUM_PCT, Point, Policy
from taximeter.kernel.errors import SetupError

SECONDS_MAX = 3_600
_CORNERS_MAX = 32


class OccupancySource(msgspec.Struct, frozen=True, tag_field="kind", tag="occupancy", forbid_unknown_fields=True):
    """Work at the engine and waiting for it, against how much it can do at once.

    Attributes:
        concurrent_max: how many requests it can do at once; None: as many as it says itself (``slots``).
    """

    concurrent_max: int | None = None


class NvmlSource(msgspec.Struct, frozen=True, tag_field="kind", tag="nvml", forbid_unknown_fields=True):
    """The GPUs of the worker's machine, by NVIDIA's library.

    Attributes:
        devices: their numbers; empty: all.
    """

    devices: tuple[int, ...] = ()


class PrometheusSource(msgspec.Struct, frozen=True, tag_field="kind", tag="prometheus", forbid_unknown_fields=True):
    """An instant query that answers with one number.

    Attributes:
        url: of the server (``http://prometheus:9090``).
        query: PromQL.
        scale: what the number is: a ``ratio``, of which 1 is all, or a ``percent``, of which 100 is.
        stale_s: an older answer is no answer.
        timeout_s: how long it is waited for.
        token_file: a file with the bearer token that the server wants; read for each query, so it may be replaced.
        ca_file: PEM certificates of who vouches for the server, instead of those that the system trusts.
    """

    url: str
    query: str
    scale: Literal["ratio", "percent"]
    stale_s: int = 60
    timeout_s: int = 5
    token_file: str | None = None
    ca_file: str | None = None


Source = OccupancySource | NvmlSource | PrometheusSource


class EnginePlan(msgspec.Struct, frozen=True):
    """One engine with a price that follows its load."""

    engine: str
    policy: Policy
    source: Source


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file may say of an engine, or by default; scalars are texts here."""

    curve: list[tuple[str, str]] | None = None
    discount: list[tuple[str, str]] | None = None
    smoothing_s: int | None = None
    deadband: str | None = None
    step_s: int | None = None
    rise_max: str | None = None
    fall_max: str | None = None
    source: Source | None = None


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    defaults: _Entry = _Entry()
    engines: dict[str, _Entry | None] | None = None


def read_plans(path: Path | None, engines: Collection[str], capacities: Mapping[str, int]) -> tuple[EnginePlan, ...]:
    """The plans of the file; without one, the default policy for every engine, by its occupancy.

    Args:
        path: the file; None: there is none.
        engines: those that this process can reach.
        capacities: what the upstreams file says of them (``concurrent_max``).

    Raises SetupError, naming the engine and the field at fault.
    """
    if path is None:
        return tuple(EnginePlan(name, Policy(), _with_capacity(OccupancySource(), capacities.get(name))) for name in sorted(engines))
    file = _read(path)
    entries = dict.fromkeys(sorted(engines)) if file.engines is None else file.engines
    plans = []
    for name, entry in entries.items():
        try:
            plan = _plan(name, entry or _Entry(), file.defaults, capacities.get(name))
        except ValueError as error:
            message = f"surge file {path}, engine {name!r}: {error}"
            raise SetupError(message) from error
        if isinstance(plan.source, OccupancySource) and name not in engines:
            message = f"surge file {path}: no engine {name!r} runs here; there are {', '.join(sorted(engines)) or 'none'}"
            raise SetupError(message)
        plans.append(plan)
    return tuple(plans)


def _read(path: Path) -> _File:
    try:
        # Every scalar as the text that stands there: 1.25 is then five quarters and not the nearest float.
        content: Any = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 - it makes texts, lists and maps alone
        return msgspec.convert(_without_empty(content), _File, strict=False)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        message = f"cannot use the surge file {path}: {' '.join(str(error).split())}"
        raise SetupError(message) from error


def _without_empty(content: Any) -> Any:  # noqa: ANN401 - whatever YAML there is
    """What is left empty is as if it were not there (``demo-text:``)."""
    if isinstance(content, dict):
        return {name: None if value == "" else _without_empty(value) for name, value in content.items()}
    return content


def _plan(name: str, entry: _Entry, defaults: _Entry, capacity: int | None) -> EnginePlan:
    def given(field: str) -> Any:  # noqa: ANN401 - a field of any type
        own = getattr(entry, field)
        return getattr(defaults, field) if own is None else own

    usual = Policy()
    curve, discount = given("curve"), given("discount")
    policy = Policy(
        curve=DEFAULT_CURVE if curve is None else _points("curve", curve),
        discount=() if not discount else _points("discount", discount),
        smoothing_s=usual.smoothing_s if given("smoothing_s") is None else given("smoothing_s"),
        deadband_bp=usual.deadband_bp if given("deadband") is None else _hundredths("deadband", given("deadband")),
        step_s=usual.step_s if given("step_s") is None else given("step_s"),
        rise_pct=usual.rise_pct if given("rise_max") is None else _hundredths("rise_max", given("rise_max")),
        fall_pct=usual.fall_pct if given("fall_max") is None else _hundredths("fall_max", given("fall_max")),
    )
    check_policy(policy)
    source = given("source") or OccupancySource()
    if isinstance(source, OccupancySource):
        source = _with_capacity(source, capacity)
        if source.concurrent_max is not None and source.concurrent_max < 1:
            message = "concurrent_max must be at least 1"
            raise ValueError(message)
    if isinstance(source, PrometheusSource) and source.ca_file is not None and not source.url.startswith("https://"):
        message = "ca_file is for a url that begins with https://"
        raise ValueError(message)
    return EnginePlan(name, policy, source)


def check_policy(policy: Policy) -> None:
    """Raises ValueError for a policy that could not be kept, or that nobody can have meant."""
    faults = [
        (not 0 <= policy.smoothing_s <= SECONDS_MAX, f"smoothing_s must be 0 to {SECONDS_MAX}"),
        (not 1 <= policy.step_s <= SECONDS_MAX, f"step_s must be 1 to {SECONDS_MAX}"),
        (not 0 <= policy.deadband_bp <= ONE_PCT * 100, "deadband must be 0 to 100 (percent of the engine)"),
        (any(value % QUANTUM_PCT or value <= 0 for value in (policy.rise_pct, policy.fall_pct)), "rise_max and fall_max must be multiples of 0.05"),
        (policy.fall_pct >= policy.rise_pct, "fall_max must be less than rise_max: a price falls slower than it rises"),
        (not policy.curve or policy.curve[0].factor_pct != ONE_PCT, "curve must begin at a multiplier of 1"),
        (bool(policy.curve) and policy.curve[-1].factor_pct > CAP_PCT, "curve must end at 10 at most"),
        (bool(policy.discount) and policy.discount[0].factor_pct < FLOOR_PCT, "discount must not be below 0.8"),
        (bool(policy.discount) and policy.discount[-1].factor_pct != ONE_PCT, "discount must end at a multiplier of 1"),
        (
            bool(policy.discount and policy.curve) and policy.discount[-1].load_bp > policy.curve[0].load_bp,
            "discount must end where curve begins, or before",
        ),
        (
            not _rises(policy.curve) or not _rises(policy.discount),
            "the corners of a curve must stand by rising utilisation, and the multipliers not fall",
        ),
    ]
    for wrong, message in faults:
        if wrong:
            raise ValueError(message)


def _rises(points: tuple[Point, ...]) -> bool:
    steps = list(itertools.pairwise(points))
    corners = all(left.load_bp < right.load_bp and left.factor_pct <= right.factor_pct for left, right in steps)
    return corners and all(0 <= point.load_bp <= LOAD_BP_MAX and point.factor_pct % QUANTUM_PCT == 0 for point in points)


def _with_capacity(source: OccupancySource, capacity: int | None) -> OccupancySource:
    return source if source.concurrent_max is not None or capacity is None else OccupancySource(capacity)


def _points(field: str, corners: list[tuple[str, str]]) -> tuple[Point, ...]:
    if not 0 < len(corners) <= _CORNERS_MAX:
        message = f"{field} must have 1 to {_CORNERS_MAX} corners"
        raise ValueError(message)
    return tuple(Point(_hundredths(field, load), _hundredths(field, factor)) for load, factor in corners)


def _hundredths(field: str, text: str) -> int:
    try:
        value = Fraction(text.strip().removesuffix("%").strip()) * 100
    except (ValueError, ZeroDivisionError) as error:
        message = f"{field} has {text!r}, which is no number"
        raise ValueError(message) from error
    if value.denominator != 1:
        message = f"{field} has {text!r}, which has more than two decimals"
        raise ValueError(message)
    return value.numerator
