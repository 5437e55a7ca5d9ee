"""The quantities that chat is counted in since ``text.tokens/2``, and how an engine's report becomes them."""

from collections.abc import Mapping
from typing import Any

import msgspec

from taximeter.meters import chat_request, fields
from taximeter.meters.chat_media import NO_MEDIA, MediaRates, MediaTokens, count_media
from taximeter.meters.errors import BadProfile, BadReport
from taximeter.meters.model import Estimate, Work
from taximeter.meters.text_prompt import Answer, TextProfile, bind_answer, check_entry, prompt_tokens
from taximeter.meters.usage import Buckets, detect, normalise

QUANTITIES: Mapping[str, str] = {
    "fresh_prompt_tokens": "prompt tokens the model had to read",
    "cached_prompt_tokens": "prompt tokens found in the model's cache",
    "cache_write_5m_tokens": "prompt tokens read and kept in the cache for five minutes",
    "cache_write_1h_tokens": "prompt tokens read and kept in the cache for an hour",
    "audio_input_tokens": "tokens of sound the model had to hear",
    "image_input_tokens": "tokens of pictures the model had to see",
    "output_tokens": "tokens of the visible answer",
    "reasoning_tokens": "tokens of hidden reasoning",
    "audio_output_tokens": "tokens of the answer's sound",
    "prompt_tokens": "all that went in together, for display",
    "total_tokens": "all together, for display",
}
# A hold counts the dearest thing that can happen: see ``held`` and ``covered``.
HELD_AS: tuple[tuple[str, str], ...] = (
    ("fresh_prompt_tokens", "cached_prompt_tokens"),
    ("cache_write_5m_tokens", "fresh_prompt_tokens"),
    ("cache_write_1h_tokens", "fresh_prompt_tokens"),
    ("cache_write_1h_tokens", "cache_write_5m_tokens"),
    ("audio_input_tokens", "fresh_prompt_tokens"),
    ("image_input_tokens", "fresh_prompt_tokens"),
    ("output_tokens", "reasoning_tokens"),
    ("audio_output_tokens", "output_tokens"),
)
HELD_WHEN: Mapping[str, str] = {
    "cache_write_5m_tokens": "cache_writes",
    "cache_write_1h_tokens": "cache_writes",
    "audio_input_tokens": "audio_tokens_per_s",
    "image_input_tokens": "image_tokens",
    "audio_output_tokens": "audio_output",
}
"""Keys of a model's entry without which no hold counts anything as this."""
_NOTHING = dict.fromkeys(QUANTITIES, 0)
REPORTED = "provider."
"""Names in an engine's report that begin so are the provider's own: ``provider.prompt_tokens_details.cached_tokens``."""


