"""Trees that remember their lines."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.pricing.errors import Problem
from taximeter.pricing.nodes import Node, Reader, canonical, decimal_of, from_plain

TREE = Node({"a": Node([Node(1, 3), Node("x", 4)], 2), "b": Node({"c": Node(Decimal("0.70"), 6)}, 5)}, 1)


def test_a_tree_knows_the_line_of_every_part() -> None:
    assert dict(TREE.lines()) == {"": 1, "a": 2, "a[0]": 3, "a[1]": 4, "b": 5, "b.c": 6}


def test_canonical_text_has_sorted_keys_and_no_floats() -> None:
    assert canonical(TREE) == '{"a":[1,"x"],"b":{"c":"0.7"}}'
    assert canonical(from_plain({"b": {"c": 0.7}, "a": [1, "x"]})) == canonical(TREE)


@pytest.mark.parametrize("value", [True, None, "", "x", "nan", "inf", Decimal("Infinity"), "1e31", "1." + "1" * 40])
def test_what_is_no_decimal(value: bool | str | Decimal | None) -> None:  # noqa: FBT001 - one of the values a file may hold
    assert decimal_of(Node(value)) is None


def test_a_decimal_may_be_written_as_number_or_text() -> None:
    assert [decimal_of(Node(value)) for value in (5, "5.0", Decimal(5), "-0.5")] == [5, 5, 5, Decimal("-0.5")]


@pytest.mark.parametrize("text", ["1_000", "0.1_0", "\uff11\uff10", " 5", "5 ", "5\n", "+-5", "0x10", "1e1_0", "."])
def test_a_text_that_readers_may_take_for_another_number_is_none(text: str) -> None:
    assert decimal_of(Node(text, 3)) is None


def test_plain_decimals_are_read_in_every_notation() -> None:
    assert [decimal_of(Node(text, 3)) for text in ("12", "+0.5", "-.5", "5.", "2.5e-4", "1E3")] == list(
        map(Decimal, ("12", "0.5", "-0.5", "5", "0.00025", "1000"))
    )


def test_what_was_published_before_this_rule_stays_readable() -> None:
    assert decimal_of(from_plain("1_000")) == 1000


def test_reading_goes_on_after_a_fault() -> None:
    problems: list[Problem] = []
    reader = Reader(Node({"name": Node(5, 2), "flga": Node(value=True, line=3)}, 1), "x.yaml", problems)
    assert (reader.text("name"), reader.flag("flag"), reader.whole("count", 1, 9)) == ("", False, None)
    reader.end()
    assert [str(problem) for problem in problems] == [
        "x.yaml:2: name must be a text",
        "x.yaml:1: count is missing",
        "x.yaml:3: unknown key 'flga'; did you mean 'flag'?",
    ]


values = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(values)
def test_json_values_survive_the_way_through_a_tree(value: object) -> None:
    assert json.loads(canonical(from_plain(value))) == value
