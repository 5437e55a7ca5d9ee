"""Every comparison once, for an operator."""

import asyncpg

from taximeter.kernel.clock import Clock
from taximeter.metering.objects import Objects
from taximeter.metering.reconciliation.books import compare_everything
from taximeter.metering.reconciliation.counters import compare_counters
from taximeter.metering.reconciliation.files import compare_files
from taximeter.metering.reconciliation.model import Check, Span


async def reconcile(connection: asyncpg.Connection, objects: Objects, clock: Clock, span: Span, process_dead_s: float) -> list[Check]:
    """Compare the books of these days, and all that has no days: revenue, counters and files.

    Args:
        connection: of the application role, without a limit on the time of a statement.
        objects: the object store.
        clock: tells how old a file is.
        span: which days' requests and receipts are compared.
        process_dead_s: a process without a heartbeat for this long is dead.

    Raises OSError when the object store does not answer.
    """
    return [
        *await compare_everything(connection, span),
        await compare_counters(connection, process_dead_s),
        await compare_files(connection, objects, clock),
    ]
