"""Chat requests, checked and cut down."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import fields
from taximeter.meters.chat_request import OPTIONAL_FIELDS, Limits, content_text, normalise
from taximeter.meters.errors import PromptTooLong, UnsupportedParameter

LIMITS = Limits(messages=3, prompt_chars=100, choices=1, accepts=frozenset({"response_format"}))
HELLO = [{"role": "user", "content": "Hello"}]


def normal(**more: object) -> dict[str, Any]:
    return normalise({"messages": HELLO, **more}, LIMITS, flatten=False)


def test_sampling_fields_go_through_and_unknown_ones_do_not() -> None:
    request = normal(temperature=0.5, top_p=1, stop=["a"], seed=-1, model="m", stream=True, stream_options={}, metadata={}, temperatur=9)
    assert request == {"messages": HELLO, "temperature": 0.5, "top_p": 1, "stop": ["a"], "seed": -1}


def test_null_is_the_same_as_left_out() -> None:
    assert normal(temperature=None, max_tokens=None, n=None, stop=None, tools=None) == {"messages": HELLO}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", 2.1),
        ("temperature", -0.1),
        ("temperature", "1"),
        ("temperature", True),
        ("temperature", float("nan")),
        ("top_p", 1.01),
        ("presence_penalty", -3),
        ("frequency_penalty", 3),
        ("stop", ["a"] * 5),
        ("stop", [""]),
        ("stop", 5),
        ("seed", 2**63),
        ("seed", 1.5),
        ("n", 0),
        ("n", True),
        ("max_tokens", 0),
        ("max_completion_tokens", "9"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normal(**{field: value})
    assert caught.value.param == field


@given(
    st.floats()
    | st.integers(-5, 5)
    | st.booleans()
    | st.floats(-3, 3)
    | st.sampled_from([0.0, -0.0, 2.0, 2.0000000000000004, 1e-9, 1.1e-9, 5e-324, 1e-33, 1e300, 10**400, -(10**30)])
)
def test_a_number_is_taken_or_refused_as_its_decimal_would_be(value: float) -> None:
    try:
        fields.number(value, "temperature", 0, 2)
    except InvalidRequest as refusal:
        with pytest.raises(InvalidRequest, match=re.escape(refusal.message)):
            normal(temperature=value)
    else:
        assert normal(temperature=value)["temperature"] is value


@pytest.mark.parametrize(
    "messages",
    [
        None,
        [],
        "Hello",
        {},
        [5],
        [{"role": "wizard", "content": "a"}],
        [{"content": "a"}],
        [{"role": "user"}],
        [{"role": "user", "content": 5}],
        [{"role": "user", "content": ""}],
        [{"role": "user", "content": " \n"}],
        [{"role": "user", "content": [{"type": "text"}]}],
        [{"role": "user", "content": [{"type": "magic"}]}],
        [{"role": "user", "content": [{"type": [], "text": "a"}]}],
        [{"role": "user", "content": [{"type": {}, "text": "a"}]}],
        [{"role": "user", "content": ["a"]}],
        [{"role": "user", "content": "\udc00"}],
    ],
)
def test_malformed_messages_are_refused(messages: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalise({"messages": messages}, LIMITS, flatten=True)
    assert (caught.value.param or "").startswith("messages")


def test_too_many_messages_are_refused() -> None:
    with pytest.raises(PromptTooLong, match="messages has 4 entries"):
        normalise({"messages": HELLO * 4}, LIMITS, flatten=True)


def test_pictures_and_sounds_are_refused() -> None:
    with pytest.raises(UnsupportedParameter, match="image_url; this model reads text only"):
        normalise({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, LIMITS, flatten=True)


@pytest.mark.parametrize(
    ("field", "value"), [("tools", [{"type": "function"}]), ("functions", [{}]), ("tool_choice", "required"), ("logprobs", True), ("top_logprobs", 3)]
)
def test_abilities_the_model_lacks_are_refused(field: str, value: object) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        normal(**{field: value})
    assert caught.value.param == field
    assert caught.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("field", "value"), [("tools", []), ("tool_choice", "auto"), ("logprobs", False), ("logit_bias", {}), ("parallel_tool_calls", True)]
)
def test_abilities_that_ask_for_nothing_are_left_out(field: str, value: object) -> None:
    assert normal(**{field: value}) == {"messages": HELLO}


def test_abilities_the_model_has_go_through() -> None:
    assert normal(response_format={"type": "json_object"})["response_format"] == {"type": "json_object"}


ALL = Limits(messages=3, prompt_chars=100, choices=1, accepts=OPTIONAL_FIELDS)
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}


@pytest.mark.parametrize(
    "more",
    [
        {"response_format": {"type": "text"}},
        {"response_format": SCHEMA},
        {"logit_bias": {"5": -100, "6": 0.5}},
        {"logprobs": True, "top_logprobs": 20},
        {"logprobs": False},
        {"top_k": 0},
    ],
)
def test_well_formed_abilities_go_through(more: dict[str, Any]) -> None:
    assert normalise({"messages": HELLO, **more}, ALL, flatten=False) == {"messages": HELLO, **more}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("response_format", "json_object"),
        ("response_format", {}),
        ("response_format", {"type": "yaml"}),
        ("response_format", {"type": ["text"]}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a"}}),
        ("response_format", {"type": "json_schema", "json_schema": {"schema": "{}"}}),
        ("logit_bias", [[5, 1]]),
        ("logit_bias", {"5": 101}),
        ("logit_bias", {"5": "1"}),
        ("logit_bias", {"5": True}),
        ("logit_bias", {"5": None}),
        ("logprobs", 1),
        ("logprobs", "true"),
        ("top_logprobs", 3),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_k", "4"),
    ],
)
def test_a_malformed_ability_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        normalise({"messages": HELLO, field: value}, ALL, flatten=False)
    assert (caught.value.code, caught.value.param) == ("invalid_value", field)


@pytest.mark.parametrize("count", [-1, 21, True, "3"])
def test_top_logprobs_are_0_to_20(count: object) -> None:
    with pytest.raises(InvalidRequest, match="top_logprobs must be an integer from 0 to 20"):
        normalise({"messages": HELLO, "logprobs": True, "top_logprobs": count}, ALL, flatten=False)


def test_an_assistant_may_have_said_nothing_but_called_tools() -> None:
    messages = [*HELLO, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]
    request = normalise({"messages": messages}, LIMITS, flatten=True)
    assert request["messages"][1] == {"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]}
    assert content_text(request["messages"][1]) == ""
