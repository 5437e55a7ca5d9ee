"""Meters of other packages, announced as entry points of the group ``taximeter.meters``.

    [project.entry-points."taximeter.meters"]
    translation = "pages_meter:PagesTranslated"

The object is a meter, or a class that makes one without arguments.  A package that brings nonsense is refused by
name, and takes nothing with it: neither the built-in meters nor those of other packages.
"""

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

from taximeter.meters.model import Meter

GROUP = "taximeter.meters"
ID_CHARS_MAX = 100
_ID = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+/[1-9][0-9]{0,5}")
_QUANTITY = re.compile(r"[a-z][a-z0-9_]{0,63}")
_METHODS = ("check", "estimate", "actual")


@dataclass(frozen=True)
class Plugins:
    """What the installed packages bring.

    Attributes:
        meters: those that can be used, by id.
        faults: one sentence for each that cannot, with the package's name.
    """

    meters: Mapping[str, Meter]
    faults: tuple[str, ...]


@functools.cache
def installed(taken: frozenset[str]) -> Plugins:
    """The plug-ins of this Python, read once; ``taken`` are the ids of the built-in meters."""
    return read(entry_points(group=GROUP), taken)


def read(points: Iterable[EntryPoint], taken: frozenset[str]) -> Plugins:
    """Load entry points and keep what is a meter.

    An id of a built-in meter stays with that.  Of two plug-ins with one id neither is used: which one it would be
    must not depend on the order in which they were installed.
    """
    meters: dict[str, Meter] = {}
    faults: list[str] = []
    owners: dict[str, list[str]] = {}
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        who = f"the plug-in {point.name!r} of {_package(point)}"
        try:
            loaded = point.load()
            meter = loaded() if isinstance(loaded, type) else loaded
            problem = _problem(meter)
        except Exception as error:  # noqa: BLE001 - foreign code: whatever it raises is its package's fault, and stops nobody else
            faults.append(f"{who} cannot be loaded: {type(error).__name__}: {' '.join(str(error).split())}")
            continue
        if problem is not None:
            faults.append(f"{who} is no meter: {problem}")
        elif meter.id in taken:
            faults.append(f"{who} has the id {meter.id!r} of a built-in meter; give it another")
        else:
            owners.setdefault(meter.id, []).append(who)
            meters[meter.id] = meter
    for meter_id, several in owners.items():
        if len(several) > 1:
            del meters[meter_id]
            faults.append(f"{' and '.join(several)} have the same id {meter_id!r}; remove one of them")
    return Plugins(meters, tuple(faults))


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.value.partition(":")[0]


def _problem(meter: object) -> str | None:
    """Why an object is no meter; None when it is one."""
    meter_id = getattr(meter, "id", None)
    if not isinstance(meter_id, str) or len(meter_id) > ID_CHARS_MAX or _ID.fullmatch(meter_id) is None:
        return "its id must be a name with a dot and a version, such as pages.translated/1"
    quantities = getattr(meter, "quantities", None)
    if not isinstance(quantities, Mapping) or not quantities:
        return "its quantities must be an object from names to a sentence on what each counts"
    for name, words in quantities.items():
        if not isinstance(name, str) or _QUANTITY.fullmatch(name) is None or not isinstance(words, str) or not words.strip():
            return f"its quantity {name!r} must have a name of lower-case letters, digits and underscores, and a sentence on what it counts"
    held = getattr(meter, "held_as", None)
    if not isinstance(held, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 and set(pair) <= set(quantities) for pair in held):  # noqa: PLR2004
        return "its held_as must be a tuple of pairs of its quantities, mostly an empty one"
    lacking = [name for name in _METHODS if not callable(getattr(meter, name, None))]
    return f"it lacks the method {lacking[0]}" if lacking else None
