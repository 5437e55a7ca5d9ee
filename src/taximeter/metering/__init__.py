"""The lifecycle of a request: quote, hold, run, settle, receipt."""

from taximeter.metering.desk import Desk
from taximeter.metering.model import Order, Receipt
from taximeter.metering.office import Office, open_office
from taximeter.metering.quotes import Quotes
from taximeter.metering.records import Records
from taximeter.metering.repeats import Replayed
from taximeter.metering.ride import Ride
from taximeter.metering.service import Metering
from taximeter.metering.sweeper import Sweeper
from taximeter.metering.tasks import VideoRunner
from taximeter.metering.tenancy import Tenancy
from taximeter.metering.videos import Videos, VideoView

__all__ = [
    "Desk",
    "Metering",
    "Office",
    "Order",
    "Quotes",
    "Receipt",
    "Records",
    "Replayed",
    "Ride",
    "Sweeper",
    "Tenancy",
    "VideoRunner",
    "VideoView",
    "Videos",
    "open_office",
]
