"""What a step of VoxCPM asks of a GPU, part by part, from the model's own ``config.json`` (0.5B, 1.5 and 2).

A step is one turn of the decode loop: the solver makes a patch of latents (each evaluation of the local transformer runs
twice, with and without the text, for guidance), the local encoder reads the patch, the two language models take a step
each, and at the end the audio decoder turns the patch into samples.  Both language models attend over their whole static
cache, so every step costs the same wherever it stands.  Two operations stand for one multiply-add.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import msgspec

from taximeter.meters.draft import Cost, Draft, Files
from taximeter.meters.errors import BadProfile
from taximeter.meters.solver import evaluations
from taximeter.meters.voxcpm_audio import AudioConfig, decode_flop, decoder_weights
from taximeter.meters.voxcpm_config import FILE, Stack, VoxConfig, read_config

ARCHITECTURES = ("voxcpm", "voxcpm2")
TIMESTEPS = 10
# Guidance evaluates the solver with and without the text.
GUIDANCE_BATCH = 2
# Language models and local transformers run in 16 bits, the audio decoder in 32.
BYTES, AUDIO_BYTES = 2, 4


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """One number for each part of a step: operations, or bytes of weights.

    Attributes:
        solver: one evaluation of the solver.
        encoder: the local encoder reading a patch.
        base: the base language model.
        residual: the residual language model.
        projections: what lies between them, and the stop head.
        audio: the audio decoder making the patch's samples.
    """

    solver: int
    encoder: int
    base: int
    residual: int
    projections: int
    audio: int

    def step(self, solver_evaluations: int) -> int:
        """A whole step with this many evaluations."""
        return self.solver * solver_evaluations + self.encoder + self.base + self.residual + self.projections + self.audio


def step_flop(config: VoxConfig) -> Parts:
    """Operations of one step, batch 1."""
    dit, patch = config.dit, config.patch_size
    # Both embeddings of time and step length: two layers each.
    times = 4 * 2 * dit.hidden**2
    ends = 3 * 2 * config.feat_dim * dit.hidden * patch
    return Parts(
        solver=GUIDANCE_BATCH * (times + ends + _forward(dit, config.dit_positions, config.dit_positions)),
        encoder=2 * config.feat_dim * config.encoder.hidden * patch + _forward(config.encoder, patch + 1, patch + 1),
        base=_forward(config.base, 1, config.max_length),
        residual=_forward(config.residual, 1, config.max_length),
        projections=2 * _projection_weights(config),
        audio=decode_flop(config.audio) * patch,
    )


def attention_flop(config: VoxConfig) -> Parts:
    """The part of ``step_flop`` that is scores and values."""
    own, local = config.dit_positions, config.patch_size + 1
    return Parts(
        solver=GUIDANCE_BATCH * _attention(config.dit, own, own),
        encoder=_attention(config.encoder, local, local),
        base=_attention(config.base, 1, config.max_length),
        residual=_attention(config.residual, 1, config.max_length),
        projections=0,
        audio=0,
    )


def weight_bytes(config: VoxConfig) -> Parts:
    """Bytes of weights that one step reads from memory, batch 1 (of the embedding it reads a row or none: left out)."""
    dit, feat = config.dit, config.feat_dim
    ends = 3 * feat * dit.hidden + 2 * dit.hidden + feat
    times = 4 * (dit.hidden**2 + dit.hidden)
    encoder = feat * config.encoder.hidden + 2 * config.encoder.hidden
    return Parts(
        solver=BYTES * (_weights(dit) + ends + times),
        encoder=BYTES * (_weights(config.encoder) + encoder),
        base=BYTES * _weights(config.base),
        residual=BYTES * _weights(config.residual),
        projections=BYTES * (_projection_weights(config) + _projection_biases(config)),
        audio=AUDIO_BYTES * decoder_weights(config.audio),
    )


def cache_bytes(config: VoxConfig) -> int:
    """Bytes of keys and values that one step reads: both language models' whole caches."""
    return sum(BYTES * 2 * stack.layers * stack.kv_heads * stack.head_dim * config.max_length for stack in (config.base, config.residual))


def prefill_flop(config: VoxConfig) -> int:
    """Operations of one position that is read before the first step, without the attention, which grows with the others."""
    return (
        2 * config.base.linear_weights * config.base.layers
        + 2 * config.residual.linear_weights * config.residual.layers
        + step_flop(config).encoder
        + 2 * (config.encoder.hidden * config.base.hidden + _quantizer_weights(config) + _fusion_weights(config))
    )


def resident_bytes(config: VoxConfig) -> int:
    """Memory of all weights, without the audio encoder."""
    once = weight_bytes(config)
    return once.step(1) + BYTES * config.vocabulary * config.base.hidden


