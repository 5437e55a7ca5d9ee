"""Surge prices: dearer above a load, by a published curve, slowly, and never for what was quoted.

model        policy, state, what everybody is told
rules        the controller
policy_file  which engines, by which policy, read where
sources      occupancy, NVML, Prometheus
board        the prices of the moment in a gateway or a worker
store        what is written and read; the audit
tasks        samples and moves the prices, in one worker
"""

from taximeter.admission.surge.board import Board
from taximeter.admission.surge.errors import FlexUnavailable, MultiplierAboveMaximum
from taximeter.admission.surge.model import NAME, Current, Point, Policy, Sample, State
from taximeter.admission.surge.policy_file import EnginePlan, read_plans
from taximeter.admission.surge.rules import step
from taximeter.admission.surge.sources import open_source
from taximeter.admission.surge.store import SurgeStore
from taximeter.admission.surge.tasks import SurgeLeader

__all__ = [
    "NAME",
    "Board",
    "Current",
    "EnginePlan",
    "FlexUnavailable",
    "MultiplierAboveMaximum",
    "Point",
    "Policy",
    "Sample",
    "State",
    "SurgeLeader",
    "SurgeStore",
    "open_source",
    "read_plans",
    "step",
]
