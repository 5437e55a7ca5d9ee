"""Flat colours: names in English and Chinese, and the few ways to shade them."""

import hashlib

Colour = tuple[int, int, int]

INK: Colour = (45, 42, 66)
WHITE: Colour = (255, 255, 255)
CREAM: Colour = (255, 246, 226)

COLOURS: dict[str, Colour] = {
    "red": (226, 58, 62),
    "orange": (247, 140, 43),
    "yellow": (252, 205, 55),
    "green": (66, 165, 92),
    "blue": (48, 116, 221),
    "purple": (136, 84, 198),
    "pink": (247, 130, 168),
    "white": (248, 248, 246),
    "black": (52, 50, 62),
    "grey": (142, 148, 162),
    "brown": (150, 98, 62),
    "gold": (240, 182, 48),
    "silver": (192, 200, 212),
    "cyan": (56, 190, 208),
    "teal": (32, 146, 146),
    "navy": (36, 56, 118),
    "beige": (232, 212, 176),
}

# What an unknown word may be coloured with: distinct, friendly, none of them near white or black.
ABSTRACT: tuple[str, ...] = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "cyan", "teal", "gold")


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """``share`` (0 to 1) of the second colour in the first."""
    return (
        round(first[0] + (second[0] - first[0]) * share),
        round(first[1] + (second[1] - first[1]) * share),
        round(first[2] + (second[2] - first[2]) * share),
    )


def light(colour: Colour, share: float = 0.25) -> Colour:
    """The colour moved towards white."""
    return mix(colour, WHITE, share)


def dark(colour: Colour, share: float = 0.22) -> Colour:
    """The colour moved towards ink (a bluish black, which looks cleaner than grey shadows)."""
    return mix(colour, INK, share)


def stable_number(text: str) -> int:
    """A 64-bit number that depends on the text alone, on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
