"""``video.dit/2``: diffusion transformers from their own configuration files, by operations and by part.

A profile holds what a model's files say (`taximeter.meters.diffusion`), and its sizes and limits as in ``video.dit/1``.
``linear_flop`` and ``attention_flop`` mean what they mean there; the parts of the first are counted apart as well.
A profile is read once; whoever holds one must not change it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import article, fields, video_request
from taximeter.meters.diffusion import Architecture, Film, Pipeline, add_up
from taximeter.meters.errors import BadProfile, BadReport, UnsupportedParameter
from taximeter.meters.model import Estimate, Work

# Profiles that are remembered; a catalog has far fewer models.
PROFILES_MAX = 256
FRAMES_MAX = 100_000
STEPS_MAX = 10_000
ARCHITECTURE = tuple(Architecture.__struct_fields__)
PICTURE = "input_reference"


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes beyond the listed ones that may be quoted: within these limits, both sides a multiple of this."""

    side_min: int
    side_max: int
    multiple_of: int = 2


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What may be asked for, and what is made when nothing is said."""

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


@dataclass(frozen=True, slots=True)
class Model:
    """A profile that was read: what it says, and what follows from it."""

    profile: Mapping[str, Any]
    limits: Limits
    pipeline: Pipeline
    sizes: Mapping[str, video_request.Size]
    default_seconds: Fraction
    guided_by_passes: bool
    picture: Literal["none", "film", "frame"]


@dataclass(frozen=True, slots=True)
class VideoDitV2:
    """Video, by floating-point operations, from configuration files."""

    id: str = "video.dit/2"
    _read: dict[int, Model] = field(default_factory=dict, compare=False, repr=False)

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "latent_tokens": "tokens of the latent film, which every pass reads",
            "passes": "forward passes: steps, twice that with guidance by passes",
            "high_passes": "those of the transformer; of the high-noise expert when there are two",
            "low_passes": "those of the low-noise expert",
            "frames": "frames of the film that is produced",
            "linear_flop": "all operations but those of self-attention; the sum of the four parts that follow",
            "transformer_flop": "of them, the transformer's matrix products and cross-attention",
            "conditioning_flop": "of them, what prepares time, guidance and text in each pass",
            "vae_flop": "of them, decoding the film (and encoding the picture, for a model that takes one)",
            "text_encoder_flop": "of them, the text encoders",
            "attention_flop": "operations in scores and values of self-attention, which grow with the square of the tokens",
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
        read_model(profile)

    def resident_bytes(self, profile: Mapping[str, Any]) -> Mapping[str, int]:
        """Weights of every component, loaded at once."""
        return dict(self._model(profile).pipeline.resident)

    def _model(self, profile: Mapping[str, Any]) -> Model:
        """The profile, read the first time that it is seen.  The model keeps it, so that its identity stays its own."""
        known = self._read.get(id(profile))
        if known is not None and known.profile is profile:
            return known
        if len(self._read) >= PROFILES_MAX:
            self._read.clear()
        model = self._read[id(profile)] = read_model(profile)
        return model

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Every pass is fixed by the request, so expected and maximum are equal.

        Raises InvalidRequest, PromptTooLong, UnsupportedSize, UnsupportedParameter.
        """
        model = self._model(profile)
        limits, pipeline = model.limits, model.pipeline
        prompt = video_request.read_prompt(request)
        width, height = _size(request.get("size"), model)
        fps = _whole(request.get("fps"), "fps", limits.default_fps, limits.fps_max)
        steps = _whole(request.get("steps"), "steps", limits.default_steps, limits.steps_max)
        frames, article_frames = _frames(request, fps, model)
        guided, pictured = _guided(request.get("guidance"), limits), _pictured(request.get(PICTURE), model)
        text_passes = 2 if guided and model.guided_by_passes else 1
        high = pipeline.high_steps(steps)
        film = Film(width, height, frames, frames)
        work = pipeline.work(film, (high * text_passes, (steps - high) * text_passes), text_passes, pictured=pictured)
        work["article_input_tokens"] = article.input_tokens(prompt)
        work["article_units"] = article.output_units(width, height, article_frames, steps)
        work["activations"] = 1
        normal = {
            "prompt": prompt,
            "width": width,
            "height": height,
            "frames": frames,
            "fps": fps,
            "steps": steps,
            "seed": video_request.read_seed(request, prompt),
            "guidance": guided,
        }
        if pictured:
            normal["picture"] = True
        return Estimate(expected=work, maximum=work, bound={"steps": steps, "frames": frames}, request=normal)

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """Operations of the passes that were made and the frames that came out.

        A film that was given up before it was decoded (0 frames) has had its passes all the same.
        Raises BadReport.
        """
        model, asked = self._model(profile), estimate.request
        passes = _reported(reported, "passes", 2 * model.limits.steps_max)
        # The last few frames may be a rounding up: no autoencoder here has a stride above this.
        frames = _reported(reported, "frames", model.limits.frames_max + 32)
        film = Film(
            width=_reported(reported, "width", video_request.SIDE_MAX, asked["width"]),
            height=_reported(reported, "height", video_request.SIDE_MAX, asked["height"]),
            frames=frames or asked["frames"],
            decoded=frames,
        )
        text_passes = 2 if asked["guidance"] and model.guided_by_passes else 1
        work = model.pipeline.work(film, _experts(reported, passes, estimate), text_passes, pictured=bool(asked.get("picture")))
        work["article_input_tokens"] = estimate.expected["article_input_tokens"]
        work["article_units"] = estimate.expected["article_units"] * passes // estimate.expected["passes"]
        work["activations"] = fields.reported_quantity(reported, "activations", estimate.expected["activations"])
        return work


