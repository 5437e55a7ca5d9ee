"""Durable jobs in PostgreSQL: leases, fences, and rows that live and end with their hold."""

from taximeter.jobs.model import Job, State, Verdict
from taximeter.jobs.store import JobStore

__all__ = ["Job", "JobStore", "State", "Verdict"]
