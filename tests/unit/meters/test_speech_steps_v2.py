"""Speech in decode steps, from the model's configuration."""

import functools
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.kernel.errors import InvalidRequest
from taximeter.metering.fares import quote_fare, read_catalog
from taximeter.meters import BadProfile, BadReport, get
from taximeter.meters.errors import UnsupportedParameter
from taximeter.meters.solver import evaluations
from taximeter.meters.speech_steps import solver_evaluations
from taximeter.pricing import Catalog

METER, FIRST = get("speech.steps/2"), get("speech.steps/1")
PROFILE: dict[str, Any] = {"voices": ("alloy",), "patch_size": 4, "sample_rate_hz": 44_100, "encoder_rates": (2, 3, 6, 7, 7)}
SMALL = {**PROFILE, "patch_size": 2, "sample_rate_hz": 16_000, "encoder_rates": (2, 5, 8, 8)}
WITH_EXAMPLES = {**PROFILE, "prompt_seconds_max": 60, "timesteps_max": 50}
MODELS = ("voxcpm-0.5b", "voxcpm-1.5", "voxcpm2")

texts = st.text(min_size=1, max_size=200).filter(lambda text: any(letter.isprintable() and not letter.isspace() for letter in text))
speeds = st.decimals("0.25", "4", places=2).map(str)
lengths = st.decimals("0.01", "600", places=3)


def speech(text: str = "Hello there", **more: object) -> dict[str, Any]:
    return {"input": text, "voice": "alloy", **more}


def report(steps: int = 32, **more: int) -> dict[str, int]:
    return {"decode_steps": steps, "prefill_positions": 9, **more}


@functools.cache
def catalog_in(month: int) -> Catalog:
    return read_catalog(None, datetime(2026, month, 20, tzinfo=UTC))


@pytest.fixture
def catalog() -> Catalog:
    return catalog_in(12)


def test_solver_evaluations_of_the_vectors(vectors: dict[str, Any]) -> None:
    assert vectors["speech"]["dit_calls"] == {timesteps: evaluations(int(timesteps)) for timesteps in vectors["speech"]["dit_calls"]}
    assert [n for n in range(1, 3000) if evaluations(n) != solver_evaluations(n)] == []


def test_a_given_length_is_counted_exactly(vectors: dict[str, Any]) -> None:
    for seconds, expected in vectors["speech"]["article_tokens"].items():
        estimate = METER.estimate(speech(seconds=seconds), PROFILE)
        for work in (estimate.expected, estimate.maximum):
            assert (work["article_steps"], work["decode_steps"]) == (expected["floor"], expected["ceil"]), seconds
            assert work["solver_evaluations"] == 9 * expected["ceil"]
        assert estimate.bound == {"decode_steps": expected["ceil"]}


def test_no_length_is_miscounted_where_floating_point_miscounts_287(vectors: dict[str, Any]) -> None:
    samples = vectors["speech"]["patch_samples_44100"]
    estimate = METER.estimate(speech(), PROFILE)
    trapped = []
    for steps in range(1, 4097):
        work = METER.actual(report(steps, audio_samples=steps * samples, sample_rate_hz=44_100), estimate, PROFILE)
        assert work["article_steps"] == work["decode_steps"] == steps
        assert METER.estimate(speech(seconds=str(Decimal(steps) * 16 / 100)), PROFILE).bound == {"decode_steps": steps}
        if int(steps * samples / 44_100 * 6.25) != steps:
            trapped.append(steps)
    assert len(trapped) == vectors["speech"]["n_mismatch_1_4096"] == 287
    assert trapped[:10] == vectors["speech"]["float_floor_traps_N"]


@pytest.mark.parametrize(("model", "mode"), [("voxcpm-0.5b", 1250), ("voxcpm-1.5", 625), ("voxcpm2", 625)])
def test_the_mode_follows_from_the_configuration_and_is_on_every_record(model: str, mode: int, catalog: Catalog) -> None:
    profile = catalog.model(model).profile
    estimate = METER.estimate(speech(), profile)
    actual = METER.actual(report(), estimate, profile)
    assert [work["steps_per_100_s"] for work in (estimate.expected, estimate.maximum, actual)] == [mode] * 3


