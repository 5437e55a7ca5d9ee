"""One text for each value."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.canonical import canonical_json, plain_numbers

texts = st.text(st.characters(exclude_categories=["Cs"]))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_it_is_what_pythons_own_writer_writes_in_order_and_without_spaces(value: Any) -> None:  # noqa: ANN401 - any JSON
    assert canonical_json(value).decode() == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


@given(st.dictionaries(texts, values, min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_names_makes_no_difference(value: dict[str, Any], chance: Any) -> None:  # noqa: ANN401 - Hypothesis's
    names = list(value)
    chance.shuffle(names)
    assert canonical_json({name: value[name] for name in names}) == canonical_json(value)


@given(st.integers(-(2**53), 2**53))
def test_whole_numbers_are_one_number_in_any_form(number: int) -> None:
    forms = [number, float(number), json.loads(f"{number}.0"), json.loads(f"{number}e0")]
    assert {canonical_json(plain_numbers({"a": [form]})) for form in forms} == {canonical_json({"a": [number]})}


def test_what_is_no_whole_float_stays_as_it_is() -> None:
    value = {"a": [1, "1.0", True, None, 0.5, 2.0**60], "b": {"c": "d"}}
    assert plain_numbers(value) is value
    assert plain_numbers({"a": -0.0}) == {"a": 0}
