"""Recomputes every balance and open hold from the log alone, and checks the books against it.

Written apart from the ledger on purpose: it imports nothing of it and has statements of its own, so that a mistake there
is not repeated here.  Codes are spelled out again for the same reason.

program        one consistent snapshot: reads the log once, then compares everything else with it
journal        what the log says, operation by operation
acknowledged   what a client was told, against the log
report         what was read and what differs
"""

from taximeter.ledger.replay.program import replay
from taximeter.ledger.replay.report import Difference, Report

__all__ = ["Difference", "Report", "replay"]
