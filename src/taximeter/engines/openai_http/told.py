"""Whether all counts of an upstream's report can be true together.

The meters read the same counts into buckets that never overlap and refuse those that do not fit.  What this module lets
through they accept, so that an answer which was delivered is also paid for.
"""

from collections.abc import Mapping

_INTO = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUT = ("completion_tokens_details", "output_tokens_details", "output_token_details")
_OBJECTS = (*_INTO, *_OUT, "usage", "timings")
_CACHE_SPLITS = ("cache_creation_token_details", "cache_creation")
_LIFETIMES = ("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens")


def adds_up(told: Mapping[str, int], prompt: int, output: int) -> bool:
    """Whether the counts of a chat, by their paths, are parts of this prompt and this answer."""
    if told.get("prompt_tokens") != prompt or told.get("completion_tokens") != output:
        return False
    if any(name in told for name in _OBJECTS) or any(path.startswith(("usage.", "timings.")) for path in told):
        return False
    into, out = _inside(told, _INTO), _inside(told, _OUT)
    if out.get("reasoning_tokens", 0) + out.get("audio_tokens", 0) > output:
        return False
    if out.get("accepted_prediction_tokens", 0) + out.get("rejected_prediction_tokens", 0) > output:
        return False
    return _prompt_adds_up(into, _written(told, into), prompt)


def _prompt_adds_up(into: Mapping[str, int], written: int | None, prompt: int) -> bool:
    if written is None or "cached_tokens_details" in into:
        return False
    audio, image, kept = into.get("audio_tokens", 0), into.get("image_tokens", 0), into.get("cached_tokens", 0) + written
    if audio + image > prompt or kept > prompt:
        return False
    cached = _inside(into, ("cached_tokens_details",))
    beyond = max(0, kept - (prompt - audio - image))
    cached_image = cached.get("image_tokens", min(image, beyond))
    cached_audio = cached.get("audio_tokens", min(audio, max(0, beyond - cached_image)))
    if cached_image > image or cached_audio > audio:
        return False
    return kept + audio - cached_audio + image - cached_image <= prompt


def _written(told: Mapping[str, int], into: Mapping[str, int]) -> int | None:
    """Tokens written to a cache; None when they contradict each other."""
    if any(name in into for name in _CACHE_SPLITS):
        return None
    named = (into.get("cache_write_tokens"), into.get("cache_creation_tokens"), told.get("cache_creation_input_tokens"))
    total = next((count for count in named if count is not None), None)
    split = _inside(into, _CACHE_SPLITS)
    parts = [split[name] for name in _LIFETIMES if name in split]
    if parts and total not in (None, sum(parts)):
        return None
    return sum(parts) if parts else total or 0


def _inside(told: Mapping[str, int], names: tuple[str, ...]) -> dict[str, int]:
    """The counts of the first of these objects that has any."""
    for name in names:
        found = {path.removeprefix(f"{name}."): value for path, value in told.items() if path.startswith(f"{name}.")}
        if found:
            return found
    return {}
