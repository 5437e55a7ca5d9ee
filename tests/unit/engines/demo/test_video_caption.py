"""The prompt under the picture."""

from pathlib import Path

from PIL import ImageFont

from taximeter.engines.demo.video.caption import caption, packaged_font


def test_a_latin_prompt_is_written_inside_the_frame() -> None:
    made = caption("a café in Zürich", 640, 360, None)
    assert made is not None
    image, (left, top) = made
    assert left >= 0
    assert left + image.width <= 640
    assert top + image.height <= 360
    assert max(image.getchannel("A").tobytes()) > 200


def test_a_long_prompt_is_cut_to_the_frame() -> None:
    made = caption("a very long prompt " * 30, 360, 640, None)
    assert made is not None
    assert made[0].width <= 360


def test_letters_without_a_font_give_no_caption_rather_than_boxes() -> None:
    assert caption("一只猫", 640, 360, None) is None
    assert caption("   ", 640, 360, None) is None


def test_a_given_font_file_is_used_for_other_letters(tmp_path: Path) -> None:
    # The font inside Pillow stands for any font file here.
    inside = ImageFont.load_default(20)
    assert isinstance(inside, ImageFont.FreeTypeFont)
    path = tmp_path / "any.ttf"
    path.write_bytes(inside.font_bytes)
    assert caption("猫", 640, 360, path) is not None


def test_the_optional_font_package_is_found_only_when_it_is_there() -> None:
    found = packaged_font()
    assert found is None or found.is_file()