def test_an_engine_in_another_mode_is_not_believed() -> None:
    estimate = METER.estimate(speech(), PROFILE)
    assert METER.actual(report(steps_per_100_s=625), estimate, PROFILE)["steps_per_100_s"] == 625
    with pytest.raises(BadReport, match="1250 steps in 100 seconds and the catalog says 625"):
        METER.actual(report(steps_per_100_s=1250), estimate, PROFILE)


def test_the_two_modes_differ_in_price_as_measured(catalog: Catalog) -> None:
    tokens = {model: catalog.priced(model, None).card.tokens_per_unit("decode_steps") for model in MODELS}
    assert tokens == {"voxcpm-0.5b": Fraction("0.01088"), "voxcpm-1.5": Fraction("0.0192"), "voxcpm2": Fraction("0.0384")}
    assert Fraction("1.6") < tokens["voxcpm-1.5"] / tokens["voxcpm-0.5b"] < Fraction("1.77")
    assert "Indicative" in catalog.priced("voxcpm2", None).card.notes


def test_the_bound_is_the_models_own_loop() -> None:
    # min(6 x text tokens + 10, max_length), with at most a token a byte and a start mark.
    assert METER.estimate(speech("a" * 9), PROFILE).bound == {"decode_steps": 6 * 10 + 10}
    assert METER.estimate(speech("a" * 4096), PROFILE).bound == {"decode_steps": 4096}
    assert METER.estimate(speech("a" * 4096), {**PROFILE, "max_length": 8192}).bound == {"decode_steps": 8192}


def test_attempts_that_were_thrown_away_are_consumed_and_counted_apart(catalog: Catalog) -> None:
    estimate = METER.estimate(speech(), PROFILE)
    bound = estimate.bound["decode_steps"]
    assert estimate.expected["retried_steps"] == 0
    assert estimate.maximum["retried_steps"] == 2 * bound
    work = METER.actual(report(20, total_steps=20 + 2 * bound, attempts=3), estimate, PROFILE)
    assert (work["decode_steps"], work["retried_steps"], work["retried_positions"]) == (20, 2 * bound, 18)
    assert work["solver_evaluations"] == 20 * 9
    assert METER.estimate(speech(), {**PROFILE, "attempts_max": 1}).maximum["retried_steps"] == 0
    card = catalog.priced("voxcpm-1.5", None).card
    borne = {term.quantity for line in card.lines if line.borne for term in line.terms}
    assert borne == {"retried_steps", "retried_positions"}


@pytest.mark.parametrize(
    "more",
    [{"total_steps": 31}, {"total_steps": 33}, {"attempts": 2}, {"attempts": 0}, {"total_steps": 33, "attempts": 1}, {"total_steps": -1}],
)
def test_attempts_that_do_not_add_up_are_a_bad_report(more: dict[str, int]) -> None:
    with pytest.raises(BadReport):
        METER.actual(report(**more), METER.estimate(speech(), PROFILE), PROFILE)


def test_an_example_to_imitate_is_read_before_the_first_step() -> None:
    estimate = METER.estimate(speech(prompt_seconds="4.81", prompt_text="Good morning"), WITH_EXAMPLES)
    plain = METER.estimate(speech(), WITH_EXAMPLES)
    # 4.81 s x 6.25 = 30.06 patches, so 31: the rest is silence.
    assert estimate.expected["prompt_audio_positions"] == estimate.maximum["prompt_audio_positions"] == 31
    assert estimate.expected["prefill_positions"] == plain.expected["prefill_positions"] + 3
    assert estimate.maximum["prefill_positions"] == plain.maximum["prefill_positions"] + len("Good morning") + 1
    assert estimate.expected["vae_steps"] == estimate.expected["decode_steps"] + 2
    assert estimate.bound == plain.bound
    assert estimate.request == {**plain.request, "prompt_seconds": "4.81", "prompt_text": "Good morning"}
    assert METER.actual(report(), estimate, WITH_EXAMPLES)["prompt_audio_positions"] == 31
    assert METER.actual(report(prompt_audio_positions=30), estimate, WITH_EXAMPLES)["prompt_audio_positions"] == 30


