"""From a model's folder to a draft of its entry."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from taximeter.meters import BadProfile, get
from taximeter.meters.diffusion import draft

METER = get("video.dit/2")
Configs = Callable[[str], dict[str, Any]]
Profiles = Callable[[str], Mapping[str, Any]]
FAMILY = {
    "wan2.2-t2v-a14b": "Wan",
    "wan2.2-i2v-a14b": "Wan",
    "wan2.2-ti2v-5b": "Wan",
    "hunyuanvideo": "HunyuanVideo",
    "ltx-video-2b": "LTX-Video",
    "cogvideox-5b": "CogVideoX",
    "mochi-1": "Mochi",
}
# Gigabytes of weights: of the two Wan A14B models both experts.
RESIDENT_BYTES = {
    "wan2.2-t2v-a14b": 69_023_357_132,
    "wan2.2-i2v-a14b": 69_024_995_532,
    "wan2.2-ti2v-5b": 24_180_150_768,
    "hunyuanvideo": 41_391_477_286,
    "ltx-video-2b": 14_209_779_554,
    "cogvideox-5b": 21_096_355_270,
    "mochi-1": 30_499_474_022,
}
ARCHITECTURE = ("transformer", "transformer_2", "vae", "text_encoders", "text_positions", "guidance_by", "picture")


@pytest.mark.parametrize("name", FAMILY)
def test_a_folder_becomes_an_entry_that_the_meter_reads(name: str, configs: Configs) -> None:
    found = draft(configs(name))
    assert found is not None
    assert (found.family, found.modality, found.meter) == (FAMILY[name], "video", "video.dit/2")
    METER.check(found.profile)
    assert found.resident_bytes == RESIDENT_BYTES[name]
    assert {cost.quantity for cost in found.costs} | set(found.unpriced) == set(METER.quantities)
    assert found.assumptions


@pytest.mark.parametrize("name", FAMILY)
def test_the_catalog_says_of_a_model_what_its_files_say(name: str, configs: Configs, profile: Profiles) -> None:
    found = draft(configs(name))
    assert found is not None
    entry = profile(name)
    for key in ARCHITECTURE:
        assert entry.get(key) == found.profile.get(key), key


def test_the_published_folder_and_wans_own_code_differ_in_the_experts_turns(configs: Configs) -> None:
    found = draft(configs("wan2.2-t2v-a14b"))
    assert found is not None
    work = METER.estimate({"prompt": "x", "steps": 40}, found.profile).maximum
    assert (work["high_passes"], work["low_passes"]) == (26, 54)


def test_files_of_other_models_are_left_to_others() -> None:
    assert draft({}) is None
    assert draft({"config.json": {"model_type": "llama"}}) is None
    assert draft({"transformer/config.json": {"_class_name": "FluxTransformer2DModel"}}) is None


def changed(files: dict[str, Any], path: str, **entries: object) -> dict[str, Any]:
    """The files with these entries in one of them; None takes one away."""
    copied = copy.deepcopy(files)
    for key, value in entries.items():
        if value is None:
            copied[path].pop(key, None)
        else:
            copied[path][key] = value
    return copied


BROKEN: list[tuple[str, str, dict[str, object], str]] = [
    ("wan2.2-t2v-a14b", "transformer/config.json", {"num_layers": None}, "transformer/config.json: num_layers"),
    ("wan2.2-t2v-a14b", "transformer/config.json", {"num_layers": 0}, "transformer/config.json: num_layers"),
    ("wan2.2-t2v-a14b", "transformer/config.json", {"ffn_dim": "wide"}, "transformer/config.json: ffn_dim"),
    ("wan2.2-t2v-a14b", "transformer/config.json", {"ffn_dim": 1.5}, "transformer/config.json: ffn_dim"),
    ("wan2.2-t2v-a14b", "transformer/config.json", {"image_dim": 1280}, "transformer/config.json: image_dim"),
    ("wan2.2-t2v-a14b", "transformer_2/config.json", {"ffn_dim": None}, "transformer_2/config.json: ffn_dim"),
    ("wan2.2-t2v-a14b", "model_index.json", {"boundary_ratio": None}, "model_index.json: boundary_ratio"),
    ("wan2.2-t2v-a14b", "scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}, "scheduler/scheduler_config.json: _class_name"),
    ("wan2.2-t2v-a14b", "scheduler/scheduler_config.json", {"flow_shift": None}, "scheduler/scheduler_config.json: flow_shift"),
    ("wan2.2-t2v-a14b", "vae/config.json", {"base_dim": -1}, "vae/config.json: base_dim"),
    ("wan2.2-t2v-a14b", "vae/config.json", {"_class_name": "AutoencoderKL"}, "vae/config.json: _class_name"),
    ("wan2.2-t2v-a14b", "text_encoder/config.json", {"model_type": "bert"}, "text_encoder/config.json: model_type"),
    ("wan2.2-t2v-a14b", "text_encoder/config.json", {"d_ff": None}, "text_encoder/config.json: d_ff"),
    ("hunyuanvideo", "transformer/config.json", {"mlp_ratio": 2.5}, "transformer/config.json: mlp_ratio"),
    ("hunyuanvideo", "transformer/config.json", {"image_condition_type": "token_replace"}, "transformer/config.json: image_condition_type"),
    ("hunyuanvideo", "vae/config.json", {"block_out_channels": [8]}, "vae/config.json"),
    ("ltx-video-2b", "vae/config.json", {"decoder_layers_per_block": [1]}, "vae/config.json"),
    ("cogvideox-5b", "transformer/config.json", {"ofs_embed_dim": 512}, "transformer/config.json: ofs_embed_dim"),
    ("cogvideox-5b", "transformer/config.json", {"in_channels": 32}, "transformer/config.json: in_channels"),
    ("wan2.2-t2v-a14b", "transformer/config.json", {"in_channels": 8}, "model_index.json"),
    ("cogvideox-5b", "vae/config.json", {"temporal_compression_ratio": 3}, "vae/config.json"),
    ("mochi-1", "vae/config.json", {"spatial_expansions": [2]}, "vae/config.json"),
]


@pytest.mark.parametrize(("name", "path", "entries", "key"), BROKEN)
def test_a_broken_file_is_named_with_its_entry(name: str, path: str, entries: dict[str, object], key: str, configs: Configs) -> None:
    with pytest.raises(BadProfile) as caught:
        draft(changed(configs(name), path, **entries))
    assert caught.value.key == key


@pytest.mark.parametrize("path", ["vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json", "transformer_2/config.json"])
def test_a_missing_file_is_named(path: str, configs: Configs) -> None:
    files = {name: config for name, config in configs("wan2.2-t2v-a14b").items() if name != path}
    with pytest.raises(BadProfile) as caught:
        draft(files)
    assert caught.value.key == path


def test_cogvideox_1_5_fills_its_patches_in_time(configs: Configs) -> None:
    files = changed(configs("cogvideox-5b"), "transformer/config.json", patch_size_t=2, sample_width=170, sample_height=96, sample_frames=81)
    found = draft(files)
    assert found is not None
    work = METER.estimate({"prompt": "x"}, found.profile).maximum
    assert work["frames"] == 81
    # 21 latent frames are filled up to 22.
    assert work["latent_tokens"] == 11 * 48 * 85