class WideProfile(TextProfile, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A chat model's entry, with what it makes of pictures and sounds."""

    image_tokens: int = 0
    image_expected_tokens: int | None = None
    audio_tokens_per_s: int = 0
    audio_output: bool = False
    cache_writes: bool = False


class Counted(msgspec.Struct, frozen=True):
    """A request before it runs."""

    request: dict[str, Any]
    prompt_likely: int
    prompt_most: int
    media: MediaTokens
    answer: Answer
    written: str
    spoken: str

    def expected(self) -> dict[str, int]:
        """Likely work."""
        return self._work(self.prompt_likely, self.media.image_likely, self.media.audio_likely, self.answer.likely_each)

    def maximum(self) -> dict[str, int]:
        """The most work."""
        return self._work(self.prompt_most, self.media.image_most, self.media.audio_most, self.answer.most_each)

    def _work(self, prompt: int, image: int, audio: int, output_each: int) -> dict[str, int]:
        work = _NOTHING.copy()
        work[self.written] = prompt
        if self.media is not NO_MEDIA:
            work["audio_input_tokens"] = audio
            work["image_input_tokens"] = image
        output = work[self.spoken] = output_each * self.answer.choices
        work["prompt_tokens"] = prompt = prompt + image + audio
        work["total_tokens"] = prompt + output
        return work


def check_wide(entry: WideProfile) -> None:
    """Raises BadProfile naming what cannot be used."""
    check_entry(entry)
    for key in ("image_tokens", "audio_tokens_per_s"):
        if getattr(entry, key) < 0:
            raise BadProfile(key=key, message="must not be negative")
        if getattr(entry, key) and entry.template != "unknown":
            raise BadProfile(key=key, message=f"the template {entry.template} is one of text alone")
    if entry.image_expected_tokens is not None and not 0 <= entry.image_expected_tokens <= entry.image_tokens:
        raise BadProfile(key="image_expected_tokens", message="must be between 0 and image_tokens")


def count(request: Mapping[str, Any], entry: WideProfile) -> Counted:
    """Check a request, count its prompt and bind its answer.  Raises InvalidRequest, PromptTooLong, TokenizerUnavailable."""
    parts = chat_request.TEXT_PARTS
    if entry.image_tokens or entry.audio_tokens_per_s:
        seen, heard = ("image_url",) * bool(entry.image_tokens), ("input_audio",) * bool(entry.audio_tokens_per_s)
        parts = parts.union(seen, heard)
    limits = chat_request.Limits(
        messages=entry.messages, prompt_chars=entry.prompt_chars, choices=entry.choices, accepts=frozenset(entry.accepts), parts=parts
    )
    normal = chat_request.normalise(request, limits, flatten=entry.template != "unknown")
    media = NO_MEDIA
    if parts is not chat_request.TEXT_PARTS:
        expected = entry.image_tokens if entry.image_expected_tokens is None else entry.image_expected_tokens
        media = count_media(normal["messages"], MediaRates(entry.image_tokens, expected, entry.audio_tokens_per_s))
    likely, most = prompt_tokens(normal, entry, media.likely)
    answer = bind_answer(normal, entry, likely + media.likely)
    written = _kept_for(normal) if entry.cache_writes else "fresh_prompt_tokens"
    return Counted(normal, likely, most, media, answer, written, "audio_output_tokens" if entry.audio_output else "output_tokens")


def _kept_for(request: Mapping[str, Any]) -> str:
    """Where the prompt is counted: what asks to be kept anywhere may be kept as a whole."""
    marks = [request.get("cache_control")]
    for holder in (*request["messages"], *request.get("tools", ())):
        inner = holder.get("content") if isinstance(holder, dict) else None
        marks += [part.get("cache_control") for part in (holder, *(inner if isinstance(inner, list) else ())) if isinstance(part, dict)]
    asked = [mark for mark in marks if mark is not None]
    if not asked:
        return "fresh_prompt_tokens"
    long = any(isinstance(mark, dict) and mark.get("ttl") == "1h" for mark in asked)
    return "cache_write_1h_tokens" if long else "cache_write_5m_tokens"


def buckets_of(reported: Work) -> Buckets:
    """An engine's report in buckets: the provider's own words if there are any.  Raises BadReport."""
    told = None if _said_already(reported) else {name.removeprefix(REPORTED): value for name, value in reported.items() if name.startswith(REPORTED)}
    if told:
        usage = _unfolded(told)
        return normalise(detect(usage), usage)
    prompt = fields.reported_quantity(reported, "prompt_tokens")
    cached = fields.reported_quantity(reported, "cached_tokens", 0)
    output = fields.reported_quantity(reported, "output_tokens")
    reasoning = fields.reported_quantity(reported, "reasoning_tokens", 0)
    if cached > prompt or reasoning > output:
        message = f"the engine reported {cached} cached of {prompt} prompt tokens and {reasoning} reasoning of {output} output tokens"
        raise BadReport(message)
    return Buckets(fresh_input=prompt - cached, cache_read=cached, visible_output=output - reasoning, reasoning_output=reasoning)


_OWN_NAMES = frozenset({"prompt_tokens", "cached_tokens", "output_tokens", "reasoning_tokens"})
# What the engine has read out of OpenAI's words, under its own names.
_SAME = {
    "provider.prompt_tokens": "prompt_tokens",
    "provider.completion_tokens": "output_tokens",
    "provider.prompt_tokens_details.cached_tokens": "cached_tokens",
    "provider.completion_tokens_details.reasoning_tokens": "reasoning_tokens",
}


def _said_already(reported: Work) -> bool:
    """Whether the provider says nothing beyond what the engine says in its own four names, as nearly all do.

    Reading its words would then give the same buckets; it only takes ten times as long.
    """
    for name, value in reported.items():
        if name in _OWN_NAMES:
            continue
        own = _SAME.get(name)
        if own is not None:
            if reported.get(own) != value:
                return False
        elif value and (name != "provider.total_tokens" or value != reported.get("prompt_tokens", 0) + reported.get("output_tokens", 0)):
            return False
    told_all = all(provider in reported or not reported.get(own) for provider, own in _SAME.items())
    return told_all and "prompt_tokens" in reported and "output_tokens" in reported


def _unfolded(told: Mapping[str, int]) -> dict[str, Any]:
    usage: dict[str, Any] = {}
    for path, value in told.items():
        *outer, name = path.split(".")
        place = usage
        for step in outer:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                message = f"the engine's report has {path} beside a count of the same name; the request was not charged"
                raise BadReport(message)
        place[name] = value
    return usage


def covered(buckets: Buckets, estimate: Estimate) -> dict[str, int]:
    """A report's buckets as work, each counted as something that the hold was made for.

    A hold counts what the request can lead to: a cache that nobody asked to write, or a picture that was not sent, is not among
    it.  What a provider reports there was read afresh, or spoken as text, as far as the price goes: no hold can be exceeded.
    """
    held = estimate.maximum
    fresh, output = buckets.fresh_input, buckets.visible_output
    short, long = buckets.cache_write_5m, buckets.cache_write_1h
    if not held["cache_write_1h_tokens"]:
        short, long = short + long, 0
        if not held["cache_write_5m_tokens"]:
            fresh, short = fresh + short, 0
    audio, image, sound = buckets.audio_in, buckets.image_in, buckets.audio_out
    if not held["audio_input_tokens"]:
        fresh, audio = fresh + audio, 0
    if not held["image_input_tokens"]:
        fresh, image = fresh + image, 0
    if not held["audio_output_tokens"]:
        output, sound = output + sound, 0
    return {
        "fresh_prompt_tokens": fresh,
        "cached_prompt_tokens": buckets.cache_read,
        "cache_write_5m_tokens": short,
        "cache_write_1h_tokens": long,
        "audio_input_tokens": audio,
        "image_input_tokens": image,
        "output_tokens": output,
        "reasoning_tokens": buckets.reasoning_output,
        "audio_output_tokens": sound,
        "prompt_tokens": buckets.prompt,
        "total_tokens": buckets.total,
    }
