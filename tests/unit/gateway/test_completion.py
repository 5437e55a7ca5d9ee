"""Deltas put together."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from taximeter.gateway.completion import Completion


def chunk(delta: dict[str, Any], index: int = 0, **rest: object) -> list[dict[str, Any]]:
    return [{"index": index, "delta": delta, "finish_reason": None, **rest}]


def built(*chunks: list[dict[str, Any]], truncated: bool = False) -> list[dict[str, Any]]:
    completion = Completion()
    for choices in chunks:
        completion.add(choices)
    return completion.choices(truncated=truncated)


def test_text_is_joined_and_the_end_is_kept() -> None:
    (choice,) = built(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, finish_reason="stop"),
    )
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": "Hello", "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }


def test_a_whole_message_is_taken_as_it_is() -> None:
    (choice,) = built([{"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}])
    assert (choice["message"]["content"], choice["finish_reason"]) == ("Hello", "stop")


@given(st.lists(st.text(max_size=5), max_size=20))
def test_nothing_of_the_text_is_lost(pieces: list[str]) -> None:
    (choice,) = built(*[chunk({"content": piece}) for piece in pieces])
    assert choice["message"]["content"] == "".join(pieces)


def test_tool_calls_are_joined_by_their_index() -> None:
    (choice,) = built(
        chunk({"role": "assistant", "content": None, "tool_calls": [call(0, id="a", type="function", function={"name": "f", "arguments": ""})]}),
        chunk({"tool_calls": [call(1, id="b", type="function", function={"name": "g", "arguments": "{"})]}),
        chunk({"tool_calls": [call(0, function={"arguments": '{"x":'})]}),
        chunk({"tool_calls": [call(0, function={"arguments": "1}"}), call(1, function={"arguments": "}"})]}),
        chunk({}, finish_reason="tool_calls"),
    )
    assert choice["message"]["content"] is None
    assert choice["message"]["tool_calls"] == [
        {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
        {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
    ]
    assert choice["finish_reason"] == "tool_calls"


def call(index: int, **rest: object) -> dict[str, Any]:
    return {"index": index, **rest}


def test_several_choices_are_kept_apart_and_in_order() -> None:
    choices = built(chunk({"content": "b"}, index=1), chunk({"content": "a"}), chunk({"content": "B"}, index=1))
    assert [(choice["index"], choice["message"]["content"]) for choice in choices] == [(0, "a"), (1, "bB")]


def test_reasoning_and_logprobs_are_kept() -> None:
    (choice,) = built(
        chunk({"reasoning_content": "hm"}, logprobs={"content": [{"token": "a"}], "refusal": None}),
        chunk({"reasoning_content": "m"}, logprobs={"content": [{"token": "b"}], "refusal": None}),
    )
    assert choice["message"]["reasoning_content"] == "hmm"
    assert choice["logprobs"] == {"content": [{"token": "a"}, {"token": "b"}], "refusal": None}


def test_an_answer_that_was_cut_says_so() -> None:
    assert built(chunk({"content": "Hel"}), truncated=True)[0]["finish_reason"] == "length"
    assert built(chunk({"content": "Hel"}))[0]["finish_reason"] == "stop"


def test_no_answer_at_all_is_an_empty_one() -> None:
    (choice,) = built()
    assert choice["message"] == {"role": "assistant", "content": "", "refusal": None}
