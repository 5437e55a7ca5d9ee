"""What the handlers of rides share: opening one, the first event of a streamed one, and what kinds of events there are."""

from collections.abc import AsyncGenerator

from starlette.requests import Request

from taximeter.engines import Chunk, Media, Vectors
from taximeter.gateway.disconnect import ClientWatch
from taximeter.gateway.envelopes import LIMITS, RIDE_ID
from taximeter.gateway.services import Services
from taximeter.metering import Order, Receipt, Ride

RideEvent = Chunk | Media | Vectors | Receipt


async def open_ride(services: Services, request: Request, order: Order) -> Ride:
    """Open the ride of an order; whatever goes wrong from here on is answered with the name of its receipt."""
    ride = await services.metering.open(order)
    request.scope[RIDE_ID] = ride.id
    request.scope[LIMITS] = ride.limits
    return ride


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