def draft(files: Files) -> Draft | None:
    """A VoxCPM model as its ``config.json`` describes it; None when it is another family's.

    Raises BadProfile naming the file's entry that is missing or makes no sense.
    """
    content = files.get(FILE)
    if content is None or not _is_ours(content):
        return None
    config = read_config(content)
    flop, attention, moved = step_flop(config), attention_flop(config), weight_bytes(config)
    rest = ("encoder", "base", "residual", "projections")
    step = sum(getattr(flop, part) for part in rest)
    scores = sum(getattr(attention, part) for part in rest)
    prefill = prefill_flop(config)
    count = evaluations(TIMESTEPS)
    return Draft(
        family="VoxCPM2" if config.second else "VoxCPM",
        modality="speech",
        meter="speech.steps/2",
        profile=_profile(config),
        costs=(
            Cost(quantity="prefill_positions", label="Reading the text", linear_flop=prefill),
            Cost(quantity="prompt_audio_positions", label="Reading the voice's example", linear_flop=prefill),
            Cost(
                quantity="decode_steps",
                label="Decode steps",
                linear_flop=step - scores,
                attention_flop=scores,
                bytes_moved=sum(getattr(moved, part) for part in rest) + cache_bytes(config),
            ),
            Cost(
                quantity="solver_evaluations",
                label="Solver",
                linear_flop=flop.solver - attention.solver,
                attention_flop=attention.solver,
                bytes_moved=moved.solver,
            ),
            Cost(quantity="vae_steps", label="Making the sound", linear_flop=flop.audio, bytes_moved=moved.audio),
        ),
        unpriced=("characters", "retried_steps", "retried_positions", "article_steps", "steps_per_100_s"),
        resident_bytes=resident_bytes(config),
        assumptions=(
            f"{TIMESTEPS} solver steps, which are {count} evaluations in a decode step, each with guidance (batch 2).",
            "One request at a time: weights are read from memory once for each step, and the audio decoder's once for each patch.",
            "Weights in 16 bits, the audio decoder's in 32.",
            "Starting kernels costs nothing; in eager PyTorch it costs more than all the rest, so measure before you sell.",
            "The voices are not in the files: the draft has one, default, without an example to imitate.",
            "Attempts that the engine discards are not billed.",
        ),
    )


def _is_ours(content: Mapping[str, Any]) -> bool:
    architecture = content.get("architecture", "voxcpm")
    return architecture in ARCHITECTURES and {"lm_config", "dit_config", "patch_size"} <= content.keys()


def _profile(config: VoxConfig) -> dict[str, Any]:
    audio: AudioConfig = config.audio
    made: dict[str, Any] = {
        "voices": ["default"],
        "patch_size": config.patch_size,
        "sample_rate_hz": audio.sample_rate,
        "encoder_rates": list(audio.encoder_rates),
        "max_length": config.max_length,
        "inference_timesteps": TIMESTEPS,
        "prompt_seconds_max": 60,
        "prompt_context_patches": 3 if config.second else 2,
        "prompt_marks": 2 if config.second else 0,
    }
    hop = prod(audio.encoder_rates) * config.patch_size
    if audio.sample_rate * 100 % hop:
        message = f"audio_vae_config: {audio.sample_rate} Hz over a patch of {hop} samples is no whole number of steps in 100 seconds"
        raise BadProfile(key=FILE, message=message)
    return made


def _attention(stack: Stack, queries: int, keys: int) -> int:
    return 4 * queries * keys * stack.heads * stack.head_dim * stack.layers


def _forward(stack: Stack, positions: int, keys: int) -> int:
    return 2 * stack.linear_weights * stack.layers * positions + _attention(stack, positions, keys)


def _weights(stack: Stack) -> int:
    """All of a stack's weights: matrices, two norms in each layer and one at the end."""
    return stack.layers * (stack.linear_weights + 2 * stack.hidden) + stack.hidden


def _quantizer_weights(config: VoxConfig) -> int:
    return 2 * config.base.hidden * config.quantizer_dim


def _fusion_weights(config: VoxConfig) -> int:
    return 2 * config.base.hidden**2 if config.second else 0


def _projection_weights(config: VoxConfig) -> int:
    """Encoder to language model, both language models to the solver, quantizer, stop projection and its two classes."""
    hidden = config.base.hidden
    between = config.encoder.hidden * hidden + 2 * hidden * config.dit.hidden
    return between + _quantizer_weights(config) + _fusion_weights(config) + hidden**2 + 2 * hidden


def _projection_biases(config: VoxConfig) -> int:
    hidden = config.base.hidden
    # Into the language model, out of the quantizer, the stop projection and, in 2, the fusion; the class scores have none.
    return hidden + 2 * config.dit.hidden + config.quantizer_dim + hidden + hidden + (hidden if config.second else 0)
