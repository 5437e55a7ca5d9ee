"""POST /v1/chat/completions, plain and streamed."""

from collections.abc import Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.engines import Chunk
from taximeter.gateway.body import take_flag
from taximeter.gateway.completion import Completion
from taximeter.gateway.disconnect import ClientWatch
from taximeter.gateway.envelopes import encode_json, json_response
from taximeter.gateway.idempotency import fingerprint_of, keep
from taximeter.gateway.metrics import Metrics
from taximeter.gateway.orders import make_order, read_call
from taximeter.gateway.rides import RideEvent, first_event, open_ride
from taximeter.gateway.services import Services
from taximeter.gateway.sse import DONE, EventStream
from taximeter.kernel.errors import InvalidRequest
from taximeter.metering import Receipt, Ride


def routes(services: Services, metrics: Metrics) -> list[Route]:
    """The chat route."""

    async def create(request: Request) -> Response:
        caller, body = await read_call(services, request)
        fingerprint = fingerprint_of(request, "chat", body)
        stream, with_usage = take_form(body)
        order = make_order(request, caller, "chat", body, stream=stream, fingerprint=fingerprint)
        ride = await open_ride(services, request, order)
        telling = partial(_tell_drift, metrics, ride)
        if stream:
            writer = _ChunkWriter(_head(ride, "chat.completion.chunk", order.model), telling, with_usage=with_usage)
            return await _streamed(request, ride, writer)
        return await keep(services, order, ride, await _plain(request, ride, order.model, telling))

    return [Route("/v1/chat/completions", create, methods=["POST"])]


def take_form(body: dict[str, Any]) -> tuple[bool, bool]:
    """Remove what only concerns the form of the answer: whether it is streamed, and with its usage.  Raises InvalidRequest."""
    stream = take_flag(body, "stream")
    return stream, _take_include_usage(body, stream=stream)


def usage(receipt: Receipt) -> dict[str, Any]:
    """OpenAI's ``usage``: cached, written, heard and seen are parts of prompt; reasoning and sound are parts of completion.

    Details beyond OpenAI's first ones stand there when the model's meter counts them.
    """
    work = receipt.work
    reasoning, prompt = work.get("reasoning_tokens", 0), work.get("prompt_tokens", 0)
    completion = work.get("output_tokens", 0) + reasoning + work.get("audio_output_tokens", 0)
    into = {"cached_tokens": work.get("cached_prompt_tokens", 0)}
    out = {"reasoning_tokens": reasoning}
    if "audio_input_tokens" in work:
        into["audio_tokens"] = work["audio_input_tokens"]
        into["image_tokens"] = work["image_input_tokens"]
        into["cache_write_tokens"] = work["cache_write_5m_tokens"] + work["cache_write_1h_tokens"]
        out["audio_tokens"] = work["audio_output_tokens"]
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": into,
        "completion_tokens_details": out,
    }


def _take_include_usage(body: dict[str, Any], *, stream: bool) -> bool:
    options = body.pop("stream_options", None)
    if options is None:
        return False
    if not isinstance(options, dict):
        message = "'stream_options' must be an object."
        raise InvalidRequest(message, param="stream_options")
    if not stream:
        message = "'stream_options' is only allowed when 'stream' is true."
        raise InvalidRequest(message, param="stream_options")
    return take_flag(options, "include_usage")


def _head(ride: Ride, kind: str, model: str) -> dict[str, Any]:
    head = {"id": f"chatcmpl-{ride.id.hex}", "object": kind, "created": ride.created_at_s, "model": model}
    return {**head, "service_tier": ride.service_tier}


def _tell_drift(metrics: Metrics, ride: Ride, receipt: Receipt) -> None:
    """Count what was expected beside what the provider counted; what was estimated in the end, or cut short, tells nothing."""
    if receipt.measured and receipt.outcome in ("completed", "truncated"):
        metrics.counted(receipt.model, ride.expected_work, receipt.work)


async def _plain(request: Request, ride: Ride, model: str, telling: Callable[[Receipt], None]) -> Response:
    completion = Completion()
    receipt: Receipt | None = None
    async with ClientWatch(request.receive):
        async for event in ride.events():
            if isinstance(event, Chunk):
                completion.add(event.choices)
            elif isinstance(event, Receipt):
                receipt = event
    assert receipt is not None, "a ride ends with its receipt"
    telling(receipt)
    body = _head(ride, "chat.completion", model)
    body["choices"] = completion.choices(truncated=receipt.outcome == "truncated")
    body["usage"] = usage(receipt)
    body["taximeter"] = extra = receipt.extra()
    return json_response(body, receipt.headers(extra))


async def _streamed(request: Request, ride: Ride, writer: "_ChunkWriter") -> Response:
    events = ride.events()
    # Errors before the first delta are still plain HTTP errors.
    first = await first_event(request, events)
    return EventStream(first, events, writer.encode, ride.headers())


class _ChunkWriter:
    """Chunks as bytes, with the price in the last one.

    With ``include_usage`` the last chunk is the extra one without choices.  Without it, it is the one
    with ``finish_reason``: an extra chunk would break the many clients that read ``choices[0]`` of
    every chunk.  That one is therefore kept back until the receipt is there.
    """

    def __init__(self, head: dict[str, Any], telling: Callable[[Receipt], None], *, with_usage: bool) -> None:
        self._telling = telling
        self._head = b"data: " + encode_json(head)[:-1] + b',"choices":'
        self._with_usage = with_usage
        self._kept: list[dict[str, Any]] | None = None
        self._finished = False

    def encode(self, event: RideEvent) -> bytes:
        """What to send now, for one event of the ride."""
        if isinstance(event, Chunk):
            return self._delta(event.choices)
        assert isinstance(event, Receipt), "chat has no other events"
        self._telling(event)
        return self._end(event)

    def _delta(self, choices: list[dict[str, Any]]) -> bytes:
        ends = False
        for choice in choices:
            if choice.get("finish_reason"):
                ends = self._finished = True
        if self._with_usage:
            return self._line(choices, b',"usage":null')
        if not ends and self._kept is None:
            return self._line(choices)
        kept, self._kept = self._kept, choices if ends else None
        return (b"" if kept is None else self._line(kept)) + (b"" if ends else self._line(choices))

    def _end(self, receipt: Receipt) -> bytes:
        extra = b',"taximeter":' + encode_json(receipt.extra())
        choices = self._kept
        if choices is None and not self._finished:
            # The engine was stopped at its bound, or gave no reason.
            reason = "length" if receipt.outcome == "truncated" else "stop"
            choices = [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": reason}]
        if not self._with_usage:
            return self._line(choices or [], extra) + DONE
        last = self._line([], b',"usage":' + encode_json(usage(receipt)) + extra) + DONE
        return last if choices is None else self._line(choices, b',"usage":null') + last

    def _line(self, choices: list[dict[str, Any]], tail: bytes = b"") -> bytes:
        return self._head + encode_json(choices) + tail + b"}\n\n"
