"""Circuit breakers: an engine that fails is left alone for a while, and tried again with one call."""

from taximeter.admission.breakers.errors import EngineCircuitOpen
from taximeter.admission.breakers.health import Health, Look
from taximeter.admission.breakers.model import BreakerRules, Change, View
from taximeter.admission.breakers.resets import Resets
from taximeter.admission.breakers.rules import Breaker, Permit
from taximeter.admission.breakers.service import Breakers, Call, rules_of
from taximeter.admission.breakers.store import BreakerStore, Publisher
from taximeter.admission.breakers.tasks import BreakerWatch

__all__ = [
    "Breaker",
    "BreakerRules",
    "BreakerStore",
    "BreakerWatch",
    "Breakers",
    "Call",
    "Change",
    "EngineCircuitOpen",
    "Health",
    "Look",
    "Permit",
    "Publisher",
    "Resets",
    "View",
    "rules_of",
]
