"""Chat in disjoint buckets, with caches, pictures and sounds."""

import base64
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, BadReport, get
from taximeter.meters.errors import UnsupportedFormat, UnsupportedParameter

METER = get("text.tokens/2")
OLD = get("text.tokens/1")
PLAIN: dict[str, Any] = {"tokenizer": "bytes", "context_tokens": 100_000, "default_output_tokens": 100, "choices": 4, "accepts": ("tools",)}
WIDE = {**PLAIN, "image_tokens": 1500, "image_expected_tokens": 700, "audio_tokens_per_s": 32, "cache_writes": True}
PICTURE = {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}}
DISJOINT = (
    "fresh_prompt_tokens",
    "cached_prompt_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "audio_input_tokens",
    "image_input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "audio_output_tokens",
)


def chat(content: object, **more: object) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


def wav(samples: int, rate: int = 8000, *, tag: int = 1, block: int = 2) -> str:
    head = b"RIFF" + struct.pack("<I", 36 + 2 * samples) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, tag, 1, rate, rate * 2, block, 16)
    return base64.b64encode(head + b"data" + struct.pack("<I", 2 * samples) + bytes(2 * samples)).decode()


def sound(data: object, form: object = "wav") -> dict[str, Any]:
    return {"type": "input_audio", "input_audio": {"data": data, "format": form}}


@pytest.mark.parametrize("request_", [chat("Hello"), chat("你好 " * 50, n=3, max_tokens=7), chat([{"type": "text", "text": "a"}])])
def test_of_plain_chat_it_says_what_the_first_version_says(request_: dict[str, Any]) -> None:
    new, old = METER.estimate(request_, PLAIN), OLD.estimate(request_, PLAIN)
    assert (new.bound, new.request) == (old.bound, old.request)
    for work, before in ((new.expected, old.expected), (new.maximum, old.maximum)):
        assert {name: work[name] for name in before} == before
        assert not any(work[name] for name in work.keys() - before.keys())
    reported = {"prompt_tokens": 2006, "cached_tokens": 1920, "output_tokens": 300, "reasoning_tokens": 192}
    assert METER.actual(reported, new, PLAIN) == {**dict.fromkeys(METER.quantities, 0), **OLD.actual(reported, old, PLAIN)}


def test_the_providers_own_words_are_read() -> None:
    estimate = METER.estimate(chat([PICTURE, sound(wav(8000))]), WIDE)
    reported = {
        "prompt_tokens": 100,
        "cached_tokens": 40,
        "output_tokens": 20,
        "reasoning_tokens": 5,
        "provider.prompt_tokens": 100,
        "provider.completion_tokens": 20,
        "provider.total_tokens": 120,
        "provider.prompt_tokens_details.cached_tokens": 40,
        "provider.prompt_tokens_details.image_tokens": 30,
        "provider.prompt_tokens_details.audio_tokens": 20,
        "provider.completion_tokens_details.reasoning_tokens": 5,
    }
    work = METER.actual(reported, estimate, WIDE)
    assert {name: work[name] for name in DISJOINT if work[name]} == {
        "fresh_prompt_tokens": 10,
        "cached_prompt_tokens": 40,
        "image_input_tokens": 30,
        "audio_input_tokens": 20,
        "output_tokens": 15,
        "reasoning_tokens": 5,
    }
    assert (work["prompt_tokens"], work["total_tokens"]) == (100, 120)
    with pytest.raises(BadReport, match="reports 121 total tokens, but its parts add up to 120"):
        METER.actual({**reported, "provider.total_tokens": 121}, estimate, WIDE)
    with pytest.raises(BadReport, match="beside a count of the same name"):
        METER.actual({**reported, "provider.total_tokens.deep": 1}, estimate, WIDE)


def test_what_the_request_cannot_lead_to_is_counted_as_what_was_held_for() -> None:
    reported = {
        "provider.prompt_tokens": 100,
        "provider.completion_tokens": 20,
        "provider.prompt_tokens_details.image_tokens": 30,
        "provider.prompt_tokens_details.audio_tokens": 20,
        "provider.cache_creation_input_tokens": 15,
        "provider.completion_tokens_details.audio_tokens": 12,
    }
    work = METER.actual(reported, METER.estimate(chat("Hello"), WIDE), WIDE)
    assert {name: work[name] for name in DISJOINT if work[name]} == {"fresh_prompt_tokens": 100, "output_tokens": 20}
    assert (work["prompt_tokens"], work["total_tokens"]) == (100, 120)


