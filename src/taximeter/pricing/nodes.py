"""A catalog document as a tree that remembers its lines, and a reader that collects every fault in it."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from fractions import Fraction
from typing import Any

from taximeter.pricing.errors import Problem

# Numbers beyond this many digits before or after the point are mistakes.
DIGITS_MAX = 30
TEXT_CHARS_MAX = 4000
# What every reader of YAML or JSON takes for the same number: 12, -0.5, .5, 2.5e-4; not 1_000, which YAML 1.2 reads as a text.
PLAIN = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

Scalar = str | int | bool | Decimal | None


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the line it stands on; mappings keep the line of each key in their values."""

    value: "Scalar | list[Node] | dict[str, Node]"
    line: int = 0

    def plain(self) -> Any:  # noqa: ANN401 - JSON
        """The value in JSON's terms; decimals become texts, so that none is ever a float."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return format(self.value.normalize(), "f") if isinstance(self.value, Decimal) else self.value

    def lines(self, path: str = "") -> Iterator[tuple[str, int]]:
        """The line of every part, by path (``lines[0].quantity``)."""
        yield path, self.line
        if isinstance(self.value, dict):
            for key, node in self.value.items():
                yield from node.lines(f"{path}.{key}" if path else key)
        elif isinstance(self.value, list):
            for index, node in enumerate(self.value):
                yield from node.lines(f"{path}[{index}]")


def from_plain(value: Any) -> Node:  # noqa: ANN401 - JSON
    """A tree without lines from JSON values."""
    if isinstance(value, dict):
        return Node({str(key): from_plain(item) for key, item in value.items()})
    if isinstance(value, list):
        return Node([from_plain(item) for item in value])
    if isinstance(value, float):
        return Node(Decimal(str(value)))
    return Node(value)


def canonical(node: Node) -> str:
    """Equal content gives equal text: JSON with sorted keys and no spaces."""
    return json.dumps(node.plain(), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


class Reader:
    """Takes known keys out of one mapping; what is wrong becomes a Problem, and reading goes on."""

    def __init__(self, node: Node, file: str, problems: list[Problem]) -> None:
        self._node = node
        self._file = file
        self._problems = problems
        self._known: set[str] = set()
        self._map: Mapping[str, Node] = {}
        if isinstance(node.value, dict):
            self._map = node.value
        else:
            self.fault(node.line, "this must be a mapping of keys to values")

    def fault(self, line: int, message: str) -> None:
        """Record a problem."""
        self._problems.append(Problem(self._file, line, message))

    def line(self, key: str) -> int:
        """The line of a key, or of the mapping."""
        node = self._map.get(key)
        return self._node.line if node is None else node.line

    def take(self, key: str, *, required: bool = True) -> Node | None:
        """The node under a key."""
        self._known.add(key)
        node = self._map.get(key)
        if node is None and required and isinstance(self._node.value, dict):
            self.fault(self._node.line, f"{key} is missing")
        return node

    def text(self, key: str, *, default: str | None = None, choices: Sequence[str] = ()) -> str:
        """A text; without a default it must be there and not blank."""
        node = self.take(key, required=default is None)
        if node is None:
            return default or ""
        if not isinstance(node.value, str) or (default is None and not node.value.strip()):
            self.fault(node.line, f"{key} must be a text")
        elif len(node.value) > TEXT_CHARS_MAX:
            self.fault(node.line, f"{key} is longer than {TEXT_CHARS_MAX} characters")
        elif choices and node.value not in choices:
            self.fault(node.line, f"{key} is {node.value!r}; it must be one of {', '.join(choices)}{_nearest(node.value, choices)}")
        else:
            return node.value.strip()
        return default or ""

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int | None:
        """A whole number; ``default`` None means that it must be there."""
        node = self.take(key, required=default is None)
        if node is None:
            return default
        if isinstance(node.value, bool) or not isinstance(node.value, int) or not low <= node.value <= high:
            self.fault(node.line, f"{key} must be a whole number from {low} to {high}")
            return default
        return node.value

    def flag(self, key: str) -> bool:
        """A yes or no that is no when left out."""
        node = self.take(key, required=False)
        if node is not None and not isinstance(node.value, bool):
            self.fault(node.line, f"{key} must be true or false")
            return False
        return node is not None and node.value is True

    def decimal(self, key: str, *, default: str | None = None) -> Fraction:
        """An exact decimal number; without a default it must be there.  Zero when it is at fault."""
        node = self.take(key, required=default is None)
        if node is None:
            return Fraction(default or 0)
        value = decimal_of(node)
        if value is None:
            self.fault(node.line, f"{key} must be a decimal number of at most {DIGITS_MAX} digits, such as 0.0192")
            return Fraction(default or 0)
        return Fraction(value)

    def items(self, key: str, *, required: bool = True) -> Sequence[Node]:
        """A list."""
        node = self.take(key, required=required)
        if node is None:
            return ()
        if not isinstance(node.value, list):
            self.fault(node.line, f"{key} must be a list")
            return ()
        return node.value

    def entries(self, key: str) -> Mapping[str, Node]:
        """A mapping."""
        node = self.take(key)
        if node is None:
            return {}
        if not isinstance(node.value, dict):
            self.fault(node.line, f"{key} must be a mapping of keys to values")
            return {}
        return node.value

    def child(self, node: Node) -> "Reader":
        """A reader of a mapping inside this one."""
        return Reader(node, self._file, self._problems)

    def end(self) -> None:
        """Every key that nobody asked for is a problem, with the nearest known one as a hint."""
        for key, node in self._map.items():
            if key not in self._known:
                self.fault(node.line, f"unknown key {key!r}{_nearest(key, sorted(self._known))}")


def decimal_of(node: Node) -> Decimal | None:
    """The number a node holds, exactly; None when it is none, or not finite, or too long."""
    if isinstance(node.value, bool) or not isinstance(node.value, int | Decimal | str):
        return None
    # What has no line was published by an earlier release, and stays readable as it was.
    if isinstance(node.value, str) and node.line and PLAIN.fullmatch(node.value) is None:
        return None
    try:
        value = Decimal(node.value)
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value.adjusted()) > DIGITS_MAX or len(value.as_tuple().digits) > DIGITS_MAX:
        return None
    return value


def _nearest(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
