"""One pass of every transformer: the counted operations and the parameters are those of the real class, exactly."""

from typing import Any

import msgspec
import pytest

from taximeter.meters.diffusion.drafts import _exact
from taximeter.meters.diffusion.pipeline import Transformer
from tests.support.flops import counted, diffusion, noise, ones, parameters

TEXT = 5
SHAPES = [(1, 4, 4), (2, 4, 6), (3, 6, 8)]
WAN = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 40, "in_channels": 4, "out_channels": 4, "text_dim": 20}
HUNYUAN = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "num_single_layers": 3,
    "num_refiner_layers": 1,
    "in_channels": 4,
    "out_channels": 4,
    "text_embed_dim": 24,
    "pooled_projection_dim": 12,
    "rope_axes_dim": (2, 2, 4),
}
LTX = {
    "in_channels": 4,
    "out_channels": 4,
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "cross_attention_dim": 16,
    "num_layers": 2,
    "caption_channels": 12,
}
COG = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 2,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": 6,
    "text_embed_dim": 12,
    "max_text_seq_length": TEXT,
    "use_rotary_positional_embeddings": True,
}
MOCHI = {
    "num_attention_heads": 2,
    "attention_head_dim": 8,
    "num_layers": 3,
    "pooled_projection_dim": 12,
    "in_channels": 4,
    "text_embed_dim": 16,
    "time_embed_dim": 6,
}


def read(config: dict[str, Any]) -> Any:
    """The structure that the configuration's own file would give."""
    kinds = {kind.__struct_config__.tag: kind for kind in Transformer.__args__}
    kind = kinds[config["_class_name"]]
    wanted = {"_class_name", *kind.__struct_fields__}
    return msgspec.convert(_exact({key: value for key, value in config.items() if key in wanted}), kind)


def agree(model: Any, config: dict[str, Any], tokens: int, run: Any, *, time_per_token: bool = False) -> None:
    load = read(config).load(TEXT, time_per_token=time_per_token)
    flop, _ = counted(run)
    assert load.total.at(tokens) == flop
    assert load.weights == parameters(model)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("channels", [4, 9])
def test_wan_agrees_with_the_counter(shape: tuple[int, int, int], per_token: bool, channels: int) -> None:  # noqa: FBT001 - a parameter of the test
    model, config = diffusion("WanTransformer3DModel", **{**WAN, "in_channels": channels})
    frames, height, width = shape
    tokens = frames * height * width // 4
    time = ones(1, tokens) if per_token else ones(1)
    film, text = noise(1, channels, *shape), noise(1, TEXT, 20)
    agree(model, config, tokens, lambda: model(film, time, text), time_per_token=per_token)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("guided", [False, True])
def test_hunyuanvideo_agrees_with_the_counter(shape: tuple[int, int, int], guided: bool) -> None:  # noqa: FBT001 - a parameter of the test
    model, config = diffusion("HunyuanVideoTransformer3DModel", **HUNYUAN, guidance_embeds=guided)
    film, text, pooled = noise(1, 4, *shape), noise(1, TEXT, 24), noise(1, 12)
    guidance = ones(1) * 6000 if guided else None
    agree(model, config, shape[0] * shape[1] * shape[2] // 4, lambda: model(film, ones(1), text, ones(1, TEXT), pooled, guidance))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("per_token", [False, True])
def test_ltx_video_agrees_with_the_counter(shape: tuple[int, int, int], per_token: bool) -> None:  # noqa: FBT001 - a parameter of the test
    model, config = diffusion("LTXVideoTransformer3DModel", **LTX)
    tokens = shape[0] * shape[1] * shape[2]
    time = ones(1, tokens) if per_token else ones(1)
    agree(model, config, tokens, lambda: model(noise(1, tokens, 4), noise(1, TEXT, 12), time, ones(1, TEXT), *shape), time_per_token=per_token)


@pytest.mark.parametrize("shape", SHAPES)
def test_cogvideox_agrees_with_the_counter(shape: tuple[int, int, int]) -> None:
    model, config = diffusion("CogVideoXTransformer3DModel", **COG)
    frames, height, width = shape
    film, text = noise(1, frames, 4, height, width), noise(1, TEXT, 12)
    agree(model, config, frames * height * width // 4, lambda: model(film, text, ones(1)))


@pytest.mark.parametrize("frames", [2, 4])
def test_cogvideox_with_patches_in_time_agrees_with_the_counter(frames: int) -> None:
    model, config = diffusion("CogVideoXTransformer3DModel", **COG, patch_size_t=2)
    film, text = noise(1, frames, 4, 4, 6), noise(1, TEXT, 12)
    agree(model, config, frames // 2 * 6, lambda: model(film, text, ones(1)))


@pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")
@pytest.mark.parametrize("shape", SHAPES)
def test_mochi_agrees_with_the_counter(shape: tuple[int, int, int]) -> None:
    model, config = diffusion("MochiTransformer3DModel", **MOCHI)
    film, text, mask = noise(1, 4, *shape), noise(1, TEXT, 16), ones(1, TEXT).bool()
    agree(model, config, shape[0] * shape[1] * shape[2] // 4, lambda: model(film, text, ones(1), mask))