def test_a_prompt_that_asks_to_be_kept_is_held_as_written() -> None:
    def asked(**mark: str) -> Any:  # noqa: ANN401
        return METER.estimate(chat([{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral", **mark}}]), WIDE)

    short, long, plain = asked(), asked(ttl="1h"), METER.estimate(chat("Hello"), WIDE)
    most = plain.maximum["fresh_prompt_tokens"]
    assert (short.maximum["cache_write_5m_tokens"], short.maximum["fresh_prompt_tokens"]) == (most, 0)
    assert (long.maximum["cache_write_1h_tokens"], long.expected["cache_write_1h_tokens"]) == (most, plain.expected["fresh_prompt_tokens"])
    told = {
        "prompt_tokens": 50,
        "completion_tokens": 1,
        "cache_creation.ephemeral_5m_input_tokens": 10,
        "cache_creation.ephemeral_1h_input_tokens": 20,
    }
    nested = {f"provider.{'prompt_tokens_details.' if name.startswith('cache') else ''}{name}": count for name, count in told.items()}
    kept = [METER.actual(nested, estimate, WIDE) for estimate in (plain, short, long)]
    names = ("fresh_prompt_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")
    assert [[work[name] for name in names] for work in kept] == [[50, 0, 0], [20, 30, 0], [20, 10, 20]]
    tools = [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}]
    assert METER.estimate(chat("Hello", tools=tools), WIDE).maximum["cache_write_5m_tokens"] > 0
    assert METER.estimate(chat("Hello", tools=tools), PLAIN).maximum["cache_write_5m_tokens"] == 0


def test_pictures_and_sounds_are_bound_before_they_are_sent() -> None:
    estimate = METER.estimate(chat([{"type": "text", "text": "What is it?"}, PICTURE, PICTURE, sound(wav(16_000))]), WIDE)
    text = METER.estimate(chat("What is it?"), WIDE)
    assert (estimate.expected["image_input_tokens"], estimate.maximum["image_input_tokens"]) == (1400, 3000)
    # Two seconds, and what the file's head takes.
    assert estimate.expected["audio_input_tokens"] == estimate.maximum["audio_input_tokens"] == 65
    assert estimate.maximum["prompt_tokens"] == text.maximum["prompt_tokens"] + 3065
    assert estimate.request["messages"][0]["content"][1] == PICTURE
    # An mp3 of 8,000 bytes is one second as a rule, and eight at most.
    mp3 = METER.estimate(chat([sound(base64.b64encode(bytes(8000)).decode(), "mp3")]), WIDE)
    assert (mp3.expected["audio_input_tokens"], mp3.maximum["audio_input_tokens"]) == (32, 256)


def test_a_model_that_sees_and_hears_nothing_refuses_them() -> None:
    for part in (PICTURE, sound(wav(10))):
        with pytest.raises(UnsupportedParameter, match="this model reads text only"):
            METER.estimate(chat([part]), PLAIN)
    with pytest.raises(UnsupportedParameter, match="this model reads image_url, text"):
        METER.estimate(chat([sound(wav(10))]), {**PLAIN, "image_tokens": 10})


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url"},
        {"type": "image_url", "image_url": "https://example.org/cat.png"},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "input_audio", "input_audio": []},
        sound(None),
        sound("no base64!"),
        sound(wav(10), "flac"),
        sound(wav(10), ["wav"]),
        sound(wav(10, rate=0)),
        sound(wav(10, tag=2)),
        sound(wav(10, block=7)),
        sound(base64.b64encode(b"RIFF1234WAVE").decode()),
        sound(base64.b64encode(b"OggS" + bytes(100)).decode()),
    ],
)
def test_a_picture_or_sound_that_cannot_be_bound_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises((InvalidRequest, UnsupportedFormat)):
        METER.estimate(chat([part]), WIDE)


def test_an_answer_that_is_sound_is_held_as_sound() -> None:
    spoken = {**PLAIN, "audio_output": True}
    estimate = METER.estimate(chat("Hello", max_tokens=50), spoken)
    assert (estimate.maximum["audio_output_tokens"], estimate.maximum["output_tokens"]) == (50, 0)
    work = METER.actual(
        {"provider.prompt_tokens": 9, "provider.completion_tokens": 50, "provider.completion_tokens_details.audio_tokens": 40}, estimate, spoken
    )
    assert (work["audio_output_tokens"], work["output_tokens"]) == (40, 10)


@pytest.mark.parametrize(
    ("entry", "key"),
    [
        ({"image_tokens": -1}, "image_tokens"),
        ({"image_tokens": 10, "image_expected_tokens": 11}, "image_expected_tokens"),
        ({"audio_tokens_per_s": -1}, "audio_tokens_per_s"),
        ({"template": "smollm2", "tokenizer": "smollm2", "image_tokens": 5}, "image_tokens"),
        ({"cache_writes": 1}, "cache_writes"),
        ({"tokenizer": "gpt9"}, "tokenizer"),
    ],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object], key: str) -> None:
    METER.check(WIDE)
    with pytest.raises(BadProfile) as caught:
        METER.check({**PLAIN, **entry})
    assert caught.value.key == key


