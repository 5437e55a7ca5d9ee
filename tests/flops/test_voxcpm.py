"""VoxCPM's closed forms against PyTorch's FLOP counter, on the package's own classes with random weights, at sizes that fit a test."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from taximeter.meters import voxcpm
from taximeter.meters.solver import evaluations
from taximeter.meters.voxcpm_audio import decode_flop, decoder_weights
from taximeter.meters.voxcpm_config import VoxConfig, read_config
from tests.support.voxcpm_models import loop_operations, model_of, numbers, operations, package, torch

# The package uses parts of PyTorch that are about to go.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch().jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:`torch().nn.utils.weight_norm. is deprecated:FutureWarning"),
]

LM = {
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_size": 32,
    "intermediate_size": 80,
    "max_position_embeddings": 256,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "rope_scaling": {"type": "longrope", "long_factor": [1.0] * 4, "short_factor": [1.0] * 4, "original_max_position_embeddings": 256},
    "vocab_size": 200,
    "use_mup": False,
    "scale_emb": 1.0,
    "dim_model_base": 16,
    "scale_depth": 1.4,
    "rope_theta": 10000.0,
}
LOCAL = {"hidden_dim": 24, "ffn_dim": 40, "num_heads": 4, "num_layers": 2, "kv_channels": 8}
FIRST: dict[str, Any] = {
    "architecture": "voxcpm",
    "lm_config": LM,
    "patch_size": 2,
    "feat_dim": 6,
    "residual_lm_num_layers": 2,
    "scalar_quantization_latent_dim": 12,
    "encoder_config": LOCAL,
    "dit_config": {**LOCAL, "num_layers": 3, "cfm_config": {}},
    "audio_vae_config": {"encoder_dim": 4, "encoder_rates": [2, 3], "latent_dim": 6, "decoder_dim": 16, "decoder_rates": [3, 2], "sample_rate": 600},
    "max_length": 128,
    "device": "cpu",
    "dtype": "float32",
}
SECOND: dict[str, Any] = {
    **FIRST,
    "architecture": "voxcpm2",
    "patch_size": 4,
    "residual_lm_no_rope": True,
    "audio_vae_config": {**FIRST["audio_vae_config"], "decoder_rates": [3, 2, 2], "out_sample_rate": 1200},
    "max_length": 96,
}
CONFIGS = {"first": FIRST, "second": SECOND}


@pytest.fixture(scope="module", autouse=True)
def bare_package() -> Iterator[None]:
    with package():
        yield


@pytest.fixture(scope="module", params=CONFIGS)
def made(request: pytest.FixtureRequest) -> tuple[Any, VoxConfig]:
    content = CONFIGS[request.param]
    return model_of(content), read_config(content)


@pytest.mark.parametrize("timesteps", [2, 10])
def test_a_decode_step_is_counted_to_the_last_operation(made: tuple[Any, VoxConfig], timesteps: int) -> None:
    model, config = made
    parts = voxcpm.step_flop(config)
    asked = [loop_operations(model, 5, steps, timesteps) for steps in (2, 4)]
    assert asked[1] - asked[0] == 2 * (parts.step(evaluations(timesteps)) - parts.audio)


def test_the_positions_before_the_first_step_are_counted_to_the_last_operation(made: tuple[Any, VoxConfig]) -> None:
    model, config = made
    parts = voxcpm.step_flop(config)
    for positions in (3, 8):
        attention = sum(4 * positions**2 * stack.heads * stack.head_dim * stack.layers for stack in (config.base, config.residual))
        steps = 2 * (parts.step(evaluations(2)) - parts.audio)
        assert loop_operations(model, positions, 2, 2) == positions * voxcpm.prefill_flop(config) + attention + steps


def test_the_audio_decoder_costs_the_same_for_every_latent(made: tuple[Any, VoxConfig]) -> None:
    model, config = made
    for latents in (1, 4, 9):
        found = operations(partial(model.audio_vae.decode, torch().randn(1, config.feat_dim, latents)))
        assert found == latents * decode_flop(config.audio)


@pytest.mark.parametrize("changes", [{"depthwise": False}, {"use_noise_block": True}])
def test_other_audio_decoders_are_counted_too(changes: dict[str, bool]) -> None:
    content = {**FIRST, "audio_vae_config": {**FIRST["audio_vae_config"], **changes}}
    model, config = model_of(content), read_config(content)
    assert operations(lambda: model.audio_vae.decode(torch().randn(1, 6, 5))) == 5 * decode_flop(config.audio)
    assert sum(weight.numel() for weight in model.audio_vae.decoder.parameters()) == decoder_weights(config.audio)


def test_every_weight_that_a_step_reads_is_counted(made: tuple[Any, VoxConfig]) -> None:
    model, config = made
    parts = voxcpm.weight_bytes(config)
    embedding = numbers(model.base_lm.embed_tokens)
    projections = [model.fsq_layer, model.enc_to_lm_proj, model.lm_to_dit_proj, model.res_to_dit_proj, model.stop_proj, model.stop_head]
    if config.second:
        projections.append(model.fusion_concat_proj)
    # The mark that the encoder puts before a patch is a row of its own.
    assert parts.encoder == 2 * numbers(model.feat_encoder)
    assert parts.solver == 2 * numbers(model.feat_decoder)
    assert (parts.base, parts.residual) == (2 * (numbers(model.base_lm) - embedding), 2 * numbers(model.residual_lm))
    assert parts.projections == 2 * numbers(*projections)
    assert parts.audio == 4 * numbers(model.audio_vae.decoder)
    everything = numbers(model) - numbers(model.audio_vae)
    assert voxcpm.resident_bytes(config) == 2 * everything + parts.audio
    cache = sum(lm.kv_cache.kv_cache.numel() for lm in (model.base_lm, model.residual_lm))
    assert voxcpm.cache_bytes(config) == 2 * cache


def test_the_loop_keeps_the_bounds_that_the_meter_holds_for(made: tuple[Any, VoxConfig]) -> None:
    model, _ = made
    calls: list[int] = []
    handle = model.feat_decoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        for text in ("ab", "abcde"):
            calls.clear()
            # A voice that never stops is taken for a bad case, three times over, and the third attempt is delivered.
            with torch().no_grad():
                model.stop_head.weight.zero_()
            list(model._generate_with_prompt_cache(text, None, retry_badcase=True, max_len=4096, inference_timesteps=2))
            assert len(calls) == 3 * (6 * len(text) + 10)
        calls.clear()
        with torch().no_grad():
            model.stop_head.weight.copy_(torch().stack([torch().full((32,), -1.0), torch().full((32,), 1.0)]))
            model.stop_proj.weight.zero_()
            model.stop_proj.bias.fill_(1.0)
        list(model._generate_with_prompt_cache("abcdefghij", None, retry_badcase=True, max_len=4096, inference_timesteps=2))
        # Told to stop at once, it makes four steps all the same.
        assert len(calls) == 4
    finally:
        handle.remove()


def test_the_solver_is_asked_as_often_as_the_meter_says(made: tuple[Any, VoxConfig]) -> None:
    model, _ = made
    calls: list[int] = []
    handle = model.feat_decoder.estimator.register_forward_hook(lambda *_: calls.append(1))
    try:
        for timesteps in (2, 24, 50):
            calls.clear()
            loop_operations(model, 3, 1, timesteps)
            assert len(calls) == evaluations(timesteps)
    finally:
        handle.remove()
