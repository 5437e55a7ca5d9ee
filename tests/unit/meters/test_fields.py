"""Reading numbers and texts."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields
from taximeter.meters.errors import BadProfile, BadReport, PromptTooLong

NOT_NUMBERS: list[object] = [
    True,
    False,
    None,
    "",
    "x",
    "nan",
    "inf",
    "-inf",
    float("nan"),
    float("inf"),
    [],
    {},
    "1e999999999",
    "9" * 100,
    10**4000,
    -1,
    "0x10",
    "1_0",
    "1e0",
    "٣",
    "\uff11",
    " 1",
    "1\n",
    "+1",
    "-1",
]


@pytest.mark.parametrize("value", NOT_NUMBERS)
def test_what_is_no_number_in_range_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest, match="seconds must be a number from 0 to 10"):
        fields.number(value, "seconds", 0, 10)
    with pytest.raises(InvalidRequest):
        fields.whole(value, "seconds", 0, 10)
    with pytest.raises(InvalidRequest):
        fields.strict_whole(value, "seconds", 0, 10)


def test_a_number_is_the_decimal_that_was_written() -> None:
    assert fields.number(4.6, "seconds", 0, 10) == Fraction(46, 10)
    assert fields.number("4.60", "seconds", 0, 10) == Fraction(46, 10)
    assert fields.number(1e-05, "seconds", 0, 10) == Fraction(1, 100_000)
    assert fields.number(Decimal("0.16"), "seconds", 0, 10) == Fraction(4, 25)


def test_too_many_decimals_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="too many decimals"):
        fields.number(1e-33, "seconds", 0, 10)


def test_whole_numbers_may_be_text_but_not_fractions() -> None:
    assert fields.whole("5", "seconds", 1, 8) == 5
    assert fields.whole(5.0, "seconds", 1, 8) == 5
    for value in ("5.5", 5.5, "5x"):
        with pytest.raises(InvalidRequest):
            fields.whole(value, "seconds", 1, 8)


def test_strict_whole_numbers_are_json_integers() -> None:
    assert fields.strict_whole(5, "n", 1, 8) == 5
    for value in ("5", 5.0, 9, 0):
        with pytest.raises(InvalidRequest):
            fields.strict_whole(value, "n", 1, 8)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10, places=6))
def test_every_decimal_in_range_is_read_exactly(value: Decimal) -> None:
    assert fields.number(f"{value:f}", "seconds", 0, 10) == Fraction(value)


def test_texts_are_checked_for_length_blankness_and_unicode() -> None:
    assert fields.text("a", "prompt", 1) == "a"
    with pytest.raises(PromptTooLong, match="prompt has 2 characters; this model takes at most 1"):
        fields.text("ab", "prompt", 1)
    with pytest.raises(InvalidRequest, match="prompt is empty"):
        fields.text(" \n\t", "prompt", 10)
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        fields.text("a\ud800", "prompt", 10)
    with pytest.raises(InvalidRequest, match="prompt is missing"):
        fields.text(None, "prompt", 10)
    with pytest.raises(InvalidRequest, match="prompt must be a text"):
        fields.text(5, "prompt", 10)


@pytest.mark.parametrize("value", [None, -1, True, 1.0, "1", 10**30])
def test_a_report_must_hold_counts(value: object) -> None:
    with pytest.raises(BadReport):
        fields.reported_quantity({"steps": value}, "steps")  # type: ignore[dict-item]  # what a broken engine may send


def test_a_long_list_of_names_is_cut() -> None:
    assert fields.listed(["a", "b"]) == "a, b"
    assert fields.listed([str(n) for n in range(30)]).endswith("23 and 6 more")


class Other(msgspec.Struct):
    steps: int


class Profile(msgspec.Struct, forbid_unknown_fields=True):
    steps: int
    sizes: tuple[str, ...] = ()


@pytest.mark.parametrize(
    ("entry", "key"), [({"steps": "x"}, "steps"), ({}, "steps"), ({"steps": 1, "stepz": 2}, "stepz"), ({"steps": 1, "sizes": [1]}, "sizes")]
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object], key: str) -> None:
    with pytest.raises(BadProfile) as caught:
        fields.read_profile(Profile, entry)
    assert caught.value.key == key


def test_the_same_mapping_is_read_once_and_another_one_anew() -> None:
    entry = {"steps": 1}
    assert fields.read_profile(Profile, entry) is fields.read_profile(Profile, entry)
    assert fields.read_profile(Profile, {"steps": 2}).steps == 2
    assert isinstance(fields.read_profile(Other, entry), Other)


def test_what_was_read_is_never_given_for_a_mapping_that_only_has_the_same_place_in_memory() -> None:
    for steps in range(3 * fields.PROFILES_KEPT_MAX):
        # Each mapping is dropped at once; while what was read from it is kept, nobody else can have its identity.
        assert fields.read_profile(Profile, {"steps": steps}).steps == steps
    assert len(fields._profiles) <= fields.PROFILES_KEPT_MAX


@given(
    st.one_of(st.integers(-(10**40), 10**40), st.booleans(), st.floats(), st.text(max_size=40), st.integers().map(str), st.decimals(allow_nan=False))
)
def test_quick_ways_read_what_the_slow_one_reads(value: object) -> None:
    def tried(read: Callable[[], object]) -> object:
        try:
            return read()
        except InvalidRequest as refusal:
            return refusal.message

    slow = fields._read_number(value)[0]
    exact = Fraction(slow) if slow.is_finite() and -5 <= slow <= 500 and slow.as_tuple().exponent >= -32 else None  # type: ignore[operator]
    read = tried(lambda: fields.number(value, "x", -5, 500))
    assert read == exact if exact is not None else isinstance(read, str)
    again = tried(lambda: fields.whole(value, "x", -5, 500))
    assert again == exact if exact is not None and exact.denominator == 1 else isinstance(again, str)
    assert tried(lambda: fields.number(value, "x", -5, 500)) == read
