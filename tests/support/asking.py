"""A chat over HTTP as a caller sees it, streamed or plain, good or bad."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

CHAT_PATH = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "tell me more"}]


@dataclass(frozen=True)
class Told:
    """What the caller got: the status, the texts, the error if there is one, and what it cost if that was said."""

    status: int
    texts: list[str]
    error: Mapping[str, Any]
    extra: Mapping[str, Any]
    headers: Mapping[str, str]


async def ask_chat(
    http: aiohttp.ClientSession, url: str, key: str, *, repeat_key: str | None = None, quote: str | None = None, **body: object
) -> Told:
    """Ask ``teller``, nine tokens at most, unless ``body`` says otherwise."""
    wishes = {"idempotency-key": repeat_key, "taximeter-quote": quote}
    headers = {"Authorization": f"Bearer {key}", **{name: wish for name, wish in wishes.items() if wish is not None}}
    request = {"model": "teller", "messages": MESSAGES, "max_tokens": 9, **body}
    async with http.post(url + CHAT_PATH, json=request, headers=headers) as got:
        raw = await got.read()
    if got.content_type == "application/json":
        answer = json.loads(raw)
        texts = [choice["message"]["content"] for choice in answer.get("choices", [])]
        return Told(got.status, texts, answer.get("error", {}), answer.get("taximeter", {}), got.headers)
    lines = [line.removeprefix("data: ") for line in raw.decode().split("\n\n") if line]
    assert lines.pop() == "[DONE]", "a stream ends with its end mark, whatever happened"
    events = [json.loads(line) for line in lines]
    deltas = [choice["delta"] for event in events for choice in event.get("choices", [])]
    texts = [delta["content"] for delta in deltas if delta.get("content")]
    return Told(got.status, texts, events[-1].get("error", {}), events[-1].get("taximeter", {}), got.headers)
