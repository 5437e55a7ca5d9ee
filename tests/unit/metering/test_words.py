"""Lines of a fare in words: what a person reads is what is charged, and nothing is rounded anew."""

import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taximeter.metering.fares import quote_fare, read_catalog
from taximeter.metering.model import fare_lines
from taximeter.metering.quotes import priced
from taximeter.metering.quotes.words import told

CATALOG = read_catalog(None, datetime(2026, 11, 22, tzinfo=UTC))
WAN = "wan2.2-t2v-a14b"
DIFFUSION = sorted(
    (name, card)
    for name, model in CATALOG.models.items()
    if model.meter in ("video.dit/2", "images.steps/1")
    for card in ("flop", "calibrated")
    if card in model.cards
)


def texts(model: str, request: dict[str, Any], card: str | None = None) -> list[str]:
    return [line["text"] for line in priced(quote_fare(CATALOG, model, request, card))["breakdown"]]


def test_the_main_film_is_told_in_passes_seconds_of_the_gpu_and_shares() -> None:
    (text,) = texts(WAN, {"prompt": "a fox", "seconds": "5"})
    assert text == (
        "Denoising, decoding and text encoding: 80 passes over 75,600 latent tokens (81 frames of 1280x720), 1,041.5 s of the reference GPU"
        " (transformer 50.2 %, self-attention 48.8 %, conditioning 0.8 %, autoencoder 0.2 %, text encoder under 0.1 %): 4166.110792 Tokens"
    )


@pytest.mark.parametrize(
    ("model", "request_body", "text"),
    [
        ("sketch-video", {"prompt": "x", "seconds": "2"}, "Refinement: 20 steps over 32 frames of 640x360, 14"),
        ("flux.1-dev", {"prompt": "x", "n": 3, "size": "512x512"}, "84 passes over 1,024 latent tokens (3 images of 512x512), "),
        ("flux.1-dev", {"prompt": "x"}, "28 passes over 4,096 latent tokens (an image of 1024x1024), "),
        ("voxcpm-1.5", {"input": "Hello there.", "voice": "default"}, "Decode steps: 5 decode steps (6.25 Hz) at 0.0192 Tokens each: about"),
        ("voxcpm-0.5b", {"input": "Hello there.", "voice": "default"}, "Decode steps: 10 decode steps (12.5 Hz) at 0.01088 Tokens each: about"),
        ("voxcpm-1.5", {"input": "Hello there.", "voice": "default"}, "Reading the text: 4 prefill positions at 0.00096 Tokens each: about"),
        ("llama-3.1-8b", {"messages": [{"role": "user", "content": "Hello"}]}, " prefill linear operations at 8.53 Tokens per 1,000 trillion: about"),
    ],
)
def test_a_line_says_what_is_done(model: str, request_body: dict[str, Any], text: str) -> None:
    assert text in "\n".join(texts(model, request_body))


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DIFFUSION), st.integers(1, 8), st.integers(1, 60), st.booleans())
def test_shares_and_seconds_are_those_of_the_exact_fare(which: tuple[str, str], seconds: int, steps: int, guided: bool) -> None:  # noqa: FBT001
    model, card = which
    request: dict[str, Any] = {"prompt": "a fox", "steps": steps, "guidance": guided}
    if CATALOG.models[model].modality == "video":
        request["seconds"] = str(seconds)
    fare = quote_fare(CATALOG, model, request, card)
    (line,) = told(fare)
    assert sum(part.share for part in line.parts) == 1
    assert [part.share for part in line.parts] == sorted((part.share for part in line.parts), reverse=True)
    work = fare.estimate.expected
    assert sum(part.operations for part in line.parts) == work["linear_flop"] + work["attention_flop"]
    shown = re.search(r"([0-9,]+\.[0-9]+) s of the reference GPU", line.rate)
    assert shown is not None
    digits = len(shown[1].partition(".")[2])
    exact_s = fare.parts.expected.exact / 4
    assert abs(Fraction(shown[1].replace(",", "")) - exact_s) <= Fraction(1, 2 * 10**digits)
    # The amounts are the fare's own.
    assert [(line.label, line.expected_utok, line.maximum_utok)] == [(each.label, each.expected_utok, each.maximum_utok) for each in fare.parts.lines]


@pytest.mark.parametrize("model", sorted(CATALOG.models))
def test_what_is_signed_beside_the_words_stays_as_exact_as_it_was(model: str) -> None:
    bodies: dict[str, dict[str, Any]] = {
        "chat": {"messages": [{"role": "user", "content": "Hello"}]},
        "video": {"prompt": "a fox"},
        "images": {"prompt": "a fox"},
    }
    modality = CATALOG.models[model].modality
    fare = quote_fare(
        CATALOG, model, bodies.get(modality) or {"input": "Hello there.", "voice": CATALOG.models[model].profile.get("voices", ["x"])[0]}
    )
    breakdown = priced(fare)["breakdown"]
    assert [{name: value for name, value in line.items() if name != "text"} for line in breakdown] == fare_lines(fare)
    assert all(not re.search(r"\d,\d{3},\d{3},\d{3},\d{3}", line["text"]) for line in breakdown)
