"""The prompt as a small caption at the lower edge.

Latin text uses the font inside Pillow.  Chinese needs a font file, given by the caller or found in
the optional package ``paperang_p2_fonts_cjk`` (WenQuanYi Micro Hei); without one, a prompt with
letters that the font does not have gets no caption rather than empty boxes.
"""

from importlib.util import find_spec
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FONT_PACKAGE = "paperang_p2_fonts_cjk"
FONT_FILE = "fonts/wqy-microhei.ttc"
SIZE_MIN_PX = 12
LETTERS_MAX = 160
"""More never fit on one line; measuring longer texts only costs time."""


def packaged_font() -> Path | None:
    """A font with Chinese letters from the optional package, if it is installed."""
    spec = find_spec(FONT_PACKAGE)
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / FONT_FILE
    return path if path.is_file() else None


def caption(prompt: str, width: int, height: int, font_file: Path | None) -> tuple[Image.Image, tuple[int, int]] | None:
    """The caption's picture and its place in the frame; None when nothing readable can be written."""
    text = " ".join(prompt.split())
    latin = all(letter.isascii() or "\u00c0" <= letter <= "\u017f" for letter in text)
    if not text or not (latin or font_file):
        return None
    size = max(SIZE_MIN_PX, round(min(width, height) * 0.036))
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont
    font = ImageFont.load_default(size) if latin or font_file is None else ImageFont.truetype(str(font_file), size)
    room = width * 0.9
    if len(text) > LETTERS_MAX or font.getlength(text) > room:
        text = text[:LETTERS_MAX]
        while text and font.getlength(text + "...") > room:
            text = text[:-1]
        text = text.rstrip() + "..."
    pad = size // 2
    wide, high = round(font.getlength(text)) + 2 * pad, round(size * 1.5)
    pill = Image.new("RGBA", (wide * 2, high * 2), (28, 26, 44, 0))
    ImageDraw.Draw(pill).rounded_rectangle((0, 0, wide * 2 - 1, high * 2 - 1), high * 0.6, fill=(28, 26, 44, 120))
    pill = pill.reduce(2)
    words = Image.new("RGBA", pill.size, (255, 255, 255, 0))
    ImageDraw.Draw(words).text((wide / 2, high / 2), text, font=font, fill=(255, 255, 255, 245), anchor="mm")
    pill.alpha_composite(words)
    return pill, ((width - wide) // 2, height - high - max(4, height // 60))