def read_model(profile: Mapping[str, Any]) -> Model:
    """A profile, checked and added up.  Raises BadProfile."""
    parts = {key: value for key, value in profile.items() if key in ARCHITECTURE}
    limits = fields.read_profile(Limits, {key: value for key, value in profile.items() if key not in ARCHITECTURE})
    architecture = fields.read_profile(Architecture, parts)
    video_request.check_sizes(limits.sizes, limits.default_size)
    for name in ("fps", "steps"):
        if not 1 <= getattr(limits, f"default_{name}") <= getattr(limits, f"{name}_max"):
            raise BadProfile(key=f"default_{name}", message=f"must stand between 1 and {name}_max")
    for name, most in (("frames_max", FRAMES_MAX), ("steps_max", STEPS_MAX)):
        if not 1 <= getattr(limits, name) <= most:
            raise BadProfile(key=name, message=f"must stand between 1 and {most}")
    other = limits.other_sizes
    if other is not None and not 1 <= other.multiple_of <= other.side_min <= other.side_max <= video_request.SIDE_MAX:
        raise BadProfile(key="other_sizes", message=f"1 <= multiple_of <= side_min <= side_max <= {video_request.SIDE_MAX} must hold")
    try:
        seconds = fields.number(limits.default_seconds, "default_seconds", "0.01", limits.seconds_max)
    except InvalidRequest as error:
        raise BadProfile(key="default_seconds", message=error.message) from error
    sizes = {size: parsed for size in limits.sizes if (parsed := video_request.parse_size(size)) is not None}
    return Model(
        profile=profile,
        limits=limits,
        pipeline=add_up(architecture),
        sizes=sizes,
        default_seconds=seconds,
        guided_by_passes=architecture.guidance_by == "passes",
        picture=architecture.picture,
    )


def _size(value: object, model: Model) -> video_request.Size:
    limits = model.limits
    size = limits.default_size if value is None else value
    known = model.sizes.get(size) if isinstance(size, str) else None
    if known is not None:
        return known
    parsed = video_request.parse_size(size) if isinstance(size, str) else None
    other = limits.other_sizes
    if other is None:
        raise video_request.refuse_size(value, limits.sizes)
    fits = parsed is not None and all(other.side_min <= side <= other.side_max and side % other.multiple_of == 0 for side in parsed)
    if parsed is None or not fits:
        kind = "even width and height" if other.multiple_of == 2 else f"width and height that are multiples of {other.multiple_of}"  # noqa: PLR2004
        raise video_request.refuse_size(value, limits.sizes, f", or any {kind} from {other.side_min} to {other.side_max}")
    return parsed


def _whole(value: object, name: str, default: int, high: int) -> int:
    """As `fields.whole`, quick for what is nearly always sent."""
    if value is None:
        return default
    return value if type(value) is int and 1 <= value <= high else fields.whole(value, name, 1, high)


def _frames(request: Mapping[str, Any], fps: int, model: Model) -> tuple[int, int]:
    """Frames that the model will make, and those of the founding count."""
    limits = model.limits
    explicit = request.get("frames")
    if explicit is not None:
        asked = _whole(explicit, "frames", 1, limits.frames_max)
        founding = asked
    else:
        seconds = request.get("seconds")
        if type(seconds) is int and 1 <= seconds <= limits.seconds_max and fps * seconds <= limits.frames_max:
            asked = founding = fps * seconds
        else:
            length = model.default_seconds if seconds is None else fields.number(seconds, "seconds", "0.01", limits.seconds_max)
            asked, founding = video_request.whole_frames(fps, length, limits.frames_max), article.frames(fps, length)
    return model.pipeline.produced_frames(asked), founding


def _guided(value: object, limits: Limits) -> bool:
    """Whether the request is guided; a scale of 1 or less switches guidance off, as the pipelines do."""
    if value is None:
        return limits.guidance
    if isinstance(value, bool):
        return value
    return fields.number(value, "guidance", 0, 100) > 1


def _pictured(value: object, model: Model) -> bool:
    """Whether a picture is encoded.  Raises UnsupportedParameter for a model that takes none."""
    if model.picture == "film":
        return True
    if value is None:
        return False
    if model.picture == "none":
        message = f"this model takes no picture; leave out {PICTURE}"
        raise UnsupportedParameter(message, param=PICTURE)
    return True


def _reported(reported: Work, name: str, high: int, default: int | None = None) -> int:
    """A reported quantity that this model can have made.  Raises BadReport."""
    value = fields.reported_quantity(reported, name, default)
    if value > high:
        message = f"the engine reported {name}={value}, more than this model can make ({high}); the request was not charged"
        raise BadReport(message)
    return value


def _experts(reported: Work, passes: int, estimate: Estimate) -> tuple[int, int]:
    """Passes of each expert: as reported, or in the order in which they run, high noise first."""
    expected = estimate.expected
    if expected["low_passes"] == 0 and "low_passes" not in reported:
        return passes, 0
    default = min(passes, expected["high_passes"])
    high = fields.reported_quantity(reported, "high_passes", default)
    low = fields.reported_quantity(reported, "low_passes", max(0, passes - high))
    if high + low != passes:
        message = f"the engine reported passes={passes}, but high_passes={high} and low_passes={low}; the request was not charged"
        raise BadReport(message)
    return high, low
