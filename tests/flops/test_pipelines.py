"""Whole pipelines, text to film: every operation, the passes of each expert and the frames are as the meter says."""

import importlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from taximeter.meters import get
from taximeter.meters.diffusion import draft
from tests.support.flops import counted, diffusion, text_encoder, tokenizer

METER = get("video.dit/2")
T5: dict[str, Any] = {"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 8, "feed_forward_proj": "gated-gelu"}
T5 |= {"pad_token_id": 0, "eos_token_id": 1}
WAN = {"num_attention_heads": 2, "attention_head_dim": 12, "num_layers": 2, "ffn_dim": 32, "in_channels": 4, "out_channels": 4, "text_dim": 16}
VAE: dict[str, Any] = {"base_dim": 4, "z_dim": 4, "num_res_blocks": 1, "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}
RESIDUAL = {"decoder_base_dim": 4, "is_residual": True, "in_channels": 12, "out_channels": 12, "patch_size": 2, "scale_factor_spatial": 16}


def scheduler(name: str, **entries: object) -> tuple[Any, dict[str, Any]]:
    made = getattr(importlib.import_module("diffusers"), name)(**entries)
    return made, {"_class_name": name, **entries}


def pipeline(name: str, parts: Mapping[str, Any], **settings: object) -> Any:
    library: Any = importlib.import_module("diffusers")
    made = getattr(library, name)(**parts, **settings)
    made.set_progress_bar_config(disable=True)
    return made


def count_calls(**models: Any) -> Counter[str]:
    """Passes of each transformer from now on, a batch of two counting twice."""
    calls: Counter[str] = Counter()
    for name, model in models.items():

        def note(_: object, positional: tuple[Any, ...], named: Mapping[str, Any], name: str = name) -> None:
            film = named["hidden_states"] if "hidden_states" in named else positional[0]
            calls[name] += len(film)

        model.register_forward_pre_hook(note, with_kwargs=True)
    return calls


def wan(picture: str, *, experts: bool) -> tuple[Any, dict[str, Any], Counter[str]]:
    """A small Wan pipeline, the files it would be saved as, and the calls that its experts get."""
    channels = 12 if picture == "film" else 4
    high, high_config = diffusion("WanTransformer3DModel", **{**WAN, "in_channels": channels})
    low, low_config = diffusion("WanTransformer3DModel", **{**WAN, "in_channels": channels, "num_layers": 1})
    vae, vae_config = diffusion("AutoencoderKLWan", **VAE, **(RESIDUAL if picture == "frame" else {}))
    steps, steps_config = scheduler("UniPCMultistepScheduler", use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0)
    encoder, encoder_config = text_encoder("UMT5EncoderModel", "UMT5Config", **T5)
    index = {"boundary_ratio": 0.875 if experts else None, "expand_timesteps": picture == "frame"}
    parts = {"transformer": high, "vae": vae, "scheduler": steps, "text_encoder": encoder, "tokenizer": tokenizer(512)}
    files = {
        "model_index.json": index,
        "transformer/config.json": high_config,
        "vae/config.json": vae_config,
        "scheduler/scheduler_config.json": steps_config,
        "text_encoder/config.json": encoder_config,
    }
    calls = count_calls(high=high, low=low) if experts else count_calls(high=high)
    if experts:
        parts["transformer_2"], files["transformer_2/config.json"] = low, low_config
    made = pipeline("WanPipeline" if picture == "none" else "WanImageToVideoPipeline", parts, **index)
    return made, files, calls


def expected(files: dict[str, Any], size: tuple[int, int], **request: object) -> tuple[Mapping[str, int], dict[str, Any], Mapping[str, Any]]:
    """The estimate for a film of the model in these files, as the engine would be asked for it."""
    found = draft(files)
    assert found is not None
    width, height = size
    profile = {**found.profile, "sizes": [f"{width}x{height}"], "default_size": f"{width}x{height}"}
    estimate = METER.estimate({"prompt": "a fox walks", **request}, profile)
    return estimate.maximum, estimate.request, profile


def settled(profile: Mapping[str, Any], request: dict[str, Any], report: dict[str, int]) -> Mapping[str, int]:
    estimate = METER.estimate({"prompt": "a fox walks", **request}, profile)
    return METER.actual(report, estimate, profile)


@pytest.mark.parametrize(("steps", "guidance"), [(4, 1.0), (8, 5.0), (5, 5.0)])
def test_wan_with_two_experts_does_what_was_estimated(steps: int, guidance: float) -> None:
    made, files, calls = wan("none", experts=True)
    work, request, profile = expected(files, (32, 48), frames=6, steps=steps, guidance=guidance)
    run = {"height": 48, "width": 32, "num_frames": 6, "num_inference_steps": steps, "guidance_scale": guidance, "output_type": "pt"}
    flop, result = counted(lambda: made(prompt="a fox walks", **run))
    assert flop == work["linear_flop"] + work["attention_flop"]
    assert (calls["high"], calls["low"]) == (work["high_passes"], work["low_passes"])
    assert min(calls.values()) > 0
    assert result.frames.shape[1] == work["frames"] == request["frames"] == 5
    report = {"passes": calls.total(), "high_passes": calls["high"], "low_passes": calls["low"], "frames": result.frames.shape[1]}
    assert settled(profile, {"frames": 6, "steps": steps, "guidance": guidance}, report) == work


def test_a_run_that_is_stopped_half_way_is_settled_by_the_passes_it_made() -> None:
    made, files, calls = wan("none", experts=True)
    steps, made_steps = 8, 5

    def stop(_: object, step: int, __: object, kept: dict[str, Any]) -> dict[str, Any]:
        made._interrupt = step + 1 >= made_steps
        return kept

    run = {"height": 48, "width": 32, "num_frames": 9, "num_inference_steps": steps, "guidance_scale": 5.0, "output_type": "pt"}
    flop, result = counted(lambda: made(prompt="a fox walks", callback_on_step_end=stop, **run))
    _, _, profile = expected(files, (32, 48), frames=9, steps=steps)
    work = settled(profile, {"frames": 9, "steps": steps, "guidance": True}, {"passes": calls.total(), "frames": result.frames.shape[1]})
    assert calls.total() == 2 * made_steps
    assert work["linear_flop"] + work["attention_flop"] == flop
    assert (work["high_passes"], work["low_passes"]) == (calls["high"], calls["low"])


@pytest.mark.parametrize("picture", ["film", "frame"])
def test_wan_with_a_picture_does_what_was_estimated(picture: str) -> None:
    pillow: Any = importlib.import_module("PIL.Image")
    made, files, calls = wan(picture, experts=picture == "film")
    side = (64, 64)
    work, _, _ = expected(files, side, frames=5, steps=3, guidance=5, input_reference="fox.png")
    image = pillow.new("RGB", side, (120, 40, 200))
    run = {"height": 64, "width": 64, "num_frames": 5, "num_inference_steps": 3, "guidance_scale": 5.0, "output_type": "pt"}
    flop, result = counted(lambda: made(prompt="a fox walks", image=image, **run))
    assert flop == work["linear_flop"] + work["attention_flop"]
    assert calls.total() == work["passes"]
    assert result.frames.shape[1] == work["frames"]


def test_ltx_video_does_what_was_estimated() -> None:
    entries = {"in_channels": 4, "out_channels": 4, "num_attention_heads": 2, "attention_head_dim": 8, "cross_attention_dim": 16}
    transformer, transformer_config = diffusion("LTXVideoTransformer3DModel", **entries, num_layers=1, caption_channels=16)
    channels = {"block_out_channels": (4, 4, 8, 8), "decoder_block_out_channels": (4, 4, 8, 8), "latent_channels": 4}
    layers = {"layers_per_block": (1, 1, 1, 1, 1), "decoder_layers_per_block": (1, 1, 1, 1, 1)}
    vae, vae_config = diffusion("AutoencoderKLLTXVideo", **channels, **layers)
    steps, steps_config = scheduler("FlowMatchEulerDiscreteScheduler")
    encoder, encoder_config = text_encoder("T5EncoderModel", "T5Config", **T5)
    files = {"transformer/config.json": transformer_config, "vae/config.json": vae_config, "text_encoder/config.json": encoder_config}
    files["scheduler/scheduler_config.json"] = steps_config
    parts = {"transformer": transformer, "vae": vae, "scheduler": steps, "text_encoder": encoder, "tokenizer": tokenizer(128)}
    made, calls = pipeline("LTXPipeline", parts), count_calls(high=transformer)
    work, _, _ = expected(files, (64, 32), frames=20, steps=2, guidance=3)
    run = {"height": 32, "width": 64, "num_frames": 20, "num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "pt"}
    flop, result = counted(lambda: made(prompt="a fox walks", **run))
    assert flop == work["linear_flop"] + work["attention_flop"]
    assert calls["high"] == work["passes"] == 4
    assert result.frames.shape[1] == work["frames"] == 17


@pytest.mark.parametrize(("asked", "made_frames"), [(9, 9), (13, 16)])
def test_cogvideox_does_what_was_estimated(asked: int, made_frames: int) -> None:
    entries: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "in_channels": 4, "out_channels": 4}
    entries |= {"time_embed_dim": 6, "text_embed_dim": 16, "sample_width": 4, "sample_height": 4, "use_rotary_positional_embeddings": True}
    transformer, transformer_config = diffusion("CogVideoXTransformer3DModel", **entries)
    blocks = {"block_out_channels": (4, 8, 8, 8), "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 4}
    vae, vae_config = diffusion("AutoencoderKLCogVideoX", **blocks, down_block_types=("CogVideoXDownBlock3D",) * 4)
    steps, steps_config = scheduler("CogVideoXDDIMScheduler")
    encoder, encoder_config = text_encoder("T5EncoderModel", "T5Config", **T5)
    files = {"transformer/config.json": transformer_config, "vae/config.json": vae_config, "text_encoder/config.json": encoder_config}
    files["scheduler/scheduler_config.json"] = steps_config
    parts = {"transformer": transformer, "vae": vae, "scheduler": steps, "text_encoder": encoder, "tokenizer": tokenizer(226)}
    made, calls = pipeline("CogVideoXPipeline", parts), count_calls(high=transformer)
    work, _, _ = expected(files, (32, 48), frames=asked, steps=2, guidance=6)
    run = {"height": 48, "width": 32, "num_frames": asked, "num_inference_steps": 2, "guidance_scale": 6.0, "output_type": "pt"}
    flop, result = counted(lambda: made(prompt="a fox walks", **run))
    assert flop == work["linear_flop"] + work["attention_flop"]
    assert calls["high"] == work["passes"] == 4
    assert result.frames.shape[1] == work["frames"] == made_frames


def test_hunyuanvideo_does_what_was_estimated() -> None:
    entries: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_single_layers": 1, "num_refiner_layers": 1}
    entries |= {"in_channels": 4, "out_channels": 4, "text_embed_dim": 16, "pooled_projection_dim": 8, "rope_axes_dim": (2, 2, 4)}
    transformer, transformer_config = diffusion("HunyuanVideoTransformer3DModel", **entries)
    blocks = {"block_out_channels": (4, 4, 8, 8), "layers_per_block": 1, "norm_num_groups": 2, "latent_channels": 4}
    vae, vae_config = diffusion("AutoencoderKLHunyuanVideo", **blocks)
    steps, steps_config = scheduler("FlowMatchEulerDiscreteScheduler", shift=7.0)
    special = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 0}
    sizes = {"intermediate_size": 24, "num_attention_heads": 2, "vocab_size": 8, **special}
    # The pipeline reads the third layer from the end.
    llama, llama_config = text_encoder("LlamaModel", "LlamaConfig", hidden_size=16, num_hidden_layers=3, **sizes)
    clip, clip_config = text_encoder("CLIPTextModel", "CLIPTextConfig", hidden_size=8, num_hidden_layers=1, max_position_embeddings=77, **sizes)
    files = {"transformer/config.json": transformer_config, "vae/config.json": vae_config, "scheduler/scheduler_config.json": steps_config}
    files |= {"text_encoder/config.json": llama_config, "text_encoder_2/config.json": clip_config}
    parts = {"transformer": transformer, "vae": vae, "scheduler": steps, "text_encoder": llama, "tokenizer": tokenizer(351)}
    made = pipeline("HunyuanVideoPipeline", {**parts, "text_encoder_2": clip, "tokenizer_2": tokenizer(77)})
    calls = count_calls(high=transformer)
    work, _, _ = expected(files, (32, 48), frames=24, steps=3, guidance=6)
    run = {"height": 48, "width": 32, "num_frames": 24, "num_inference_steps": 3, "guidance_scale": 6.0, "output_type": "pt"}
    flop, result = counted(lambda: made(prompt="a fox walks", **run))
    assert flop == work["linear_flop"] + work["attention_flop"]
    assert calls["high"] == work["passes"] == 3
    assert result.frames.shape[1] == work["frames"] == 21


@pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning")
def test_mochi_does_what_was_estimated_when_the_prompt_is_full_and_less_when_it_is_short() -> None:
    entries: dict[str, Any] = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 2, "pooled_projection_dim": 12, "in_channels": 12}
    transformer, transformer_config = diffusion("MochiTransformer3DModel", **entries, text_embed_dim=16, time_embed_dim=6)
    blocks = {"encoder_block_out_channels": (32,) * 4, "decoder_block_out_channels": (32,) * 4, "layers_per_block": (1,) * 5}
    vae, vae_config = diffusion("AutoencoderKLMochi", **blocks, latent_channels=12)
    steps, steps_config = scheduler("FlowMatchEulerDiscreteScheduler", invert_sigmas=True)
    encoder, encoder_config = text_encoder("T5EncoderModel", "T5Config", **T5)
    files = {"transformer/config.json": transformer_config, "vae/config.json": vae_config, "text_encoder/config.json": encoder_config}
    files["scheduler/scheduler_config.json"] = steps_config
    parts = {"transformer": transformer, "vae": vae, "scheduler": steps, "text_encoder": encoder, "tokenizer": tokenizer(256)}
    made, calls = pipeline("MochiPipeline", parts), count_calls(high=transformer)
    work, _, _ = expected(files, (32, 48), frames=15, steps=2, guidance=False)
    run = {"height": 48, "width": 32, "num_frames": 15, "num_inference_steps": 2, "guidance_scale": 1.0, "output_type": "pt"}
    flop, result = counted(lambda: made(prompt="fox " * 256, **run))
    assert flop == work["linear_flop"] + work["attention_flop"]
    assert calls["high"] == work["passes"] == 2
    assert result.frames.shape[1] == work["frames"] == 13
    shorter, _ = counted(lambda: made(prompt="a fox walks", **run))
    assert flop - work["attention_flop"] < shorter < flop
