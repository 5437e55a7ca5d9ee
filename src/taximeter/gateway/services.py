"""What the handlers work with; made once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass

from taximeter.admission import limits as admission_limits
from taximeter.identity import Identity
from taximeter.kernel.settings import Settings
from taximeter.metering import Metering, Quotes, Records, Tenancy, Videos
from taximeter.pricing import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts below the gateway; ``catalog`` answers with the one that is in force now."""

    settings: Settings
    identity: Identity
    metering: Metering
    quotes: Quotes
    videos: Videos
    records: Records
    tenancy: Tenancy
    limits: admission_limits.LimitsOffice
    catalog: Callable[[], Catalog]
