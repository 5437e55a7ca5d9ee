"""POST /v1/audio/speech: a file, or server-sent events."""

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from taximeter.engines import Media
from taximeter.gateway.body import take_choice
from taximeter.gateway.disconnect import ClientWatch
from taximeter.gateway.idempotency import fingerprint_of
from taximeter.gateway.orders import make_order, read_call
from taximeter.gateway.rides import RideEvent, first_event, open_ride
from taximeter.gateway.services import Services
from taximeter.gateway.sse import EventStream, event
from taximeter.metering import Receipt, Ride

CONTENT_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg; codecs=opus",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}


def routes(services: Services) -> list[Route]:
    """The speech route."""

    async def create(request: Request) -> Response:
        caller, body = await read_call(services, request)
        fingerprint = fingerprint_of(request, "speech", body)
        form = take_form(body)
        order = make_order(request, caller, "speech", body, stream=form == "sse", fingerprint=fingerprint)
        # Which formats there are is the meter's to say: it refuses the others when the ride is opened.
        content_type = CONTENT_TYPES.get(str(body.get("response_format") or "mp3"), "application/octet-stream")
        ride = await open_ride(services, request, order)
        return await (_events(request, ride) if form == "sse" else _file(request, ride, content_type))

    return [Route("/v1/audio/speech", create, methods=["POST"])]


def take_form(body: dict[str, Any]) -> str:
    """Remove what only concerns the form of the answer: a file, or events.  Raises InvalidRequest."""
    return take_choice(body, "stream_format", ("audio", "sse"))


def usage(receipt: Receipt) -> dict[str, int]:
    """OpenAI's ``usage`` of speech: what went in, and the steps of the audio that came out."""
    work = receipt.work
    input_tokens = work.get("phoneme_tokens", work.get("prefill_positions", work.get("characters", 0)))
    output_tokens = work.get("audio_frames", work.get("decode_steps", 0))
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "total_tokens": input_tokens + output_tokens}


async def _file(request: Request, ride: Ride, content_type: str) -> Response:
    # Kept until it is complete, so that the headers can say what it cost; speech is a few megabytes at most.
    pieces: list[bytes] = []
    receipt: Receipt | None = None
    async with ClientWatch(request.receive):
        async for item in ride.events():
            if isinstance(item, Media):
                pieces.append(item.data)
            elif isinstance(item, Receipt):
                receipt = item
    assert receipt is not None, "a ride ends with its receipt"
    return Response(b"".join(pieces), 200, receipt.headers(), content_type)


async def _events(request: Request, ride: Ride) -> Response:
    events = ride.events()
    first = await first_event(request, events)
    return EventStream(first, events, _delta, ride.headers())


def _delta(item: RideEvent) -> bytes:
    if isinstance(item, Media):
        return event({"type": "speech.audio.delta", "audio": base64.b64encode(item.data).decode("ascii")})
    assert isinstance(item, Receipt), "speech has no other events"
    return event({"type": "speech.audio.done", "usage": usage(item), "taximeter": item.extra()})
