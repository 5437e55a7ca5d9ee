"""What an upstream says of its work is either charged as it says, or charged by the part that can be true; never for nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter import meters
from taximeter.engines.model import Job
from taximeter.engines.openai_http.tally import Tally
from taximeter.engines.openai_http.usage import read_usage, with_timings

PROFILE = {"tokenizer": "bytes", "context_tokens": 10_000, "default_output_tokens": 400, "cache_writes": True}
REQUEST = {"messages": [{"role": "user", "content": "x" * 2000}], "max_tokens": 400}
METER = meters.get("text.tokens/2")
ESTIMATE = METER.estimate(REQUEST, PROFILE)


def charged(usage: dict[str, Any]) -> tuple[dict[str, int], bool]:
    """The quantities that an upstream's report is charged by, and whether they count as measured."""
    job = Job(id="a", model="m", modality="chat", request=ESTIMATE.request, bound=dict(ESTIMATE.bound), deadline_s=60)
    tally = Tally(job, None)
    tally.hear(usage)
    done = tally.done("answer", 1)
    work = METER.actual(done.work, ESTIMATE, PROFILE)
    return {name: count for name, count in work.items() if count and name not in ("prompt_tokens", "total_tokens")}, done.measured


@pytest.mark.parametrize("total", [306, 806, None])
def test_a_cache_that_was_left_out_of_the_prompt_is_counted_beside_it(total: int | None) -> None:
    usage = {"prompt_tokens": 6, "completion_tokens": 300, "total_tokens": total, "cache_creation_input_tokens": 500}
    assert charged(usage) == ({"fresh_prompt_tokens": 506, "output_tokens": 300}, True)


def test_a_cache_that_was_read_beside_the_prompt_is_counted_as_read() -> None:
    usage = {"prompt_tokens": 6, "completion_tokens": 30, "cache_read_input_tokens": 500, "prompt_tokens_details": {"cached_tokens": 500}}
    assert charged(usage) == ({"fresh_prompt_tokens": 6, "cached_prompt_tokens": 500, "output_tokens": 30}, True)


def test_where_the_cache_cannot_be_true_the_rest_is_charged_as_estimated() -> None:
    usage: dict[str, Any] = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150, "cache_creation_input_tokens": 95}
    usage["prompt_tokens_details"] = {"cached_tokens": 10}
    assert charged(usage) == ({"fresh_prompt_tokens": 90, "cached_prompt_tokens": 10, "output_tokens": 50}, False)


@pytest.mark.parametrize(
    "more",
    [
        {"prompt_tokens_details": 5},
        {"completion_tokens_details": 5},
        {"input_tokens_details": {"cached_tokens": 200}},
        {"output_tokens_details": {"reasoning_tokens": 51}},
        {"timings": 3},
        {"usage": {"prompt_tokens": 3}},
        {"prompt_tokens_details": {"cached_tokens": 10, "cached_tokens_details": {"audio_tokens": 5}}},
        {"prompt_tokens_details": {"cache_write_tokens": 5, "cache_creation_token_details": {"ephemeral_5m_input_tokens": 6}}},
    ],
)
def test_an_answer_with_a_strange_report_is_never_free(more: dict[str, Any]) -> None:
    found, measured = charged({"prompt_tokens": 100, "completion_tokens": 50, **more})
    assert found.pop("cached_prompt_tokens", 0) + found.pop("fresh_prompt_tokens") == 100
    assert (found, measured) == ({"output_tokens": 50}, False)


def test_a_report_whose_own_counts_drown_among_others_is_still_charged() -> None:
    usage = {f"n{index}": index for index in range(100)} | {"prompt_tokens": 100, "completion_tokens": 50}
    assert charged(usage) == ({"fresh_prompt_tokens": 100, "output_tokens": 50}, False)


COUNTS = st.one_of(st.integers(0, 12), st.integers(0, 12), st.none(), st.just(-1), st.just("x"))
LIFETIMES = st.fixed_dictionaries({}, optional={"ephemeral_5m_input_tokens": COUNTS, "ephemeral_1h_input_tokens": COUNTS})
OF_CACHED = st.fixed_dictionaries({}, optional={"audio_tokens": COUNTS, "image_tokens": COUNTS})
INTO_NAMES = ("cached_tokens", "cache_write_tokens", "cache_creation_tokens", "audio_tokens", "image_tokens")
OUT_NAMES = ("reasoning_tokens", "audio_tokens", "accepted_prediction_tokens", "rejected_prediction_tokens")
INTO = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(INTO_NAMES, COUNTS),
        "cached_tokens_details": OF_CACHED | COUNTS,
        "cache_creation_token_details": LIFETIMES | COUNTS,
        "cache_creation": LIFETIMES | COUNTS,
    },
)
OUT = st.fixed_dictionaries({}, optional=dict.fromkeys(OUT_NAMES, COUNTS))
USAGE = st.fixed_dictionaries(
    {"prompt_tokens": st.integers(1, 20), "completion_tokens": st.integers(0, 20)},
    optional={
        "total_tokens": COUNTS,
        "prompt_tokens_details": INTO | COUNTS,
        "input_tokens_details": INTO | COUNTS,
        "completion_tokens_details": OUT | COUNTS,
        "output_tokens_details": OUT | COUNTS,
        "cache_creation_input_tokens": COUNTS | st.integers(0, 60),
        "cache_read_input_tokens": COUNTS | st.integers(0, 60),
        "input_tokens": COUNTS,
        "promptTokenCount": COUNTS,
    },
)
TIMINGS = st.fixed_dictionaries(
    {"prompt_n": st.integers(0, 20), "predicted_n": st.integers(0, 20)},
    optional={"cache_n": st.integers(0, 9), "draft_n": COUNTS, "draft_n_accepted": COUNTS},
)


@given(usage=USAGE, timings=TIMINGS | st.none())
def test_every_report_that_is_believed_is_one_that_the_meter_takes(usage: dict[str, Any], timings: dict[str, Any] | None) -> None:
    read = with_timings(read_usage(usage), timings)
    if read is None:
        return
    work = METER.actual(read.work(), ESTIMATE, PROFILE)
    assert work["prompt_tokens"] == read.prompt > 0
    assert work["total_tokens"] == read.prompt + read.output


@given(timings=TIMINGS)
def test_timings_alone_are_charged_too(timings: dict[str, Any]) -> None:
    read = with_timings(None, timings)
    if read is not None:
        assert METER.actual(read.work(), ESTIMATE, PROFILE)["total_tokens"] == read.prompt + read.output
