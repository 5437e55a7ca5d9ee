"""``video.dit/1``: diffusion transformers (Wan 2.2), by the floating-point operations their dimensions demand.

Notation: D model width, N blocks, f feed-forward width, C text positions, L latent tokens after patching.
One forward pass takes, at 2 operations per multiply-add:

    attention projections   8 N L D^2          attention scores and values   4 N L^2 D
    cross-attention         4 N L D^2 + 4 N C D^2 + 4 N L C D
    feed-forward            4 N L D f          patches in and out            2 (p_in + p_out) L D
    text projection         2 C (E D + D^2)    time embedding                2 (256 D + 7 D^2), per token or once

The part in L^2 is ``attention_flop``; everything else, the text encoder and the decoder of the latent
included, is ``linear_flop``.  All of it is integer arithmetic.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import article, fields, video_request
from taximeter.meters.errors import BadProfile
from taximeter.meters.model import Estimate, Work

TIME_FREQUENCIES = 256
TEMPORAL_STRIDE = 4


class Vae(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Decoding n latent cells in T latent frames takes ``square n^2 T + n (linear T + offset)`` operations."""

    square: int
    linear: int
    offset: int


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes beyond the listed ones that may be quoted: both sides even and within these limits."""

    side_min: int
    side_max: int


class DitProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A diffusion transformer's entry in the catalog: its dimensions and its defaults."""

    dim: int
    layers: int
    ffn: int
    text_positions: int
    text_dim: int
    latent_channels: int
    patch: int = 2
    spatial_stride: int
    time_per_token: bool
    text_encoder_flop: int
    vae: Vae
    frame_rule: Literal["diffusers", "native"] = "diffusers"
    sizes: tuple[str, ...]
    default_size: str
    other_sizes: Sizes | None = None
    default_seconds: str
    seconds_max: int
    default_fps: int
    fps_max: int = 60
    frames_max: int = 1200
    default_steps: int
    steps_max: int = 200
    guidance: bool = True


def produced_frames(asked: int, rule: Literal["diffusers", "native"]) -> int:
    """Frames that come out when ``asked`` go in: the model makes 4n + 1, rounded as the pipeline does."""
    if rule == "diffusers" and (asked - 1) % TEMPORAL_STRIDE:
        return asked // TEMPORAL_STRIDE * TEMPORAL_STRIDE + 1
    return (asked - 1) // TEMPORAL_STRIDE * TEMPORAL_STRIDE + 1


def forward_coefficients(entry: DitProfile) -> tuple[int, int, int]:
    """(a, b, c) such that one forward pass takes a L^2 + b L + c operations."""
    dim, layers, positions = entry.dim, entry.layers, entry.text_positions
    square = dim * dim
    patch_cells = entry.latent_channels * entry.patch * entry.patch
    per_token = layers * (12 * square + 4 * positions * dim + 4 * dim * entry.ffn) + 4 * patch_cells * dim
    constant = 4 * layers * positions * square + 2 * positions * (entry.text_dim * dim + square)
    time = 2 * (TIME_FREQUENCIES * dim + 7 * square)
    if entry.time_per_token:
        return 4 * layers * dim, per_token + time, constant
    return 4 * layers * dim, per_token, constant + time


