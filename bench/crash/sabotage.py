"""The product with a bug: ``python -m bench.crash.sabotage BUG COMMAND ...`` is ``taximeter COMMAND ...`` with one thing wrong.

Crash tests that find nothing prove nothing unless they find these.
"""

import asyncio
import dataclasses
import itertools
import sys
from collections.abc import Callable, Mapping

from taximeter.cli import main
from taximeter.ledger import Kind, Operation, Outcome, Status
from taximeter.metering import Metering, Order, Ride
from taximeter.metering.settlements import Settlements

EVERY = 10


def drop_settlements() -> None:
    """Every tenth settlement is forgotten, and its answer says that it is settled."""
    numbers, settle = itertools.count(1), Settlements.settle

    async def forget_some(self: Settlements, operation: Operation) -> Outcome | None:
        if operation.kind is Kind.SETTLE and next(numbers) % EVERY == 0:
            return Outcome(Status.APPLIED, operation.amount_utok, 0)
        return await settle(self, operation)

    Settlements.settle = forget_some  # type: ignore[method-assign]


def acknowledge_early() -> None:
    """The answer does not wait for the commit."""
    settle = Settlements.settle
    running: set[asyncio.Future[Outcome]] = set()

    async def promise(self: Settlements, operation: Operation) -> Outcome | None:
        if operation.kind is not Kind.SETTLE:
            return await settle(self, operation)
        running.add(asyncio.ensure_future(self._books.submit(operation)))
        return Outcome(Status.APPLIED, operation.amount_utok, 0)

    Settlements.settle = promise  # type: ignore[method-assign]


def forget_keys() -> None:
    """Idempotency keys are ignored: what is sent again is run and charged again."""
    begin = Metering.open

    async def begin_anew(self: Metering, order: Order) -> Ride:
        return await begin(self, dataclasses.replace(order, idempotency_key=None))

    Metering.open = begin_anew  # type: ignore[method-assign]


BUGS: Mapping[str, Callable[[], None]] = {
    "acknowledges-early": acknowledge_early,
    "drops-settlements": drop_settlements,
    "forgets-keys": forget_keys,
}

if __name__ == "__main__":
    BUGS[sys.argv[1]]()
    sys.exit(main(sys.argv[2:]))
