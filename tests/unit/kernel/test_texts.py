"""Texts of others."""

import json

from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.kernel.texts import storable, storable_throughout

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(st.none() | st.booleans() | st.integers() | ANY_TEXT, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner))


@given(ANY_TEXT)
def test_any_text_can_be_encoded_afterwards_and_a_good_one_is_not_touched(text: str) -> None:
    kept = storable(text)
    assert "\x00" not in kept.encode().decode()
    try:
        good = "\x00" not in text.encode().decode()
    except UnicodeEncodeError:
        good = False
    assert (kept == text) == good or "\ufffd" in text


def test_half_an_emoji_and_a_nul_are_replaced_and_a_whole_one_is_put_together() -> None:
    assert storable("a\ud83d b\x00") == "a\ufffd b\ufffd"
    assert storable("\ud83d\ude00") == "\U0001f600"


@given(ANY_JSON)
def test_a_json_value_can_be_written_whatever_is_in_it(value: object) -> None:
    assert "\\u0000" not in json.dumps(storable_throughout(value), ensure_ascii=False).encode().decode().replace("\\\\", "")


def test_a_refusal_that_quotes_such_a_text_can_be_told() -> None:
    assert InvalidRequest("the engine said: \ud83d\x00").message.encode() == "the engine said: \ufffd\ufffd".encode()
