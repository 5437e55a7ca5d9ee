"""Pictures and sounds in a chat: how many tokens they may be.  What is not known before is bound from above."""

import base64
import binascii
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from taximeter.kernel.errors import InvalidRequest
from taximeter.meters.errors import UnsupportedFormat

# No MPEG layer III file has fewer bits a second than 8,000; speech mostly has 64,000.
MP3_BYTES_PER_S_LEAST = 1000
MP3_BYTES_PER_S_LIKELY = 8000
# What is in front of a WAV file's samples is far shorter.
WAV_HEAD_BYTES = 65_536
PCM_TAGS = frozenset({1, 3, 0xFFFE})


class MediaRates(msgspec.Struct, frozen=True):
    """What a model makes of a picture and of a second of sound.

    Attributes:
        image_tokens: the most that one picture is; 0 when the model sees none.
        image_expected_tokens: what one likely is.
        audio_tokens_per_s: of a second of sound; 0 when the model hears none.
    """

    image_tokens: int = 0
    image_expected_tokens: int = 0
    audio_tokens_per_s: int = 0


class MediaTokens(msgspec.Struct, frozen=True):
    """Tokens of all pictures and sounds of a request."""

    image_likely: int = 0
    image_most: int = 0
    audio_likely: int = 0
    audio_most: int = 0

    @property
    def likely(self) -> int:
        """Both kinds."""
        return self.image_likely + self.audio_likely


NO_MEDIA = MediaTokens()


def count_media(messages: Sequence[Mapping[str, Any]], rates: MediaRates) -> MediaTokens:
    """Tokens of the pictures and sounds in checked messages.  Raises InvalidRequest, UnsupportedFormat."""
    images = audio_likely = audio_most = 0
    for name, part in _parts(messages):
        if part["type"] == "image_url":
            images += 1
        elif part["type"] == "input_audio":
            likely_ms, most_ms = _milliseconds(part["input_audio"], f"{name}.input_audio")
            audio_likely += -(-likely_ms * rates.audio_tokens_per_s // 1000)
            audio_most += -(-most_ms * rates.audio_tokens_per_s // 1000)
    return MediaTokens(images * rates.image_expected_tokens, images * rates.image_tokens, audio_likely, audio_most)


def _parts(messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for number, message in enumerate(messages):
        if isinstance(message["content"], list):
            for index, part in enumerate(message["content"]):
                yield f"messages[{number}].content[{index}]", part


def _milliseconds(audio: Mapping[str, Any], name: str) -> tuple[int, int]:
    """How long a sound likely and at most is, rounded up."""
    kind, text = audio.get("format"), audio.get("data")
    if not isinstance(text, str):
        message = f"{name}.data must be a text of base64"
        raise InvalidRequest(message, param=f"{name}.data")
    try:
        # Four letters of base64 are three bytes.
        data = base64.b64decode(text if kind == "mp3" else text[: WAV_HEAD_BYTES // 3 * 4], validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{name}.data is not base64"
        raise InvalidRequest(message, param=f"{name}.data") from error
    if kind == "mp3":
        return -(-len(data) * 1000 // MP3_BYTES_PER_S_LIKELY), -(-len(data) * 1000 // MP3_BYTES_PER_S_LEAST)
    if kind != "wav":
        message = f"{name}.format must be wav or mp3"
        raise UnsupportedFormat(message, param=f"{name}.format")
    rate = _wav_bytes_per_s(data, name)
    # The length that the head tells may be wrong; there is never more sound than there are bytes.
    length_ms = -(-(len(text) * 3 // 4) * 1000 // rate)
    return length_ms, length_ms


def _wav_bytes_per_s(data: bytes, name: str) -> int:
    """Bytes of a second, from what a player goes by: samples a second, and bytes of a sample of all channels."""
    place = 12
    while data[:4] == b"RIFF" and data[8:12] == b"WAVE" and place + 24 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"fmt ":
            tag, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", data, place + 8)
            if tag in PCM_TAGS and rate and bits and block == channels * (bits // 8) and block:
                return int(rate) * int(block)
            break
        place += 8 + size + size % 2
    message = f"{name}.data is not a WAV file of plain samples (PCM)"
    raise UnsupportedFormat(message, param=f"{name}.data")
