"""What the streaming handlers share: the first event of a ride, and what kinds of events there are."""

from collections.abc import AsyncGenerator

from starlette.requests import Request

from taximeter.engines import Chunk, Media, Vectors
from taximeter.gateway.disconnect import ClientWatch
from taximeter.metering import Receipt

RideEvent = Chunk | Media | Vectors | Receipt


async def first_event(request: Request, events: AsyncGenerator[RideEvent, None]) -> RideEvent:
    """The first event; closes the ride when it fails or the client leaves before.

    Until then nothing has been sent, and whatever goes wrong can still be told by an HTTP status.
    """
    try:
        async with ClientWatch(request.receive):
            return await anext(events)
    except BaseException:
        await events.aclose()
        raise
