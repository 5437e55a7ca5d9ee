"""Who is next: requests that want the same engine run in fair order, by virtual Tokens of their tenants."""

from taximeter.admission.fairness.errors import DeadlinePassed, DeadlineTooNear, QueueTimeout
from taximeter.admission.fairness.model import CLASSES, PATIENT, PoolFigures, Standing
from taximeter.admission.fairness.room import Seat, WaitingRoom
from taximeter.admission.fairness.rules import Arrival, FairPool, queue_fact
from taximeter.admission.fairness.store import QueueStore

__all__ = [
    "CLASSES",
    "PATIENT",
    "Arrival",
    "DeadlinePassed",
    "DeadlineTooNear",
    "FairPool",
    "PoolFigures",
    "QueueStore",
    "QueueTimeout",
    "Seat",
    "Standing",
    "WaitingRoom",
    "queue_fact",
]
