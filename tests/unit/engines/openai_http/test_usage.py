"""What an upstream tells of its tokens: all of it goes on, and what cannot be true goes nowhere."""

from typing import Any

import pytest

from taximeter.engines.openai_http.usage import Usage, read_usage, with_timings

PLAIN = {"prompt_tokens": 20, "completion_tokens": 9}


def test_every_count_goes_on_under_its_own_path() -> None:
    raw = {
        **PLAIN,
        "total_tokens": 29,
        "cost": 0.002,
        "queue": {"ms": 1.5, "place": 3, "inner": {"deep": {"deeper": {"deepest": 1}}}},
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 5, "text": None},
        "completion_tokens_details": {"rejected_prediction_tokens": 2, "audio_tokens": 1},
    }
    usage = read_usage(raw)
    assert usage is not None
    assert usage.work() == {
        "prompt_tokens": 20,
        "cached_tokens": 4,
        "output_tokens": 9,
        "reasoning_tokens": 0,
        "provider.prompt_tokens": 20,
        "provider.completion_tokens": 9,
        "provider.total_tokens": 29,
        "provider.queue.place": 3,
        "provider.prompt_tokens_details.cached_tokens": 4,
        "provider.prompt_tokens_details.audio_tokens": 5,
        "provider.completion_tokens_details.rejected_prediction_tokens": 2,
        "provider.completion_tokens_details.audio_tokens": 1,
    }


def test_a_total_that_contradicts_the_parts_is_told_and_the_parts_are_taken() -> None:
    usage = read_usage({**PLAIN, "total_tokens": 100})
    assert usage == Usage(20, 0, 9, 0, told_total=100)
    assert set(usage.work()) == {"prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"}


@pytest.mark.parametrize(
    "details",
    [
        {"prompt_tokens_details": {"audio_tokens": -1}},
        {"prompt_tokens_details": {"audio_tokens": 2.5}},
        {"prompt_tokens_details": {"audio_tokens": 15, "image_tokens": 6}},
        {"prompt_tokens_details": {"cached_tokens": 15, "cache_write_tokens": 6}},
        {"completion_tokens_details": {"reasoning_tokens": 5, "audio_tokens": 5}},
        {"completion_tokens_details": {"accepted_prediction_tokens": 5, "rejected_prediction_tokens": 5}},
    ],
)
def test_details_that_cannot_be_true_are_not_believed(details: dict[str, Any]) -> None:
    assert read_usage({**PLAIN, **details}) is None


def test_a_report_without_end_is_cut() -> None:
    usage = read_usage({**PLAIN, **{f"n{index}": index for index in range(500)}, "x" * 65: 1, "a.b": 1})
    assert usage is not None
    assert len(usage.told) == 64
    assert not {"x" * 65, "a.b"} & usage.told.keys()


def test_llama_cpps_timings_stand_in_for_usage_that_is_missing() -> None:
    usage = with_timings(None, {"cache_n": 3, "prompt_n": 7, "predicted_n": 5, "prompt_ms": 4.25})
    assert usage is not None
    assert (usage.prompt, usage.cached, usage.output) == (10, 3, 5)
    assert usage.told == {"timings.cache_n": 3, "timings.prompt_n": 7, "timings.predicted_n": 5}


def test_timings_beside_usage_tell_what_was_cached_and_are_left_out_when_they_disagree() -> None:
    usage = read_usage({"prompt_tokens": 10, "completion_tokens": 5})
    agreed = with_timings(usage, {"cache_n": 3, "prompt_n": 7, "predicted_n": 5})
    assert agreed is not None
    assert agreed.work()["cached_tokens"] == 3
    assert agreed.told["usage.prompt_tokens"] == 10
    assert with_timings(usage, {"cache_n": 3, "prompt_n": 8, "predicted_n": 5}) is usage
    assert with_timings(usage, {"cache_n": 3, "prompt_n": -7, "predicted_n": 5}) is usage
    assert with_timings(usage, "fast") is usage
    assert with_timings(None, {"prompt_n": 0, "predicted_n": 5}) is None
