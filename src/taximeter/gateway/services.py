"""What the handlers work with; made once by the composition root."""

from collections.abc import Callable
from dataclasses import dataclass

from taximeter.admission import breakers, budgets, events, plans
from taximeter.admission import limits as admission_limits
from taximeter.admission import surge as surge_prices
from taximeter.identity import Identity
from taximeter.kernel.settings import Settings
from taximeter.metering import Metering, Quotes, Records, Tenancy, Videos
from taximeter.pricing import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts below the gateway; ``catalog`` and ``surge_board`` answer with what is in force now."""

    settings: Settings
    identity: Identity
    metering: Metering
    quotes: Quotes
    videos: Videos
    records: Records
    tenancy: Tenancy
    limits: admission_limits.LimitsOffice
    plans: plans.Plans
    budgets: budgets.Budgets
    webhooks: events.Webhooks
    catalog: Callable[[], Catalog]
    surge: surge_prices.SurgeStore
    surge_board: Callable[[], surge_prices.Board]
    resets: breakers.Resets
    health: breakers.Health
