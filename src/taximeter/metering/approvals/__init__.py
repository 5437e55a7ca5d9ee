"""Requests that wait for an operator: parked at a binding price, decided about once, and then run at that price.

parked   a job that waits, as its owner sees it
parking  puts a request down
service  decides, lists
store    rows of ``admission.approvals``
"""

from taximeter.metering.approvals.parked import parked_extra, parked_job, parked_receipt
from taximeter.metering.approvals.parking import Parking
from taximeter.metering.approvals.service import Approvals
from taximeter.metering.approvals.store import ApprovalStore

__all__ = ["ApprovalStore", "Approvals", "Parking", "parked_extra", "parked_job", "parked_receipt"]
