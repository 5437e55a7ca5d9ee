"""Which kills, in which order: every named point with every victim once a round, shuffled by the seed."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.crash.system import GATEWAYS, WORKER
from taximeter.kernel.faults import POINTS

PROCESS, DATABASE, BACKEND, TERMINATED, BOTH, MACHINE = "process", "database", "backend", "backend (SIGTERM)", "both gateways", "machine"
ANY = "at any moment"
BEFORE_JOB = "in the posting, hold made, job row not"
BEFORE_RECEIPT = "in the posting, charged, receipt not"
BEFORE_JOB_END = "in the posting, video charged, job not ended"
SPOOLED = "settlements in the spool"
CHECKPOINT = "in a checkpoint"
POWER = "power cut"

GATEWAY_POINTS = (
    "ledger.batch.unsent",
    "ledger.batch.answered",
    "metering.held",
    "metering.ride.ended",
    "metering.ride.settled",
    "metering.answer.kept",
    "metering.spool.written",
    "metering.spool.synced",
)
WORKER_POINTS = (
    "ledger.batch.unsent",
    "ledger.batch.answered",
    "metering.video.made",
    "metering.video.stored",
    "metering.adoption.begun",
    "metering.adoption.posted",
    "metering.sweeper.expiring",
    "metering.sweeper.expired",
)
assert {*GATEWAY_POINTS, *WORKER_POINTS} == set(POINTS), "every point is struck"


@dataclass(frozen=True, slots=True)
class Cell:
    """One kill.

    Attributes:
        moment: a fault point, or one of the moments above.
        victim: what dies.
        member: whose fault point it is.
    """

    moment: str
    victim: str
    member: str = ""

    @property
    def spec(self) -> str:
        """How its process is armed; nothing when it is not a fault point's."""
        return "" if self.moment not in POINTS else self.moment if self.victim == PROCESS else f"{self.moment}:1:freeze"


OTHERS = (
    Cell(ANY, PROCESS, GATEWAYS[0]),
    Cell(ANY, PROCESS, GATEWAYS[1]),
    Cell(ANY, PROCESS, WORKER),
    Cell(ANY, DATABASE),
    Cell(ANY, DATABASE),
    Cell(ANY, BACKEND),
    Cell(BEFORE_JOB, BACKEND),
    Cell(BEFORE_JOB, TERMINATED),
    Cell(BEFORE_JOB, DATABASE),
    Cell(BEFORE_JOB, BOTH),
    Cell(BEFORE_RECEIPT, BACKEND),
    Cell(BEFORE_RECEIPT, TERMINATED),
    Cell(BEFORE_RECEIPT, DATABASE),
    Cell(BEFORE_RECEIPT, BOTH),
    Cell(BEFORE_JOB_END, PROCESS, WORKER),
    Cell(BEFORE_JOB_END, BACKEND),
    Cell(CHECKPOINT, DATABASE),
    Cell(CHECKPOINT, DATABASE),
    Cell(POWER, MACHINE),
    Cell(POWER, MACHINE),
)


def _armed(victim: str, member: str, points: Sequence[str]) -> list[Cell]:
    return [Cell(point, victim, member) for point in points]


def long(seed: int) -> Iterator[Cell]:
    """Rounds without end.  Cells of one process stand together: it is started again armed for the next."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    while True:
        chains: list[list[Cell]] = [[cell] for cell in OTHERS]
        for member, points in ((GATEWAYS[0], GATEWAY_POINTS), (WORKER, WORKER_POINTS)):
            cells = _armed(PROCESS, member, points)
            rng.shuffle(cells)
            chains += [cells[:4], cells[4:]]
            chains += [[cell] for cell in _armed(DATABASE, member, points)]
        rng.shuffle(chains)
        for chain in chains:
            yield from chain


def short(seed: int) -> Iterator[Cell]:
    """Each fault point once, and each other moment once, for the normal tests."""
    rng = random.Random(seed)  # noqa: S311 - not for secrets
    gateway, worker = _armed(PROCESS, GATEWAYS[0], GATEWAY_POINTS), _armed(PROCESS, WORKER, WORKER_POINTS[2:])
    others = [Cell(ANY, DATABASE), Cell(BEFORE_JOB, BACKEND), Cell(BEFORE_RECEIPT, BOTH), Cell(BEFORE_JOB_END, PROCESS, WORKER), Cell(POWER, MACHINE)]
    others += [Cell(CHECKPOINT, DATABASE), Cell("ledger.batch.answered", DATABASE, GATEWAYS[0])]
    for cells in (gateway, others):
        rng.shuffle(cells)
    yield from (*gateway, *worker, *others)
