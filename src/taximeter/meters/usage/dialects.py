"""How each provider reports usage.  Facts and their sources: ``docs/reference/meters/text.md``."""

from taximeter.meters.usage.buckets import Buckets, Inside, Node, agree, part, with_output


def openai(usage: Node) -> Buckets:
    """OpenAI's chat completions and responses: details are parts of prompt and completion, and so are cached tokens."""
    prompt = usage.needed("prompt_tokens", "input_tokens")
    output = usage.needed("completion_tokens", "output_tokens")
    return _inclusive(usage, prompt, output)


def vllm(usage: Node) -> Buckets:
    """vLLM: as OpenAI; ``completion_tokens`` may be null where nothing was generated."""
    return _inclusive(usage, usage.needed("prompt_tokens", "input_tokens"), usage.count("completion_tokens", "output_tokens"))


def _inclusive(usage: Node, prompt: int, output: int) -> Buckets:
    # Responses say "input_tokens_details", and the realtime interface "input_token_details".
    into = usage.inner("prompt_tokens_details", "input_tokens_details", "input_token_details")
    out = usage.inner("completion_tokens_details", "output_tokens_details", "output_token_details")
    cached = into.inner("cached_tokens_details")
    written_5m, written_1h = _written(usage, into)
    inside = Inside(
        prompt=prompt,
        cached=into.count("cached_tokens"),
        cached_audio=cached.find("audio_tokens"),
        cached_image=cached.find("image_tokens"),
        audio=into.count("audio_tokens"),
        image=into.count("image_tokens"),
        written_5m=written_5m,
        written_1h=written_1h,
    )
    reasoning, audio = out.count("reasoning_tokens"), out.count("audio_tokens")
    part("reasoning and audio tokens", reasoning + audio, "output tokens", output)
    part("predicted tokens", out.count("accepted_prediction_tokens") + out.count("rejected_prediction_tokens"), "output tokens", output)
    agree("total tokens", prompt + output, usage.find("total_tokens"))
    return with_output(inside.split(), visible=output - reasoning - audio, reasoning=reasoning, audio=audio)


def _written(usage: Node, into: Node) -> tuple[int, int]:
    """Tokens written to a cache, which gateways in front of Anthropic report inside OpenAI's shape."""
    total = into.find("cache_write_tokens", "cache_creation_tokens")
    if total is None:
        total = usage.find("cache_creation_input_tokens")
    return _by_lifetime(into.inner("cache_creation_token_details", "cache_creation"), total)


def _by_lifetime(split: Node, total: int | None) -> tuple[int, int]:
    short, long = split.find("ephemeral_5m_input_tokens"), split.find("ephemeral_1h_input_tokens")
    if short is None and long is None:
        # Five minutes is what one gets without asking.
        return total or 0, 0
    agree("cache-writing tokens", (short or 0) + (long or 0), total)
    return short or 0, long or 0


def anthropic(usage: Node) -> Buckets:
    """Anthropic's messages: ``input_tokens`` leave out what was read from the cache and what was written to it."""
    short, long = _by_lifetime(usage.inner("cache_creation"), usage.find("cache_creation_input_tokens"))
    output = usage.needed("output_tokens")
    thinking = part("thinking tokens", usage.inner("output_tokens_details").count("thinking_tokens", "reasoning_tokens"), "output tokens", output)
    buckets = Buckets(
        fresh_input=usage.needed("input_tokens"),
        cache_read=usage.count("cache_read_input_tokens"),
        cache_write_5m=short,
        cache_write_1h=long,
        visible_output=output - thinking,
        reasoning_output=thinking,
    )
    # Anthropic tells no total; gateways that speak its dialect may.
    agree("total tokens", buckets.total, usage.find("total_tokens"))
    return buckets


_PICTURES = ("IMAGE", "VIDEO", "DOCUMENT")


def gemini(usage: Node) -> Buckets:
    """Gemini's ``usageMetadata``: thoughts come on top of candidates, and results of tools on top of the prompt."""
    prompt, tools = usage.count("promptTokenCount"), usage.count("toolUsePromptTokenCount")
    visible, thoughts = usage.count("candidatesTokenCount", "responseTokenCount"), usage.count("thoughtsTokenCount")
    agree("total tokens", prompt + tools + visible + thoughts, usage.needed("totalTokenCount"))
    own, of_tools, cached = _modalities(usage, "promptTokensDetails"), _modalities(usage, "toolUsePromptTokensDetails"), None
    if usage.each("cacheTokensDetails"):
        cached = _modalities(usage, "cacheTokensDetails")
    inside = Inside(
        prompt=prompt + tools,
        cached=part("cached tokens", usage.count("cachedContentTokenCount"), "prompt tokens", prompt),
        cached_audio=cached and cached[0],
        cached_image=cached and cached[1],
        audio=own[0] + of_tools[0],
        image=own[1] + of_tools[1],
    )
    sound = part("audio tokens", _modalities(usage, "candidatesTokensDetails", "responseTokensDetails")[0], "candidates' tokens", visible)
    return with_output(inside.split(), visible=visible - sound, reasoning=thoughts, audio=sound)


def _modalities(usage: Node, *names: str) -> tuple[int, int]:
    """Tokens of sound and of pictures."""
    entries = [(entry.text("modality").upper(), entry.count("tokenCount")) for name in names for entry in usage.each(name)]
    return sum(count for kind, count in entries if kind == "AUDIO"), sum(count for kind, count in entries if kind in _PICTURES)


def llama_cpp(report: Node) -> Buckets:
    """llama.cpp: OpenAI's ``usage``, its own ``timings``, or both, which must then agree."""
    usage, timings = report.inner("usage"), report.inner("timings")
    told_prompt, told_output = usage.find("prompt_tokens"), usage.find("completion_tokens")
    cached, computed, predicted = timings.find("cache_n"), timings.find("prompt_n"), timings.find("predicted_n")
    if computed is None or predicted is None:
        return _inclusive(usage, usage.needed("prompt_tokens"), usage.needed("completion_tokens"))
    part("accepted tokens", timings.count("draft_n_accepted"), "drafted tokens", timings.count("draft_n"))
    if told_prompt is None and told_output is None:
        return Buckets(fresh_input=computed, cache_read=cached or 0, visible_output=predicted)
    agree("completion tokens", predicted, told_output)
    if cached is None:
        # Before it told its cache's part, llama.cpp told only what it computed.
        return _inclusive(usage, usage.needed("prompt_tokens"), predicted)
    agree("prompt tokens", computed + cached, told_prompt)
    agree("cached tokens", cached, usage.inner("prompt_tokens_details").find("cached_tokens"))
    buckets = _inclusive(usage, computed + cached, predicted)
    if buckets.cache_read == cached:
        return buckets
    return with_output(
        Inside(prompt=computed + cached, cached=cached).split(),
        visible=buckets.visible_output,
        reasoning=buckets.reasoning_output,
        audio=buckets.audio_out,
    )
