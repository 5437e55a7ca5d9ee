"""The closed forms are those of the product's meters and of the vectors, at the true dimensions."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.gpu.forms import Film, solver_evaluations
from bench.gpu.scales import FULL
from taximeter.meters import video_dit

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[3] / "vectors" / "meters.json").read_text(encoding="utf-8"))
ENTRY = video_dit.DitProfile(
    dim=FULL.dit.dim,
    layers=FULL.dit.layers,
    ffn=FULL.dit.ffn,
    text_positions=FULL.dit.text_positions,
    text_dim=FULL.dit.text_dim,
    latent_channels=FULL.dit.channels,
    spatial_stride=8,
    time_per_token=False,
    text_encoder_flop=FULL.encoder.encode(1),
    vae=video_dit.Vae(square=1536, linear=2161889792, offset=-1474007040),
    sizes=("832x480",),
    default_size="832x480",
    default_seconds="5",
    seconds_max=60,
    default_fps=16,
    default_steps=40,
)


@pytest.mark.parametrize("film", [*FULL.fit_films, *FULL.holdout_films], ids=lambda film: film.name)
def test_a_pass_and_the_decoder_take_what_the_meter_says(film: Film) -> None:
    shape = video_dit.Shape(film.width, film.height, film.frames)
    work = video_dit.physical_work(shape, 80, 2, ENTRY)
    assert shape.latent_tokens(ENTRY) == film.tokens
    linear = 80 * FULL.dit.pass_linear(film.tokens) + FULL.encoder.encode(2) + FULL.vae.decode(film)
    assert (linear, 80 * FULL.dit.pass_attention(film.tokens)) == (work["linear_flop"], work["attention_flop"])


def test_the_coefficients_are_those_of_the_vectors() -> None:
    assert list(video_dit.forward_coefficients(ENTRY)) == VECTORS["wan"]["a14b_diffusers"]
    assert FULL.encoder.encode(1) == VECTORS["wan"]["t5_pass"]


@pytest.mark.parametrize(("model", "vector"), [("voxcpm-0.5b", "voxcpm_0_5b"), ("voxcpm-1.5", "voxcpm_1_5")])
def test_a_decode_step_of_speech_takes_what_the_vectors_say_without_the_audio_decoder(model: str, vector: str) -> None:
    expected = VECTORS["speech"]["per_token"][vector]
    assert FULL.speech[model].step(9) == expected["total"] - expected["vae"]
    assert 9 * FULL.speech[model].evaluation() == expected["cfm"]


def test_the_solver_skips_what_the_vectors_say() -> None:
    assert {steps: solver_evaluations(int(steps)) for steps in VECTORS["speech"]["dit_calls"]} == VECTORS["speech"]["dit_calls"]


def test_a_language_model_takes_two_operations_for_each_weight_and_token() -> None:
    form = FULL.language
    assert form.stack.layers * form.stack.weights + form.stack.dim * form.vocabulary == 7_504_658_432
    assert form.decode(1, 1000) == 2 * 7_504_658_432 + 4 * 32 * 4096 * 1000
    assert 2 * form.stack.kv_numbers == 131_072


def test_a_film_of_the_founding_example_has_its_units() -> None:
    assert Film(1280, 720, 120).founding_units * 50 == 86_400_000
