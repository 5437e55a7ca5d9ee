"""Decoding (and Wan's encoding): operations, parameters and frames are those of the real classes, exactly."""

from functools import partial
from typing import Any

import msgspec
import pytest

from taximeter.meters.diffusion.drafts import _exact
from taximeter.meters.diffusion.pipeline import Vae
from tests.support.flops import counted, diffusion, noise, ones, parameters

HEIGHT, WIDTH = 1, 2
WAN = {"base_dim": 4, "z_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
WAN_RESIDUAL = WAN | {
    "decoder_base_dim": 6,
    "is_residual": True,
    "in_channels": 12,
    "out_channels": 12,
    "patch_size": 2,
    "scale_factor_spatial": 16,
}
HUNYUAN = {"block_out_channels": (8, 16, 24, 32), "layers_per_block": 1, "norm_num_groups": 4, "latent_channels": 4}
LTX = {
    "block_out_channels": (8, 16, 24, 24),
    "decoder_block_out_channels": (8, 16, 24, 24),
    "layers_per_block": (2, 1, 1, 1, 2),
    "decoder_layers_per_block": (2, 1, 1, 1, 2),
    "latent_channels": 4,
}
LTX_TIMED = LTX | {
    "decoder_block_out_channels": (16, 32, 64),
    "decoder_layers_per_block": (1, 2, 3, 4),
    "decoder_spatio_temporal_scaling": (True, True, True),
    "decoder_inject_noise": (False, True, True, True),
    "upsample_residual": (True, True, True),
    "upsample_factor": (2, 2, 2),
    "timestep_conditioning": True,
}
LTX_NEWER = LTX_TIMED | {
    "block_out_channels": (8, 16, 32, 32, 64),
    "down_block_types": ("LTXVideo095DownBlock3D",) * 4,
    "downsample_type": ("spatial", "temporal", "spatiotemporal", "spatiotemporal"),
    "layers_per_block": (1, 1, 1, 1, 1),
    "spatio_temporal_scaling": (True, True, True, True),
    "spatial_compression_ratio": 32,
    "temporal_compression_ratio": 8,
}
COG = {
    "block_out_channels": (8, 16, 16, 24),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
    "down_block_types": ("CogVideoXDownBlock3D",) * 4,
}
MOCHI = {
    "encoder_block_out_channels": (32, 32, 32, 64),
    "decoder_block_out_channels": (32, 32, 32, 64),
    "layers_per_block": (1, 1, 2, 1, 1),
    "latent_channels": 4,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "wan": ("AutoencoderKLWan", WAN),
    "wan 2.2": ("AutoencoderKLWan", WAN_RESIDUAL),
    "hunyuanvideo": ("AutoencoderKLHunyuanVideo", HUNYUAN),
    "ltx-video": ("AutoencoderKLLTXVideo", LTX),
    "ltx-video 0.9.1": ("AutoencoderKLLTXVideo", LTX_TIMED),
    "ltx-video 0.9.5": ("AutoencoderKLLTXVideo", LTX_NEWER),
    "cogvideox": ("AutoencoderKLCogVideoX", COG),
    "mochi": ("AutoencoderKLMochi", MOCHI),
}


def read(config: dict[str, Any]) -> Any:
    """The structure that the configuration's own file would give."""
    kinds = {kind.__struct_config__.tag: kind for kind in Vae.__args__}
    kind = kinds[config["_class_name"]]
    wanted = {"_class_name", *kind.__struct_fields__}
    return msgspec.convert(_exact({key: value for key, value in config.items() if key in wanted}), kind)


@pytest.mark.parametrize("name", MODELS)
def test_decoding_agrees_with_the_counter_and_gives_the_frames_that_are_billed(name: str) -> None:
    kind, entries = MODELS[name]
    model, config = diffusion(kind, **entries)
    vae = read(config)
    time = {"temb": ones(1) * 0.05} if config.get("timestep_conditioning") else {}
    for latent in (1, 2, 3, 4, 5, 7):
        film = noise(1, 4, latent, HEIGHT, WIDTH)
        flop, decoded = counted(partial(model.decode, film, **time))
        assert vae.decode(latent).total.at(HEIGHT * WIDTH) == flop, latent
        assert decoded.sample.shape[2] == vae.frames(latent)
        assert decoded.sample.shape[3] == HEIGHT * vae.strides[1]
        assert vae.latent_frames(vae.frames(latent)) == latent
    assert vae.decode(1).weights + vae.encode(1).weights == parameters(model)


@pytest.mark.parametrize("name", ["wan", "wan 2.2"])
def test_encoding_a_picture_agrees_with_the_counter(name: str) -> None:
    kind, entries = MODELS[name]
    model, config = diffusion(kind, **entries)
    vae = read(config)
    for latent in (1, 2, 4):
        film = noise(1, 3, vae.frames(latent), HEIGHT * vae.strides[1], WIDTH * vae.strides[1])
        flop, encoded = counted(partial(model.encode, film))
        assert vae.encode(latent).total.at(HEIGHT * WIDTH) == flop, latent
        assert tuple(encoded.latent_dist.mode().shape[2:]) == (latent, HEIGHT, WIDTH)
