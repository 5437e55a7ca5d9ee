"""What the laws of meters are tried on: for each built-in meter a profile, requests, what makes a request larger, and reports.

A new meter is one entry in ``LAWS``; ``tests/unit/meters/test_laws.py`` fails until it has one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from taximeter.metering.fares import read_catalog
from taximeter.meters import Estimate, Work

Request = dict[str, Any]
Pair = tuple[Request, Request]
"""Two changes to a request, the second of which must not take less work."""


@dataclass(frozen=True)
class Law:
    """One meter's entry.

    Attributes:
        profile: a model's entry in the catalog.
        requests: requests that the meter takes.
        drivers: by name, what a request grows by.
        reports: what an engine may say that did at most the maximum.
        numbers: fields that must bear any number.
        settled: requests that reports are tried on; the same when left out.
        parts: two requests, and one for both together.
        additive: quantities of which the whole has just what the parts have; none when left out.
    """

    profile: Mapping[str, Any]
    requests: st.SearchStrategy[Request]
    drivers: Mapping[str, st.SearchStrategy[Pair]]
    reports: Callable[[Estimate], st.SearchStrategy[dict[str, int]]]
    numbers: tuple[str, ...] = ()
    settled: st.SearchStrategy[Request] | None = None
    parts: st.SearchStrategy[tuple[Request, Request, Request]] | None = None
    additive: tuple[str, ...] = ()


def wholes(name: str, low: int, high: int) -> st.SearchStrategy[Pair]:
    """A whole number that grows."""
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda two: ({name: min(two)}, {name: max(two)}))


def decimals(name: str, low: str, high: str, *, falls: bool = False) -> st.SearchStrategy[Pair]:
    """A decimal that grows, or one that makes less work when it grows."""

    def pair(two: tuple[Any, Any]) -> Pair:
        ordered = sorted(two, reverse=falls)
        return {name: str(ordered[0])}, {name: str(ordered[1])}

    each = st.decimals(low, high, places=2)
    return st.tuples(each, each).map(pair)


def texts(most: int = 60) -> st.SearchStrategy[str]:
    """Texts with something in them."""
    return st.text(alphabet="abcdeXYZ 0123,.!? 你好世界é😀", min_size=1, max_size=most).map(lambda text: f"a{text}")


def longer(make: Callable[[str], Request]) -> st.SearchStrategy[Pair]:
    """A text that grows by words."""
    return st.tuples(texts(), texts()).map(lambda two: (make(two[0]), make(f"{two[0]} {two[1]}")))


def among(name: str, *values: object) -> st.SearchStrategy[Pair]:
    """Values from least to most work."""
    places = st.tuples(st.integers(0, len(values) - 1), st.integers(0, len(values) - 1))
    return places.map(lambda two: ({name: values[min(two)]}, {name: values[max(two)]}))


def some(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Request]:
    """Any of these fields."""
    return st.fixed_dictionaries({}, optional=fields)


def below(work: Work, *names: str) -> st.SearchStrategy[dict[str, int]]:
    """Each quantity, at most that of the work, and often just that: maxima break at their edge."""
    return st.fixed_dictionaries({name: st.just(work[name]) | st.integers(0, work[name]) for name in names})


def two_of(name: str, most: int, **others: object) -> st.SearchStrategy[tuple[Request, Request, Request]]:
    """A count in two parts."""
    each = st.integers(1, most // 2)
    return st.tuples(each, each).map(lambda two: ({**others, name: two[0]}, {**others, name: two[1]}, {**others, name: sum(two)}))


# Chat


def chat(text: str) -> Request:
    """A conversation of one turn."""
    return {"messages": [{"role": "user", "content": text}]}


def turns(most: int) -> st.SearchStrategy[Pair]:
    """A conversation that goes on."""
    told = st.lists(texts(20), min_size=2, max_size=most)

    def pair(said: list[str]) -> Pair:
        messages = [{"role": "user", "content": text} for text in said]
        return {"messages": messages[:1]}, {"messages": messages}

    return told.map(pair)


@st.composite
def chat_reports(draw: st.DrawFn, estimate: Estimate) -> dict[str, int]:
    """Any share of the prompt from the cache, any share of the answer in thoughts."""
    prompt = draw(st.integers(0, estimate.maximum["prompt_tokens"]))
    output = draw(st.integers(0, estimate.bound["output_tokens"]))
    cached, reasoning = draw(st.integers(0, prompt)), draw(st.integers(0, output))
    return {"prompt_tokens": prompt, "cached_tokens": cached, "output_tokens": output, "reasoning_tokens": reasoning}


CHAT = Law(
    profile={"tokenizer": "bytes", "context_tokens": 100_000, "default_output_tokens": 256, "choices": 4},
    requests=st.builds(lambda text, extra: chat(text) | extra, texts(), some(max_tokens=st.integers(1, 4000), n=st.integers(1, 4))),
    drivers={"text": longer(chat), "turns": turns(6), "max_tokens": wholes("max_tokens", 1, 4000), "n": wholes("n", 1, 4)},
    reports=chat_reports,
    numbers=("max_tokens", "max_completion_tokens", "n", "seed", "temperature"),
)

BUCKETS = replace(CHAT, profile={**CHAT.profile, "cache_writes": True})
LLAMA = {
    "active_parameters": 7504924672,
    "total_parameters": 8030261248,
    "full_layers": 32,
    "attention_flop_per_pair": 16384,
    "kv_bytes_per_layer": 4096,
    "weight_bytes": 16060522496,
}
FLOPS = replace(CHAT, profile={**CHAT.profile, "architecture": LLAMA})

# Texts to numbers


def lists() -> st.SearchStrategy[Pair]:
    """More texts."""
    return st.lists(texts(20), min_size=2, max_size=6).map(lambda said: ({"input": said[:1]}, {"input": said}))


LISTS = st.lists(texts(), min_size=1, max_size=4)
IN_TWO = st.tuples(LISTS, LISTS).map(lambda two: ({"input": two[0]}, {"input": two[1]}, {"input": two[0] + two[1]}))
EMBEDDINGS = Law(
    profile={"tokenizer": "bytes", "dimensions": 384},
    requests=LISTS.map(lambda said: {"input": said}),
    drivers={"text": longer(lambda text: {"input": text}), "inputs": lists()},
    reports=lambda estimate: below(estimate.maximum, "prompt_tokens", "inputs"),
    numbers=("dimensions",),
    parts=IN_TWO,
    additive=("prompt_tokens", "inputs"),
)
CLASSIFICATION = Law(
    profile={"tokenizer": "bytes", "labels": ["bad", "good"], "tokens_per_input": 24, "inputs": 8},
    requests=EMBEDDINGS.requests,
    drivers=EMBEDDINGS.drivers,
    reports=lambda estimate: below(estimate.maximum, "prompt_tokens", "positions", "inputs", "truncated_inputs"),
    parts=IN_TWO,
    # A batch is computed at the length of its longest text, so positions do not add up.
    additive=("prompt_tokens", "inputs", "truncated_inputs"),
)

# Speech


def say(text: str) -> Request:
    """A line to be said."""
    return {"input": text, "voice": "alloy"}


SLOWER = decimals("speed", "0.25", "4", falls=True)
SPOKEN = st.builds(lambda text, extra: say(text) | extra, texts(), some(speed=st.decimals("0.25", "4", places=2).map(str)))
KINDS = ("base", "word", "letter", "spelled", "accented", "digit", "wide", "mark", "space", "other")
FRAMES_A_KIND = {kind: {"frames": [index, 4 * index + 3], "phonemes": [1, 3]} for index, kind in enumerate(KINDS)}
SPEECH_FRAMES = Law(
    profile={"voices": ["alloy"], "frames_max": 4000, "per_character": FRAMES_A_KIND},
    requests=SPOKEN,
    drivers={"text": longer(say), "slowness": SLOWER},
    reports=lambda estimate: below(estimate.maximum, "audio_frames", "phoneme_tokens"),
    numbers=("speed",),
)
SPEECH_STEPS = Law(
    profile={"voices": ["alloy"], "steps_per_s": "6.25"},
    requests=st.builds(lambda line, extra: line | extra, SPOKEN, some(seconds=st.decimals("0.01", "3600", places=2).map(str))),
    drivers={"text": longer(say), "slowness": SLOWER, "seconds": decimals("seconds", "0.01", "3600")},
    reports=lambda estimate: below(estimate.maximum, "decode_steps", "prefill_positions"),
    numbers=("speed", "seconds"),
    # The founding count of a length that was asked for rounds down, and that of the steps which make it up: by one the
    # maximum of this version may fall short, and the charge is capped there.
    settled=SPOKEN,
)


@st.composite
def loop_reports(draw: st.DrawFn, estimate: Estimate) -> dict[str, int]:
    """Any share of the steps, in any number of attempts, some of which no entry allows."""
    report = draw(below(estimate.maximum, "decode_steps", "prefill_positions", "prompt_audio_positions"))
    attempts = draw(st.integers(1, 6))
    if attempts == 1:
        return report
    thrown = draw(st.integers(1, (attempts - 1) * estimate.bound["decode_steps"]))
    return report | {"attempts": attempts, "total_steps": report["decode_steps"] + thrown}


LOOP = {"voices": ["alloy"], "patch_size": 4, "sample_rate_hz": 44100, "encoder_rates": [2, 3, 6, 7, 7], "prompt_seconds_max": 60}
SPEECH_LOOP = Law(
    profile=LOOP,
    requests=SPEECH_STEPS.requests,
    drivers={**SPEECH_STEPS.drivers, "example": longer(lambda text: {"prompt_seconds": "3", "prompt_text": text})},
    reports=loop_reports,
    numbers=("speed", "seconds", "prompt_seconds"),
)
SPEECH_CHARACTERS = Law(
    profile={"voices": ["alloy"], "rule": "han-double"},
    requests=SPOKEN,
    drivers={"text": longer(say)},
    reports=lambda estimate: below(estimate.maximum, "billed_characters"),
    numbers=("speed",),
)
MS = {"narrow": [60, 120], "wide": [200, 400], "base": [100, 900]}
SPEECH_SECONDS = Law(
    profile={"voices": ["alloy"], "sample_rate_hz": 24000, "seconds_max": 3600, "ms_per_character": MS},
    requests=SPEECH_STEPS.requests,
    drivers=SPEECH_STEPS.drivers,
    reports=lambda estimate: below(estimate.maximum, "audio_samples"),
    numbers=("speed", "seconds"),
)

# Pictures

GUIDED = (False, True)
SIZES = ("480x480", "832x480", "960x640", "1280x720")


def pictured(**more: st.SearchStrategy[Any]) -> st.SearchStrategy[Request]:
    """A picture or a film."""
    extra = some(size=st.sampled_from(SIZES), steps=st.integers(1, 50), **more)
    return st.builds(lambda text, fields: {"prompt": text} | fields, texts(), extra)


FILM = {"sizes": list(SIZES), "default_size": SIZES[0], "default_fps": 16, "default_steps": 20}
VIDEO_FRAMES = Law(
    profile={**FILM, "steps_max": 50},
    requests=pictured(seconds=st.integers(1, 8), fps=st.integers(1, 30)),
    drivers={
        "prompt": longer(lambda text: {"prompt": text}),
        "size": among("size", *SIZES),
        "steps": wholes("steps", 1, 50),
        "seconds": wholes("seconds", 1, 8),
        "frames": wholes("frames", 1, 8),
        "fps": wholes("fps", 1, 30),
    },
    reports=lambda estimate: below(estimate.maximum, "steps", "frames", "activations"),
    numbers=("seconds", "frames", "fps", "steps", "seed"),
    parts=two_of("steps", 50, prompt="a"),
    additive=("steps", "pixel_steps", "article_units"),
)
DIT = {"dim": 512, "layers": 4, "ffn": 2048, "text_positions": 64, "text_dim": 256, "latent_channels": 16, "spatial_stride": 8}
DIT_PARTS = {"time_per_token": True, "text_encoder_flop": 10**9, "vae": {"square": 1, "linear": 10, "offset": -5}}
VIDEO_DIT = Law(
    profile={**DIT, **DIT_PARTS, **FILM, "default_seconds": "5", "seconds_max": 60, "frames_max": 4000},
    requests=pictured(seconds=st.decimals("0.01", "20", places=2).map(str), fps=st.integers(1, 60), guidance=st.booleans()),
    drivers={
        **{name: pairs for name, pairs in VIDEO_FRAMES.drivers.items() if name != "seconds"},
        "frames": wholes("frames", 1, 1000),
        "seconds": decimals("seconds", "0.01", "60"),
        "guidance": among("guidance", *GUIDED),
    },
    reports=lambda estimate: below(estimate.maximum, "passes", "frames", "activations"),
    numbers=(*VIDEO_FRAMES.numbers, "guidance"),
    parts=two_of("steps", 200, prompt="a"),
    # Text encoder and decoder are paid once, and are in linear_flop.
    additive=("passes", "attention_flop", "article_units"),
)
# Two experts, as the catalog has them.
WAN = read_catalog(None, datetime(2026, 12, 1, tzinfo=UTC)).model("wan2.2-t2v-a14b").profile
VIDEO_DIT_2 = Law(
    profile={**WAN, **FILM, "frames_max": 4000},
    requests=VIDEO_DIT.requests,
    drivers=VIDEO_DIT.drivers,
    reports=lambda estimate: below(estimate.maximum, "passes", "frames", "activations"),
    numbers=VIDEO_DIT.numbers,
    parts=VIDEO_DIT.parts,
    additive=("passes", "attention_flop", "transformer_flop", "conditioning_flop", "article_units"),
)
IMAGES = Law(
    profile={
        **{name: FILM[name] for name in ("sizes", "default_size", "default_steps")},
        "steps_max": 50,
        "guidance": "on",
        "patch": 2,
        "forward": {"square": 7, "linear": 5, "constant": 3},
        "decoder": {"square": 2, "linear": 11},
        "text_encoder_flop": 10**6,
    },
    requests=pictured(n=st.integers(1, 10), guidance=st.booleans()),
    drivers={
        "prompt": VIDEO_FRAMES.drivers["prompt"],
        "size": VIDEO_FRAMES.drivers["size"],
        "steps": VIDEO_FRAMES.drivers["steps"],
        "n": wholes("n", 1, 10),
        "guidance": among("guidance", *GUIDED),
    },
    reports=lambda estimate: below(estimate.maximum, "images", "steps", "passes"),
    numbers=("n", "steps", "guidance", "seed"),
    parts=two_of("n", 10, prompt="a"),
    additive=("images", "steps", "passes", "latent_tokens", "pixels", "pixel_steps", "megapixels", "attention_flop"),
)

LAWS: dict[str, Law] = {
    "classification.tokens/1": CLASSIFICATION,
    "embeddings.tokens/1": EMBEDDINGS,
    "images.steps/1": IMAGES,
    "speech.characters/1": SPEECH_CHARACTERS,
    "speech.frames/1": SPEECH_FRAMES,
    "speech.seconds/1": SPEECH_SECONDS,
    "speech.steps/1": SPEECH_STEPS,
    "speech.steps/2": SPEECH_LOOP,
    "text.flops/1": FLOPS,
    "text.tokens/1": CHAT,
    "text.tokens/2": BUCKETS,
    "video.dit/1": VIDEO_DIT,
    "video.dit/2": VIDEO_DIT_2,
    "video.frames/1": VIDEO_FRAMES,
}
