"""``images.steps/1``: images made by denoising, counted by image and by step.

A pass over one image of L latent tokens takes ``square L^2 + linear L + constant`` operations, as the profile says; what
grows with the square is ``attention_flop``, everything else, decoder and text encoder included, ``linear_flop``.
A model whose operations are not known is counted in ``pixel_steps`` alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from taximeter.meters import fields, video_request
from taximeter.meters.errors import BadProfile, BadReport
from taximeter.meters.model import Estimate, Work

PIXELS_PER_MEGAPIXEL = 1_000_000


class Polynomial(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``square n^2 + linear n + constant`` operations."""

    square: int = 0
    linear: int = 0
    constant: int = 0

    def at(self, count: int) -> int:
        """Its value."""
        return (self.square * count + self.linear) * count + self.constant


class Sides(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sizes beyond the listed ones: both sides a multiple of a latent token's side, and within these limits."""

    side_min: int
    side_max: int


class ImagesProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An image model's entry in the catalog."""

    sizes: tuple[str, ...]
    default_size: str
    other_sizes: Sides | None = None
    images_max: int = 10
    default_steps: int
    steps_max: int = 200
    guidance: Literal["none", "off", "on"] = "none"
    spatial_stride: int = 8
    patch: int = 1
    forward: Polynomial = Polynomial()
    decoder: Polynomial = Polynomial()
    text_encoder_flop: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """What was made: images of one size, and the steps and passes over all of them."""

    width: int
    height: int
    images: int
    steps: int
    passes: int
    text_passes: int

    def work(self, entry: ImagesProfile) -> dict[str, int]:
        """All quantities, over all images."""
        pixels = self.width * self.height
        side = entry.spatial_stride * entry.patch
        tokens = (self.width // side) * (self.height // side)
        cells = (self.width // entry.spatial_stride) * (self.height // entry.spatial_stride)
        attention = entry.forward.square * tokens * tokens
        return {
            "images": self.images,
            "steps": self.steps,
            "passes": self.passes,
            "latent_tokens": tokens * self.images,
            "pixels": pixels * self.images,
            "pixel_steps": pixels * self.steps,
            "megapixels": -(-pixels // PIXELS_PER_MEGAPIXEL) * self.images,
            "linear_flop": self.passes * (entry.forward.linear * tokens + entry.forward.constant)
            + self.text_passes * entry.text_encoder_flop
            + self.images * entry.decoder.at(cells),
            "attention_flop": self.passes * attention,
        }


@dataclass(frozen=True, slots=True)
class ImagesSteps:
    """Images, by denoising step."""

    id: str = "images.steps/1"

    @property
    def quantities(self) -> Mapping[str, str]:
        """What is counted."""
        return {
            "images": "images made",
            "steps": "denoising steps, over all images",
            "passes": "forward passes over one image, over all steps: twice the steps with guidance",
            "latent_tokens": "tokens of the latent images, which every pass over an image reads",
            "pixels": "pixels of all images",
            "pixel_steps": "pixels x steps, over all images",
            "megapixels": "millions of pixels, rounded up for each image",
            "linear_flop": "operations that grow with the latent tokens, text encoder and decoder included",
            "attention_flop": "operations that grow with their square",
        }

    @property
    def held_as(self) -> tuple[tuple[str, str], ...]:
        """Nothing is held as something else."""
        return ()

    def check(self, profile: Mapping[str, Any]) -> None:
        """Read the profile.  Raises BadProfile."""
        entry = fields.read_profile(ImagesProfile, profile)
        video_request.check_sizes(entry.sizes, entry.default_size)
        for key in ("images_max", "spatial_stride", "patch"):
            if getattr(entry, key) < 1:
                raise BadProfile(key=key, message="must be at least 1")
        if not 1 <= entry.default_steps <= entry.steps_max:
            raise BadProfile(key="default_steps", message="must stand between 1 and steps_max")
        if entry.text_encoder_flop < 0:
            raise BadProfile(key="text_encoder_flop", message="must not be negative")
        for key in ("forward", "decoder"):
            part: Polynomial = getattr(entry, key)
            if min(part.square, part.linear, part.constant) < 0:
                raise BadProfile(key=key, message="must not be negative: more pixels never cost less")
        limits = entry.other_sizes
        if limits is not None and not 1 <= limits.side_min <= limits.side_max <= video_request.SIDE_MAX:
            raise BadProfile(key="other_sizes", message=f"must be limits with 1 <= side_min <= side_max <= {video_request.SIDE_MAX}")

    def estimate(self, request: Mapping[str, Any], profile: Mapping[str, Any]) -> Estimate:
        """Images and steps are fixed by the request, so expected and maximum are equal.

        Raises InvalidRequest, PromptTooLong, UnsupportedSize.
        """
        entry = fields.read_profile(ImagesProfile, profile)
        prompt = video_request.read_prompt(request)
        width, height = _size(request.get("size"), entry)
        asked = request.get("n")
        images = 1 if asked is None else fields.whole(asked, "n", 1, entry.images_max)
        each = video_request.read_steps(request, entry.default_steps, 1, entry.steps_max)
        guided = _guided(request.get("guidance"), entry)
        steps = images * each
        # The encoder reads the prompt once for all images, and once more the empty one that guidance leads away from.
        made = Made(width, height, images, steps, passes=steps * (2 if guided else 1), text_passes=2 if guided else 1)
        work = made.work(entry)
        normal = {"prompt": prompt, "width": width, "height": height, "n": images, "steps": each}
        normal |= {"seed": video_request.read_seed(request, prompt), "guidance": guided}
        return Estimate(expected=work, maximum=work, bound={"images": images, "steps": steps}, request=normal)

    def actual(self, reported: Work, estimate: Estimate, profile: Mapping[str, Any]) -> Work:
        """Images, steps and passes as reported, over the pixels that were really made.  Raises BadReport."""
        entry = fields.read_profile(ImagesProfile, profile)
        guided: bool = estimate.request["guidance"]
        steps = fields.reported_quantity(reported, "steps")
        made = Made(
            width=fields.reported_quantity(reported, "width", estimate.request["width"]),
            height=fields.reported_quantity(reported, "height", estimate.request["height"]),
            images=fields.reported_quantity(reported, "images"),
            steps=steps,
            passes=fields.reported_quantity(reported, "passes", steps * (2 if guided else 1)),
            text_passes=2 if guided else 1,
        )
        if made.images > 0 and 0 in (made.width, made.height):
            message = "the engine reported an image without pixels; the request was not charged"
            raise BadReport(message)
        return made.work(entry)


def _size(value: object, entry: ImagesProfile) -> video_request.Size:
    size = entry.default_size if value is None else value
    parsed = video_request.parse_size(size) if isinstance(size, str) else None
    limits, side = entry.other_sizes, entry.spatial_stride * entry.patch
    also = f", or any width and height from {limits.side_min} to {limits.side_max} that {side} divides" if limits is not None else ""
    if parsed is None:
        raise video_request.refuse_size(value, entry.sizes, also)
    if size not in entry.sizes and (limits is None or not all(limits.side_min <= s <= limits.side_max and s % side == 0 for s in parsed)):
        raise video_request.refuse_size(value, entry.sizes, also)
    return parsed


def _guided(value: object, entry: ImagesProfile) -> bool:
    """Whether a step takes two passes; a distilled model reads the scale as one more input, which costs nothing."""
    guided = entry.guidance == "on" if value is None else value
    if not isinstance(guided, bool):
        guided = fields.number(guided, "guidance", 0, 100) > 1
    return guided and entry.guidance != "none"
