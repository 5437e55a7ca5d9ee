"""Wan's closed forms."""

from typing import Any

import msgspec
import pytest

from taximeter.meters.diffusion.algebra import Poly
from taximeter.meters.diffusion.text_encoders import Umt5
from taximeter.meters.diffusion.wan import WanTransformer, WanVae

A14B = WanTransformer(num_attention_heads=40, attention_head_dim=128, num_layers=40, ffn_dim=13824, in_channels=16, out_channels=16)
TI2V_5B = WanTransformer(num_attention_heads=24, attention_head_dim=128, num_layers=30, ffn_dim=14336, in_channels=48, out_channels=48)
UMT5 = Umt5(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, vocab_size=256384, feed_forward_proj="gated-gelu")
VAE = WanVae(base_dim=96, z_dim=16)
VAE_2 = WanVae(
    base_dim=160,
    decoder_base_dim=256,
    z_dim=48,
    is_residual=True,
    in_channels=12,
    out_channels=12,
    patch_size=2,
    scale_factor_spatial=16,
)


def test_a_pass_is_the_vectors_polynomial(vectors: dict[str, Any]) -> None:
    wan = vectors["wan"]
    assert A14B.load(512, time_per_token=True).total == Poly(*wan["a14b_native"])
    assert A14B.load(512, time_per_token=False).total == Poly(*wan["a14b_diffusers"])
    assert TI2V_5B.load(512, time_per_token=True).total == Poly(*wan["ti2v5b"])
    assert UMT5.load(512).total == Poly(constant=wan["t5_pass"])


def test_the_parameters_are_those_of_the_published_models() -> None:
    assert A14B.load(512, time_per_token=True).weights == 14_288_491_584
    assert TI2V_5B.load(512, time_per_token=True).weights == 4_999_787_712
    assert UMT5.load(512).weights == 5_680_910_336


def test_a_picture_adds_channels_to_the_first_layer_alone() -> None:
    pictured = msgspec.structs.replace(A14B, in_channels=36)
    difference = pictured.load(512, time_per_token=True).total.at(1000) - A14B.load(512, time_per_token=True).total.at(1000)
    assert difference == 2 * 20 * 4 * 5120 * 1000


@pytest.mark.parametrize("latent", [1, 2, 5, 21, 31])
def test_decoding_is_the_closed_form(latent: int) -> None:
    assert VAE.decode(latent).total == Poly(1536 * latent, 2_161_889_792 * latent - 1_474_007_040)
    assert VAE_2.decode(latent).total == Poly(4096 * latent, 18_835_608_064 * latent - 13_004_832_768)


@pytest.mark.parametrize(
    "entry",
    [
        {"dim_mult": []},
        {"dim_mult": [1, 2]},
        {"temperal_downsample": [True]},
        {"scale_factor_spatial": 16},
        {"scale_factor_temporal": 8},
        {"base_dim": 0},
        {"z_dim": 10**9},
        {"attn_scales": [1]},
        {"unheard_of": 1},
    ],
)
def test_an_autoencoder_that_cannot_be_built_is_refused(entry: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"_class_name": "AutoencoderKLWan", "base_dim": 96, "z_dim": 16, **entry}, WanVae)
