"""What VoxCPM's own configuration says about the cost of a step."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.meters import BadProfile, get
from taximeter.meters.solver import evaluations
from taximeter.meters.voxcpm import attention_flop, cache_bytes, draft, prefill_flop, resident_bytes, step_flop, weight_bytes
from taximeter.meters.voxcpm_config import VoxConfig, read_config

CONFIGS = Path(__file__).parents[2] / "vectors" / "configs"
MODELS: dict[str, dict[str, Any]] = {
    name: json.loads((CONFIGS / name / "config.json").read_text(encoding="utf-8")) for name in ("voxcpm-0.5b", "voxcpm-1.5", "voxcpm2")
}
HALF, ONE_HALF, TWO = MODELS.values()
LM = HALF["lm_config"]


@pytest.mark.parametrize(("name", "key"), [("voxcpm-0.5b", "voxcpm_0_5b"), ("voxcpm-1.5", "voxcpm_1_5")])
def test_every_part_of_a_step_is_that_of_the_vectors(name: str, key: str, vectors: dict[str, Any]) -> None:
    config, row = read_config(MODELS[name]), vectors["speech"]["per_token"][key]
    flop = step_flop(config)
    assert flop.solver * evaluations(10) == row["cfm"]
    assert (flop.encoder, flop.base, flop.residual) == (row["locenc"], row["base_step"], row["resid_step"])
    assert (flop.projections, flop.audio) == (row["proj_stop"], row["vae"])
    assert flop.step(evaluations(10)) == row["total"]
    # The vectors leave the projections out of the bytes.
    moved = weight_bytes(config)
    assert moved.step(evaluations(10)) - moved.projections == row["weight_bytes"]


def test_a_position_before_the_first_step_costs_a_twentieth_of_a_step(vectors: dict[str, Any]) -> None:
    share = prefill_flop(read_config(ONE_HALF)) / vectors["speech"]["per_token"]["voxcpm_1_5"]["total"]
    assert 0.045 < share < 0.05


def test_the_size_of_each_model_is_the_published_one() -> None:
    # README of the models: 0.6, 0.8 and 2 thousand million parameters, of 16 bits each; the audio decoder beside them in 32.
    for name, published in (("voxcpm-0.5b", 0.6e9), ("voxcpm-1.5", 0.8e9), ("voxcpm2", 2.2e9)):
        config = read_config(MODELS[name])
        parameters = (resident_bytes(config) - weight_bytes(config).audio) / 2
        assert parameters == pytest.approx(published, rel=0.1), name


@pytest.mark.parametrize(("name", "mode"), [("voxcpm-0.5b", 1250), ("voxcpm-1.5", 625), ("voxcpm2", 625)])
def test_a_draft_is_an_entry_that_the_meter_takes(name: str, mode: int) -> None:
    made = draft({"config.json": MODELS[name], "tokenizer_config.json": {}})
    assert made is not None
    assert (made.modality, made.meter, made.family) == ("speech", "speech.steps/2", "VoxCPM2" if name == "voxcpm2" else "VoxCPM")
    meter = get(made.meter)
    meter.check(made.profile)
    work = meter.estimate({"input": "Hello", "voice": "default", "prompt_seconds": 3}, made.profile).expected
    assert work["steps_per_100_s"] == mode
    priced = [cost.quantity for cost in made.costs]
    assert sorted([*priced, *made.unpriced]) == sorted(meter.quantities)
    # A step of the draft, with its evaluations and its patch, is the whole step, and what it moves is weights and caches.
    config, costs = read_config(MODELS[name]), {cost.quantity: cost for cost in made.costs}
    total = sum(
        count * (costs[quantity].linear_flop + costs[quantity].attention_flop)
        for quantity, count in (("decode_steps", 1), ("solver_evaluations", 9), ("vae_steps", 1))
    )
    moved = sum(count * costs[quantity].bytes_moved for quantity, count in (("decode_steps", 1), ("solver_evaluations", 9), ("vae_steps", 1)))
    assert total == step_flop(config).step(9)
    assert moved == weight_bytes(config).step(9) + cache_bytes(config)
    assert sum(costs[quantity].attention_flop for quantity in ("decode_steps", "solver_evaluations")) == attention_flop(config).step(1)
    assert made.resident_bytes == resident_bytes(config)
    assert made.assumptions


@pytest.mark.parametrize(
    "files",
    [{}, {"model_index.json": {"_class_name": "WanPipeline"}}, {"config.json": {"architectures": ["LlamaForCausalLM"], "hidden_size": 8}}],
)
def test_another_familys_files_are_left_to_it(files: dict[str, Any]) -> None:
    assert draft(files) is None


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("lm_config", "hidden_size"), None, "lm_config.hidden_size is missing"),
        (("lm_config", "num_hidden_layers"), 0, "lm_config.num_hidden_layers is 0"),
        (("lm_config", "vocab_size"), 10**9, "lm_config.vocab_size"),
        (("lm_config", "num_attention_heads"), 7, "lm_config.kv_channels"),
        (("lm_config",), None, "lm_config is missing or is not an object"),
        (("patch_size",), True, "patch_size is True"),
        (("dit_config", "num_heads"), 15, "dit_config.num_heads"),
        (("audio_vae_config", "decoder_rates"), 5, "audio_vae_config.decoder_rates"),
        (("audio_vae_config", "decoder_rates"), [2] * 12, "audio_vae_config.decoder_dim"),
        (("audio_vae_config", "depthwise"), 1, "audio_vae_config.depthwise"),
        (("audio_vae_config", "sample_rate"), 44_101, "no whole number of steps"),
        (("audio_vae_config",), [], "audio_vae_config is missing or is not an object"),
    ],
)
def test_a_file_that_lacks_something_or_has_nonsense_is_refused_by_name(path: tuple[str, ...], value: object, named: str) -> None:
    content = copy.deepcopy(ONE_HALF)
    place: dict[str, Any] = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(BadProfile) as caught:
        draft({"config.json": content})
    assert caught.value.key == "config.json"
    assert named in caught.value.message


def test_a_decoder_that_is_told_its_rate_another_way_is_refused() -> None:
    for changes in ({"cond_type": "concat"}, {"cond_out_layer": True}):
        with pytest.raises(BadProfile, match="cond_type"):
            read_config({**TWO, "audio_vae_config": {**TWO["audio_vae_config"], **changes}})


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 200), st.integers(1, 200))
def test_more_layers_and_more_solver_steps_are_never_less_work(few: int, many: int, low: int, high: int) -> None:
    def sized(layers: int) -> VoxConfig:
        return read_config({**HALF, "lm_config": {**LM, "num_hidden_layers": layers}, "dit_config": {**HALF["dit_config"], "num_layers": layers}})

    (few, many), (low, high) = sorted((few, many)), sorted((low, high))
    small, large = sized(few), sized(many)
    for count in (step_flop, weight_bytes, attention_flop):
        assert count(small).step(evaluations(low)) <= count(large).step(evaluations(high))
    # Layers add up: what one more costs is always the same.
    one, two, three = (step_flop(sized(layers)).base for layers in (few, few + 1, few + 2))
    assert three - two == two - one > 0
