"""The buckets that every provider's usage is sorted into, and the suspicion with which it is read."""

from collections.abc import Mapping
from typing import Any

import msgspec

from taximeter.meters.errors import BadReport

COUNT_MAX = 10**12
"""No request has more tokens than this; a larger figure is a mistake."""


class Buckets(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of one request.  No token is in two buckets.

    Attributes:
        fresh_input: text that the model had to read.
        cache_read: found in the provider's cache, whatever it is (text, picture or sound).
        cache_write_5m: read, and kept for five minutes.
        cache_write_1h: read, and kept for an hour.
        audio_in: sound that the model had to hear.
        image_in: pictures, frames of films and pages that it had to see.
        visible_output: the answer's text, rejected predictions included: providers bill them.
        reasoning_output: hidden reasoning.
        audio_out: the answer's sound.
    """

    fresh_input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    audio_in: int = 0
    image_in: int = 0
    visible_output: int = 0
    reasoning_output: int = 0
    audio_out: int = 0

    @property
    def prompt(self) -> int:
        """Everything that went in."""
        return self.fresh_input + self.cache_read + self.cache_write_5m + self.cache_write_1h + self.audio_in + self.image_in

    @property
    def output(self) -> int:
        """Everything that came out."""
        return self.visible_output + self.reasoning_output + self.audio_out

    @property
    def total(self) -> int:
        """Both."""
        return self.prompt + self.output


class Node:
    """A JSON object of a usage report; counts are read by name, and what is no count is refused with its path."""

    def __init__(self, value: Mapping[Any, Any], path: str = "") -> None:
        self._value = value
        self._path = path

    def count(self, *names: str) -> int:
        """The first of the counts ``names`` that is there; 0 when none is."""
        found = self.find(*names)
        return 0 if found is None else found

    def find(self, *names: str) -> int | None:
        """As ``count``, and None when none is there.  Null is the same as absent."""
        for name in names:
            value = self._value.get(name)
            if value is None:
                continue
            if type(value) is not int or not 0 <= value <= COUNT_MAX:
                message = f"the usage report has {self._path}{name}={value!r:.40}, which is not a count; the request was not charged"
                raise BadReport(message)
            return value
        return None

    def needed(self, *names: str) -> int:
        """As ``count``.  Raises BadReport when none is there."""
        found = self.find(*names)
        if found is None:
            message = f"the usage report lacks {self._path}{names[0]}; the request was not charged"
            raise BadReport(message)
        return found

    def inner(self, *names: str) -> "Node":
        """The first of these objects that is there, or an empty one."""
        for name in names:
            value = self._value.get(name)
            if isinstance(value, Mapping):
                return Node(value, f"{self._path}{name}.")
            if value is not None:
                message = f"the usage report has {self._path}{name}={value!r:.40}, which is not an object; the request was not charged"
                raise BadReport(message)
        return Node({})

    def each(self, name: str) -> list["Node"]:
        """The objects of a list; none when it is absent."""
        values = self._value.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or not all(isinstance(value, Mapping) for value in values):
            message = f"the usage report has {self._path}{name}, which is not a list of objects; the request was not charged"
            raise BadReport(message)
        return [Node(value, f"{self._path}{name}[{index}].") for index, value in enumerate(values)]

    def text(self, name: str) -> str:
        """A text; empty when it is absent or something else."""
        value = self._value.get(name)
        return value if isinstance(value, str) else ""


def agree(what: str, sum_of_parts: int, told: int | None) -> None:
    """Raises BadReport unless the provider told no figure of its own, or the same one."""
    if told is not None and told != sum_of_parts:
        message = f"the provider reports {told} {what}, but its parts add up to {sum_of_parts}; the request was not charged"
        raise BadReport(message)


def part(name: str, value: int, whole_name: str, whole: int) -> int:
    """``value``.  Raises BadReport when it is more than what it is a part of."""
    if value > whole:
        message = f"the provider reports {value} {name} of {whole} {whole_name}; the request was not charged"
        raise BadReport(message)
    return value


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt whose count includes everything, and what is known of it.

    Attributes:
        prompt: all of it.
        cached: found in the cache.
        cached_audio: sound among ``cached``; None when the provider does not say.
        cached_image: pictures among ``cached``; None when the provider does not say.
        audio: sound, cached or not.
        image: pictures, cached or not.
        written_5m: kept for five minutes.
        written_1h: kept for an hour.
    """

    prompt: int
    cached: int = 0
    cached_audio: int | None = None
    cached_image: int | None = None
    audio: int = 0
    image: int = 0
    written_5m: int = 0
    written_1h: int = 0

    def split(self) -> Buckets:
        """The prompt's buckets.

        Where the provider does not say what of sound and pictures was cached, the text counts as cached first, then pictures,
        then sound.  Written ones are text.  Raises BadReport when parts are larger than the whole.
        """
        media = part("audio and image tokens", self.audio + self.image, "prompt tokens", self.prompt)
        part("cached and cache-writing tokens", self.cached + self.written_5m + self.written_1h, "prompt tokens", self.prompt)
        beyond = max(0, self.cached + self.written_5m + self.written_1h - (self.prompt - media))
        cached_image = min(self.image, beyond) if self.cached_image is None else part("cached", self.cached_image, "image tokens", self.image)
        cached_audio = (
            min(self.audio, max(0, beyond - cached_image))
            if self.cached_audio is None
            else part("cached", self.cached_audio, "audio tokens", self.audio)
        )
        audio, image = self.audio - cached_audio, self.image - cached_image
        fresh = self.prompt - self.cached - self.written_5m - self.written_1h - audio - image
        if fresh < 0:
            message = (
                f"the provider reports {self.cached} cached, {self.written_5m + self.written_1h} cache-writing, {audio} fresh audio and {image} "
                f"fresh image tokens of {self.prompt} prompt tokens, which is too many; the request was not charged"
            )
            raise BadReport(message)
        return Buckets(
            fresh_input=fresh,
            cache_read=self.cached,
            cache_write_5m=self.written_5m,
            cache_write_1h=self.written_1h,
            audio_in=audio,
            image_in=image,
        )


def with_output(prompt: Buckets, *, visible: int, reasoning: int, audio: int) -> Buckets:
    """The prompt's buckets, and an answer's."""
    return msgspec.structs.replace(prompt, visible_output=visible, reasoning_output=reasoning, audio_out=audio)
