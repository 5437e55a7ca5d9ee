"""What the handlers work with; made once by the composition root."""

from dataclasses import dataclass

from taximeter.identity import Identity
from taximeter.kernel.settings import Settings
from taximeter.metering import Metering, Records, Tenancy, Videos


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts below the gateway."""

    settings: Settings
    identity: Identity
    metering: Metering
    videos: Videos
    records: Records
    tenancy: Tenancy