@dataclass(frozen=True, slots=True)
class Shape:
    """What decides the work of one film."""

    width: int
    height: int
    frames: int

    def latent_frames(self) -> int:
        """Frames of the latent film."""
        return (self.frames - 1) // TEMPORAL_STRIDE + 1

    def latent_tokens(self, entry: DitProfile) -> int:
        """Tokens the transformer sees in each pass."""
        stride, patch = entry.spatial_stride, entry.patch
        return self.latent_frames() * (self.height // stride // patch) * (self.width // stride // patch)

    def vae_flop(self, entry: DitProfile) -> int:
        """Operations of decoding the latent film into pixels."""
        cells = (self.height // entry.spatial_stride) * (self.width // entry.spatial_stride)
        frames = self.latent_frames()
        if frames == 0:
            return 0  # The engine stopped before it had anything to decode.
        return entry.vae.square * cells * cells * frames + cells * (entry.vae.linear * frames + entry.vae.offset)


def physical_work(shape: Shape, passes: int, text_passes: int, entry: DitProfile) -> dict[str, int]:
    """Latent tokens, passes, frames and operations of a film."""
    tokens = shape.latent_tokens(entry)
    square, linear, constant = forward_coefficients(entry)
    attention = passes * square * tokens * tokens
    return {
        "latent_tokens": tokens,
        "passes": passes,
        "frames": shape.frames,
        "linear_flop": passes * (linear * tokens + constant) + text_passes * entry.text_encoder_flop + shape.vae_flop(entry),
        "attention_flop": attention,
    }


@dataclass(frozen=True, slots=True)
class VideoDit:
    """Video, by floating-point operations."""

    id: str = "video.dit/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "latent_tokens": "tokens of the latent film, which every pass reads",
            "passes": "forward passes: steps, twice that with guidance",
            "frames": "frames of the film that is produced",
            "linear_flop": "operations that grow with the latent tokens, text encoder and decoder included",
            "attention_flop": "operations that grow with their square",
            "article_input_tokens": "prompt characters other than the space // 10, from 1 to 50",
            "article_units": "(height // 8) x (width // 8) x int(fps x seconds) x steps (the founding count)",
            "activations": "times the model was loaded for this request",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(DitProfile, profile)
        video_request.check_sizes(entry.sizes, entry.default_size)
        for key in ("dim", "layers", "ffn", "text_positions", "text_dim", "latent_channels", "patch", "spatial_stride", "text_encoder_flop"):
            if getattr(entry, key) < 1:
                raise BadProfile(key=key, message="must be at least 1")
        try:
            fields.number(entry.default_seconds, "default_seconds", "0.01", entry.seconds_max)
        except InvalidRequest as error:
            raise BadProfile(key="default_seconds", message=error.message) from error
        for name in ("fps", "steps"):
            if not 1 <= getattr(entry, f"default_{name}") <= getattr(entry, f"{name}_max"):
                raise BadProfile(key=f"default_{name}", message=f"must stand between 1 and {name}_max")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Every pass is fixed by the request, so expected and maximum are equal.

        Raises InvalidRequest, PromptTooLong, UnsupportedSize.
        """
        entry = fields.read_profile(DitProfile, profile)
        prompt = video_request.read_prompt(request)
        width, height = _size(request.get("size"), entry)
        fps = entry.default_fps if request.get("fps") is None else fields.whole(request["fps"], "fps", 1, entry.fps_max)
        steps = video_request.read_steps(request, entry.default_steps, 1, entry.steps_max)
        asked = request.get("seconds")
        seconds = fields.number(entry.default_seconds if asked is None else asked, "seconds", "0.01", entry.seconds_max)
        explicit = video_request.read_frames(request, entry.frames_max)
        frames = produced_frames(explicit or video_request.whole_frames(fps, seconds, entry.frames_max), entry.frame_rule)
        guided = _guided(request.get("guidance"), entry)
        text_passes = 2 if guided else 1
        article_frames = explicit or article.frames(fps, seconds)
        work = physical_work(Shape(width, height, frames), steps * text_passes, text_passes, entry) | {
            "article_input_tokens": article.input_tokens(prompt),
            "article_units": article.output_units(width, height, article_frames, steps),
            "activations": 1,
        }
        normal = {"prompt": prompt, "width": width, "height": height, "frames": frames, "fps": fps, "steps": steps}
        normal |= {"seed": video_request.read_seed(request, prompt), "guidance": guided}
        return Estimate(expected=work, maximum=work, bound={"steps": steps, "frames": frames}, request=normal)

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """Operations of the passes and frames that the engine really made.  Raises BadReport."""
        entry = fields.read_profile(DitProfile, profile)
        passes = fields.reported_quantity(reported, "passes")
        shape = Shape(
            width=fields.reported_quantity(reported, "width", estimate.request["width"]),
            height=fields.reported_quantity(reported, "height", estimate.request["height"]),
            frames=fields.reported_quantity(reported, "frames"),
        )
        text_passes = 2 if estimate.request["guidance"] else 1
        units = Fraction(estimate.expected["article_units"] * passes, estimate.expected["passes"])
        return physical_work(shape, passes, text_passes, entry) | {
            "article_input_tokens": estimate.expected["article_input_tokens"],
            "article_units": int(units),
            "activations": fields.reported_quantity(reported, "activations", estimate.expected["activations"]),
        }


def _size(value: object, entry: DitProfile) -> video_request.Size:
    size = entry.default_size if value is None else value
    parsed = video_request.parse_size(size) if isinstance(size, str) else None
    limits = entry.other_sizes
    also = "" if limits is None else f", or any even width and height from {limits.side_min} to {limits.side_max}"
    if parsed is None:
        raise video_request.refuse_size(value, entry.sizes, also)
    if size not in entry.sizes and (limits is None or not all(limits.side_min <= s <= limits.side_max and s % 2 == 0 for s in parsed)):
        raise video_request.refuse_size(value, entry.sizes, also)
    return parsed


def _guided(value: object, entry: DitProfile) -> bool:
    """Guidance doubles the passes; a scale of 1 or less switches it off, as the pipelines do."""
    if value is None:
        return entry.guidance
    if isinstance(value, bool):
        return value
    return fields.number(value, "guidance", 0, 100) > 1