COUNTS = st.integers(0, 5000)


@settings(max_examples=150)
@given(st.lists(COUNTS, min_size=9, max_size=9), st.integers(0, 1), st.integers(0, 1), st.sampled_from([None, "5m", "1h"]), st.booleans())
def test_no_card_that_keeps_the_order_of_prices_exceeds_what_was_held(
    counts: list[int], pictures: int, sounds: int, ttl: str | None, spoken: object
) -> None:
    """Whatever mixture comes, priced by any card that ``held_as`` allows, costs no more than as many tokens of what was held."""
    content: list[dict[str, Any]] = [{"type": "text", "text": "Hello"}]
    content += [PICTURE] * pictures + [sound(wav(800))] * sounds
    if ttl is not None:
        content[0]["cache_control"] = {"type": "ephemeral", "ttl": ttl}
    profile = {**WIDE, "audio_output": spoken}
    estimate = METER.estimate(chat(content), profile)
    fresh, cached, short, long, audio, image, visible, reasoning, voice = counts
    reported = {
        "provider.prompt_tokens": fresh + cached + short + long + audio + image,
        "provider.prompt_tokens_details.cached_tokens": cached,
        "provider.prompt_tokens_details.cached_tokens_details.audio_tokens": 0,
        "provider.prompt_tokens_details.cached_tokens_details.image_tokens": 0,
        "provider.prompt_tokens_details.audio_tokens": audio,
        "provider.prompt_tokens_details.image_tokens": image,
        "provider.prompt_tokens_details.cache_creation.ephemeral_5m_input_tokens": short,
        "provider.prompt_tokens_details.cache_creation.ephemeral_1h_input_tokens": long,
        "provider.completion_tokens": visible + reasoning + voice,
        "provider.completion_tokens_details.reasoning_tokens": reasoning,
        "provider.completion_tokens_details.audio_tokens": voice,
    }
    work = METER.actual(reported, estimate, profile)
    assert work == METER.actual(reported, estimate, profile)
    assert sum(work[name] for name in DISJOINT) == work["total_tokens"] == sum(counts)
    held = {name for name in DISJOINT if estimate.maximum[name]}
    above = {name: {name} for name in METER.quantities}
    for _ in METER.held_as:
        for dear, cheap in METER.held_as:
            above[cheap] |= above[dear]
    for name in DISJOINT:
        assert not work[name] or above[name] & held, name


@settings(max_examples=50)
@given(st.text(max_size=40), st.text(max_size=40), st.integers(0, 3), st.integers(0, 3))
def test_more_of_anything_never_has_a_smaller_maximum(first: str, second: str, fewer: int, more: int) -> None:
    small = METER.estimate(chat([{"type": "text", "text": f"x{first}"}, *[PICTURE] * fewer]), WIDE)
    large = METER.estimate(chat([{"type": "text", "text": f"x{first}{second}"}, *[PICTURE] * (fewer + more)]), WIDE)
    assert all(small.maximum[name] <= large.maximum[name] for name in small.maximum)
    assert all(large.expected[name] <= large.maximum[name] for name in large.expected)


@settings(max_examples=150)
@given(COUNTS, COUNTS, COUNTS, COUNTS, st.sampled_from([{}, {"provider.prompt_tokens_details.audio_tokens": 0}, {"provider.prompt_ms": 7}]))
def test_what_the_engine_has_read_already_is_read_alike(fresh: int, cached: int, visible: int, reasoning: int, more: dict[str, int]) -> None:
    prompt, output = fresh + cached, visible + reasoning
    told = {
        "provider.prompt_tokens": prompt,
        "provider.completion_tokens": output,
        "provider.total_tokens": prompt + output,
        "provider.prompt_tokens_details.cached_tokens": cached,
        "provider.completion_tokens_details.reasoning_tokens": reasoning,
        **more,
    }
    own = {"prompt_tokens": prompt, "cached_tokens": cached, "output_tokens": output, "reasoning_tokens": reasoning}
    estimate = METER.estimate(chat("Hello"), PLAIN)
    assert METER.actual({**own, **told}, estimate, PLAIN) == METER.actual(told, estimate, PLAIN) == METER.actual(own, estimate, PLAIN)
    for name, count in own.items():
        # The provider's own words decide where the two differ.
        assert METER.actual({**own, name: count + 1, **told}, estimate, PLAIN) == METER.actual(told, estimate, PLAIN)
