"""Proves that everything which tells what was charged tells the same.

model      one comparison and its outcome
books      ledger = receipts = daily sums = revenue, requests = holds
counters   what each process counted = the receipts that it wrote
scrape     a gateway's metrics page = what the processes reported
files      completed videos = the object store's list
program    all of them once, for an operator
watch      every few minutes in a worker, for /metrics
"""

from taximeter.metering.reconciliation.model import Check, Span
from taximeter.metering.reconciliation.program import reconcile
from taximeter.metering.reconciliation.scrape import compare_page
from taximeter.metering.reconciliation.watch import Watch

__all__ = ["Check", "Span", "Watch", "compare_page", "reconcile"]
