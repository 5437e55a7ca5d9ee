"""What VoxCPM's own configuration says about the cost of a step."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taximeter.meters import BadProfile, get
from taximeter.meters.solver import evaluations
from taximeter.meters.voxcpm import attention_flop, cache_bytes, draft, prefill_flop, resident_bytes, step_flop, weight_bytes
from taximeter.meters.voxcpm_config import VoxConfig, read_config

LM = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_attention_heads": 16,
    "num_key_value_heads": 2,
    "num_hidden_layers": 24,
    "vocab_size": 73448,
}
HALF: dict[str, Any] = {
    "architecture": "voxcpm",
    "lm_config": LM,
    "patch_size": 2,
    "feat_dim": 64,
    "residual_lm_num_layers": 6,
    "encoder_config": {"hidden_dim": 1024, "ffn_dim": 4096, "num_heads": 16, "num_layers": 4},
    "dit_config": {"hidden_dim": 1024, "ffn_dim": 4096, "num_heads": 16, "num_layers": 4, "cfm_config": {}},
    "max_length": 4096,
}
ONE_HALF: dict[str, Any] = {
    **HALF,
    "patch_size": 4,
    "residual_lm_num_layers": 8,
    "encoder_config": {**HALF["encoder_config"], "num_layers": 8},
    "dit_config": {**HALF["dit_config"], "num_layers": 8},
    "audio_vae_config": {
        "encoder_dim": 64,
        "encoder_rates": [2, 3, 6, 7, 7],
        "latent_dim": 64,
        "decoder_dim": 2048,
        "decoder_rates": [7, 7, 6, 3, 2],
        "sample_rate": 44100,
    },
}
TWO: dict[str, Any] = {
    **ONE_HALF,
    "architecture": "voxcpm2",
    "lm_config": {**LM, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 28, "kv_channels": 128},
    "encoder_config": {**HALF["encoder_config"], "num_layers": 12, "kv_channels": 128},
    "dit_config": {**HALF["dit_config"], "num_layers": 12, "kv_channels": 128},
    "audio_vae_config": {"sample_rate": 16000, "out_sample_rate": 48000, "sr_bin_boundaries": [20000, 30000, 40000]},
    "max_length": 8192,
}
MODELS = {"voxcpm_0_5b": HALF, "voxcpm_1_5": ONE_HALF, "voxcpm2": TWO}


@pytest.mark.parametrize("name", ["voxcpm_0_5b", "voxcpm_1_5"])
def test_every_part_of_a_step_is_that_of_the_vectors(name: str, vectors: dict[str, Any]) -> None:
    config, row = read_config(MODELS[name]), vectors["speech"]["per_token"][name]
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
    for name, published in (("voxcpm_0_5b", 0.6e9), ("voxcpm_1_5", 0.8e9), ("voxcpm2", 2.2e9)):
        config = read_config(MODELS[name])
        parameters = (resident_bytes(config) - weight_bytes(config).audio) / 2
        assert parameters == pytest.approx(published, rel=0.1)


@pytest.mark.parametrize(("name", "mode"), [("voxcpm_0_5b", 1250), ("voxcpm_1_5", 625), ("voxcpm2", 625)])
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
