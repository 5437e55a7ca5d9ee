"""What the families' pipelines do that no configuration file says: padding, sizes and defaults, from diffusers 0.42."""

from typing import NamedTuple

from taximeter.meters.diffusion.pipeline import Architecture


class Family(NamedTuple):
    """Defaults of a family's pipeline.

    Attributes:
        name: as people call it.
        text_positions: text positions of the transformer.
        encoders: folders of the text encoders, and the positions each reads.
        sizes: sizes it was made for; the first is the default.
        fps: frames a second.
        seconds: length, as text.
        steps: denoising steps.
    """

    name: str
    text_positions: int
    encoders: tuple[tuple[str, int], ...]
    sizes: tuple[str, ...]
    fps: int
    seconds: str
    steps: int


WAN_SIZES = ("1280x720", "720x1280", "832x480", "480x832")
FAMILIES = {
    "WanTransformer3DModel": Family("Wan", 512, (("text_encoder", 512),), WAN_SIZES, 16, "5", 50),
    "HunyuanVideoTransformer3DModel": Family(
        # The prompt stands in a template of 95 positions, which the transformer does not see.
        "HunyuanVideo",
        256,
        (("text_encoder", 351), ("text_encoder_2", 77)),
        ("1280x720", "720x1280", "960x544", "544x960"),
        24,
        "5.375",
        50,
    ),
    "LTXVideoTransformer3DModel": Family("LTX-Video", 128, (("text_encoder", 128),), ("704x512", "512x704", "768x512"), 25, "6.44", 50),
    "CogVideoXTransformer3DModel": Family("CogVideoX", 226, (("text_encoder", 226),), ("720x480",), 8, "6.125", 50),
    "MochiTransformer3DModel": Family("Mochi", 256, (("text_encoder", 256),), ("848x480",), 30, "5.4334", 64),
}


def of(architecture: Architecture) -> Family:
    """The family that an architecture belongs to."""
    return FAMILIES[str(architecture.transformer.__struct_config__.tag)]
