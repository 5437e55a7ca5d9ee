"""``video.frames/1``: renderers whose work is pixels x frames x steps (the demo video engine)."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import msgspec

from taximeter.meters import article, fields, video_request
from taximeter.meters.errors import BadProfile, BadReport
from taximeter.meters.model import Estimate, Work


class FramesProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A renderer's entry in the catalog."""

    sizes: tuple[str, ...]
    default_size: str
    seconds_min: int = 1
    seconds_max: int = 8
    default_seconds: int = 4
    fps_min: int = 1
    fps_max: int = 30
    default_fps: int
    steps_min: int = 1
    steps_max: int = 50
    default_steps: int


@dataclass(frozen=True, slots=True)
class VideoFrames:
    """Video, by pixel and step."""

    id: str = "video.frames/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "steps": "refinement steps",
            "frames": "frames of the film",
            "pixel_steps": "width x height x frames x steps",
            "article_input_tokens": "prompt characters other than the space // 10, from 1 to 50",
            "article_units": "(height // 8) x (width // 8) x frames x steps (the founding count)",
            "activations": "times the model was loaded for this request",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(FramesProfile, profile)
        video_request.check_sizes(entry.sizes, entry.default_size)
        for name in ("seconds", "fps", "steps"):
            low, default, high = getattr(entry, f"{name}_min"), getattr(entry, f"default_{name}"), getattr(entry, f"{name}_max")
            if not 1 <= low <= default <= high:
                raise BadProfile(key=f"default_{name}", message=f"must stand between {name}_min (at least 1) and {name}_max")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Steps and frames are fixed by the request, so expected and maximum are equal.

        Raises InvalidRequest, PromptTooLong, UnsupportedSize.
        """
        entry = fields.read_profile(FramesProfile, profile)
        prompt = video_request.read_prompt(request)
        size = request.get("size")
        size = entry.default_size if size is None else size
        if not isinstance(size, str) or size not in entry.sizes:
            raise video_request.refuse_size(size, entry.sizes)
        parsed = video_request.parse_size(size)
        assert parsed is not None, "checked when the profile was read"
        width, height = parsed
        fps = entry.default_fps if request.get("fps") is None else fields.whole(request["fps"], "fps", entry.fps_min, entry.fps_max)
        steps = video_request.read_steps(request, entry.default_steps, entry.steps_min, entry.steps_max)
        asked = request.get("seconds")
        seconds = entry.default_seconds if asked is None else fields.whole(asked, "seconds", entry.seconds_min, entry.seconds_max)
        # However they are asked for, the frames are a film of at most the model's seconds.
        explicit = video_request.read_frames(request, fps * entry.seconds_max)
        frames = explicit or fps * seconds
        article_frames = explicit or article.frames(fps, Fraction(seconds))
        work = {
            "steps": steps,
            "frames": frames,
            "pixel_steps": width * height * frames * steps,
            "article_input_tokens": article.input_tokens(prompt),
            "article_units": article.output_units(width, height, article_frames, steps),
            "activations": 1,
        }
        normal = {"prompt": prompt, "width": width, "height": height, "frames": frames, "fps": fps, "steps": steps}
        normal["seed"] = video_request.read_seed(request, prompt)
        return Estimate(expected=work, maximum=work, bound={"steps": steps, "frames": frames}, request=normal)

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """Steps and frames as reported; the founding units in proportion to them.  Raises BadReport."""
        del profile
        steps = fields.reported_quantity(reported, "steps")
        frames = fields.reported_quantity(reported, "frames")
        width = fields.reported_quantity(reported, "width", estimate.request["width"])
        height = fields.reported_quantity(reported, "height", estimate.request["height"])
        if steps > 0 and 0 in (width, height):
            message = "the engine reported a film without pixels; the request was not charged"
            raise BadReport(message)
        return {
            "steps": steps,
            "frames": frames,
            "pixel_steps": width * height * frames * steps,
            "article_input_tokens": estimate.expected["article_input_tokens"],
            "article_units": estimate.expected["article_units"] * steps // estimate.expected["steps"],
            "activations": fields.reported_quantity(reported, "activations", estimate.expected["activations"]),
        }
