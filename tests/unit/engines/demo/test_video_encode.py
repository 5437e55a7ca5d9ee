"""Films that any player reads."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.stream import VideoStream

from taximeter.engines.demo.video.encode import ENCODERS, EncodingFailed, choose_encoder, write_mp4


@pytest.mark.parametrize(
    ("width", "height", "frames", "fps"),
    [(640, 360, 12, 12), (360, 640, 5, 8), (832, 480, 7, 16), (1280, 720, 3, 24), (66, 130, 1, 30)],
)
def test_the_film_has_exactly_the_asked_shape(tmp_path: Path, width: int, height: int, frames: int, fps: int) -> None:
    path = tmp_path / "film.mp4"
    levels = [np.full((height * 3 // 2, width), 60 + 5 * number, np.uint8) for number in range(frames)]
    assert write_mp4(path, levels, size=(width, height), fps=fps, encoder=choose_encoder(ENCODERS)) == frames
    with av.open(str(path), "r") as film:
        stream = film.streams.video[0]
        assert isinstance(stream, VideoStream)
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert (stream.codec_context.width, stream.codec_context.height) == (width, height)
        assert stream.average_rate == fps
        assert stream.duration is not None
        assert stream.time_base is not None
        assert stream.duration * stream.time_base == Fraction(frames, fps)
        decoded = list(film.decode(stream))
    assert [frame.pts * frame.time_base for frame in decoded if frame.pts is not None and frame.time_base is not None] == [
        Fraction(number, fps) for number in range(frames)
    ]


def test_the_index_stands_before_the_data(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    write_mp4(path, [np.full((96, 64), 100, np.uint8)] * 4, size=(64, 64), fps=8, encoder=choose_encoder(ENCODERS))
    data = path.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_the_first_installed_encoder_is_taken() -> None:
    assert choose_encoder(("no-such-encoder", "libx264")) == "libx264"


def test_a_missing_encoder_is_named() -> None:
    with pytest.raises(EncodingFailed, match="no-such-encoder"):
        choose_encoder(("no-such-encoder",))


def test_a_folder_that_is_not_there_is_a_failure_with_a_reason(tmp_path: Path) -> None:
    with pytest.raises(EncodingFailed, match="could not be encoded with libx264"):
        write_mp4(tmp_path / "nowhere" / "film.mp4", [np.full((96, 64), 100, np.uint8)], size=(64, 64), fps=8, encoder="libx264")