def test_a_voice_may_bring_its_example() -> None:
    profile = {**PROFILE, "examples": {"alloy": {"seconds": "3", "text": "你好"}}, "prompt_marks": 2}
    work = METER.estimate(speech(), profile).expected
    assert work["prompt_audio_positions"] == 19
    assert work["prefill_positions"] == METER.estimate(speech(), PROFILE).expected["prefill_positions"] + 2 + 2


@pytest.mark.parametrize("more", [{"prompt_seconds": 3}, {"prompt_text": "x"}, {"inference_timesteps": 20}])
def test_what_the_model_does_not_offer_is_refused_by_name(more: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedParameter) as caught:
        METER.estimate(speech(**more), PROFILE)
    assert caught.value.param == next(iter(more))


@pytest.mark.parametrize(
    "more",
    [
        *({"prompt_seconds": value} for value in (0, -1, 61, float("nan"), True, "x")),
        *({"prompt_text": "x", "prompt_seconds": value} for value in (None, "")),
        *({"inference_timesteps": value} for value in (0, 51, 1.5, True)),
        *({"seconds": value} for value in (0, -1, 3601, float("nan"), True, "x")),
    ],
)
def test_absurd_lengths_and_steps_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        METER.estimate(speech(**more), WITH_EXAMPLES)


def test_more_solver_steps_are_more_evaluations() -> None:
    work = METER.estimate(speech(seconds=1, inference_timesteps=50), WITH_EXAMPLES)
    assert work.expected["solver_evaluations"] == 7 * 48
    assert work.request["inference_timesteps"] == 50
    assert METER.actual(report(7), work, WITH_EXAMPLES)["solver_evaluations"] == 7 * 48
    assert METER.actual(report(7, solver_evaluations=300), work, WITH_EXAMPLES)["solver_evaluations"] == 300


@pytest.mark.parametrize("more", [{"sample_rate_hz": 0}, {}, {"sample_rate_hz": -1}])
def test_samples_without_a_rate_are_a_bad_report(more: dict[str, int]) -> None:
    with pytest.raises(BadReport):
        METER.actual(report(4, audio_samples=5, **more), METER.estimate(speech(), PROFILE), PROFILE)


@pytest.mark.parametrize(
    "entry",
    [
        {"voices": ()},
        {"patch_size": 0},
        {"encoder_rates": ()},
        {"encoder_rates": (2, 0)},
        {"sample_rate_hz": 44_101},
        {"sample_rate_hz": 10**9},
        {"max_length": 0},
        {"inference_timesteps": 0},
        {"attempts_max": 0},
        {"prompt_marks": -1},
        {"timesteps_max": 9},
        {"examples": {"nobody": {"seconds": "3"}}},
        {"examples": {"alloy": {"seconds": "x"}}},
        {"examples": {"alloy": {"seconds": "3000"}}},
    ],
)
def test_a_broken_profile_names_its_entry(entry: dict[str, object]) -> None:
    with pytest.raises(BadProfile) as caught:
        METER.check({**PROFILE, **entry})
    assert caught.value.key == next(iter(entry))


@given(texts, speeds, st.none() | lengths.map(str))
def test_version_2_of_the_built_in_model_costs_what_version_1_did(text: str, speed: str, seconds: str | None) -> None:
    request = {"input": text, "voice": "alloy", "speed": speed, "seconds": seconds}
    for card in ("calibrated", "article-v1"):
        now, before = (quote_fare(catalog, "voxcpm-1.5", request, card) for catalog in map(catalog_in, (12, 10)))
        assert (now.priced.model.version, before.priced.model.version) == (2, 1)
        assert (now.expected_utok, now.maximum_utok) == (before.expected_utok, before.maximum_utok)
        assert now.estimate.bound == before.estimate.bound


@given(texts, texts, speeds)
def test_more_text_is_never_less_work(text: str, more: str, speed: str) -> None:
    short, long = (METER.estimate(speech(words, speed=speed), SMALL) for words in (text, text + more))
    for work in ("expected", "maximum"):
        assert all(getattr(short, work)[quantity] <= getattr(long, work)[quantity] for quantity in METER.quantities)


