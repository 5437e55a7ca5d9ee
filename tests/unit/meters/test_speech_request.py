"""Speech requests."""

from fractions import Fraction

import pytest

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters import BadProfile, PromptTooLong
from taximeter.meters.errors import UnknownVoice, UnsupportedFormat
from taximeter.meters.speech_request import Speech, check_voices, read

VOICES = ("alloy", "jf_alpha")
FORMATS = ("mp3", "wav")


def speech(**more: object) -> Speech:
    return read({"input": "Hello", "voice": "alloy", **more}, VOICES, FORMATS, 4096)


def test_defaults_are_filled_in() -> None:
    assert speech() == Speech(text="Hello", voice="alloy", response_format="mp3", speed=Fraction(1))
    assert speech().to_engine() == {"input": "Hello", "voice": "alloy", "response_format": "mp3", "speed": "1.0"}


def test_the_speed_goes_on_as_a_decimal_text() -> None:
    assert [speech(speed=value).to_engine()["speed"] for value in (0.25, 1.5, 4, "1.10")] == ["0.25", "1.5", "4.0", "1.1"]


def test_more_than_six_decimals_of_speed_are_rounded() -> None:
    speeds = [speech(speed=value).to_engine()["speed"] for value in (0.3333333333333333, 1.2100000000000002, "1.0000005", "1.0000015")]
    assert speeds == ["0.333333", "1.21", "1.0", "1.000002"]


def test_a_voice_may_be_an_object_with_an_id() -> None:
    assert speech(voice={"id": "jf_alpha"}).voice == "jf_alpha"


def test_instructions_are_ignored_and_stream_formats_checked() -> None:
    assert speech(instructions="like a pirate", stream_format="sse") == speech()
    with pytest.raises(UnsupportedFormat, match="audio, sse"):
        speech(stream_format="smoke")


@pytest.mark.parametrize("value", [0.24, 4.01, float("nan"), float("inf"), True, "fast", -1, "1_0", "1e0", [], 10**400])
def test_a_speed_out_of_range_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        speech(speed=value)
    assert caught.value.param == "speed"


@pytest.mark.parametrize("value", ["nobody", "", {"id": "x"}, {"id": 5}, 5, ["alloy"]])
def test_an_unknown_voice_is_refused_with_the_list(value: object) -> None:
    with pytest.raises(UnknownVoice, match="alloy, jf_alpha"):
        speech(voice=value)


@pytest.mark.parametrize("value", [None, {}])
def test_a_missing_voice_is_said_to_be_missing(value: object) -> None:
    with pytest.raises(InvalidRequest, match="voice is missing"):
        speech(voice=value)


@pytest.mark.parametrize("value", ["ogg", "", 5, ["mp3"]])
def test_an_unknown_format_is_refused_with_the_list(value: object) -> None:
    with pytest.raises(UnsupportedFormat, match="mp3, wav"):
        speech(response_format=value)


@pytest.mark.parametrize("value", [None, "", "  \n", 5, "\u200b\u200b", "\ud800"])
def test_an_input_with_nothing_to_say_is_refused(value: object) -> None:
    with pytest.raises(InvalidRequest) as caught:
        speech(input=value)
    assert caught.value.param == "input"


def test_an_input_over_the_limit_is_refused() -> None:
    assert len(speech(input="a" * 4096).text) == 4096
    with pytest.raises(PromptTooLong, match="4097 characters"):
        speech(input="a" * 4097)


def test_a_profile_has_voices_and_known_formats() -> None:
    check_voices(VOICES, FORMATS)
    for voices, formats, key in (((), FORMATS, "voices"), (VOICES, ("ogg",), "formats"), (VOICES, (), "formats")):
        with pytest.raises(BadProfile) as caught:
            check_voices(voices, formats)
        assert caught.value.key == key