@given(lengths, lengths, st.integers(1, 50), st.integers(1, 50))
def test_longer_audio_and_more_solver_steps_are_never_less_work(first: Decimal, second: Decimal, few: int, many: int) -> None:
    (short, long), (low, high) = sorted((first, second)), sorted((few, many))
    less, more = (
        METER.estimate(speech(seconds=str(seconds), inference_timesteps=steps), WITH_EXAMPLES) for seconds, steps in ((short, low), (long, high))
    )
    assert all(less.maximum[quantity] <= more.maximum[quantity] for quantity in METER.quantities)
    # Two recordings are at least as much work as one of both lengths together, and at most a step more.
    both = METER.estimate(speech(seconds=str(first + second)), PROFILE).maximum["decode_steps"]
    apart = sum(METER.estimate(speech(seconds=str(part)), PROFILE).maximum["decode_steps"] for part in (first, second))
    assert both <= apart <= both + 1


@given(st.lists(st.integers(0, 4096), min_size=1, max_size=8), st.integers(1, 50))
def test_billed_work_adds_up_over_parts(parts: list[int], timesteps: int) -> None:
    estimate = METER.estimate(speech(inference_timesteps=timesteps), WITH_EXAMPLES)
    each = [METER.actual(report(steps), estimate, WITH_EXAMPLES) for steps in parts]
    whole = METER.actual(report(sum(parts)), estimate, WITH_EXAMPLES)
    for quantity in ("decode_steps", "solver_evaluations", "vae_steps", "article_steps"):
        assert whole[quantity] == sum(work[quantity] for work in each)


@given(texts, speeds, st.none() | lengths.map(str), st.integers(0, 9000), st.integers(0, 10**9))
def test_everything_is_a_whole_number_the_same_at_every_run(text: str, speed: str, seconds: str | None, steps: int, samples: int) -> None:
    request = speech(text, speed=speed, seconds=seconds, prompt_seconds="3.3")
    first, again = (METER.estimate(request, dict(WITH_EXAMPLES)) for _ in range(2))
    assert first == again
    billed = METER.actual(report(steps, audio_samples=samples, sample_rate_hz=44_100), first, WITH_EXAMPLES)
    for work in (first.expected, first.maximum, first.bound, billed):
        assert all(type(count) is int and count >= 0 for count in work.values())
    assert first.expected.keys() == first.maximum.keys() == billed.keys() == METER.quantities.keys()
    assert all(first.expected[quantity] <= first.maximum[quantity] for quantity in METER.quantities)
    exact = samples * 25 // (44_100 * 4)
    # The last step of a length that was asked for may be longer than what was left of it.
    assert billed["article_steps"] in (exact, min(exact, first.maximum["article_steps"]))


def test_the_built_in_model_makes_a_short_sentence(profile: Callable[[str], Mapping[str, Any]]) -> None:
    estimate = METER.estimate(speech("Hello, your ride is ready."), profile("voxcpm-1.5"))
    assert 4 <= estimate.expected["decode_steps"] <= 20


@pytest.mark.parametrize("report", [{}, {"audio_samples": 32 * 7056, "sample_rate_hz": 44100}])
def test_the_founding_count_is_that_of_the_seconds_that_were_asked_for(report: dict[str, int]) -> None:
    profile = WITH_EXAMPLES
    estimate = METER.estimate({"input": "hello", "voice": "alloy", "seconds": 5}, profile)
    assert (estimate.maximum["article_steps"], estimate.bound["decode_steps"]) == (31, 32)
    work = METER.actual({"prefill_positions": 3, "decode_steps": 32, **report}, estimate, profile)
    assert (work["article_steps"], work["decode_steps"]) == (31, 32)


def test_attempts_above_the_entrys_are_counted_as_far_as_the_hold_went() -> None:
    profile = WITH_EXAMPLES
    estimate = METER.estimate({"input": "hello", "voice": "alloy"}, profile)
    most = estimate.maximum
    report = {"prefill_positions": most["prefill_positions"], "decode_steps": most["decode_steps"], "attempts": 5}
    work = METER.actual(report | {"total_steps": 5 * most["decode_steps"]}, estimate, profile)
    assert (work["retried_steps"], work["retried_positions"]) == (most["retried_steps"], most["retried_positions"])
    assert most["retried_steps"] == 2 * most["decode_steps"]
