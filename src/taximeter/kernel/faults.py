"""Named points at which a crash test kills or freezes a process.  In production nothing is armed and a point costs one comparison.

A process is armed by its entry, with the setting ``TAXIMETER_FAULT_POINT``: ``NAME`` or ``NAME:N`` kills it (SIGKILL) when
it reaches the point for the Nth time; ``NAME:N:freeze`` stops it there (SIGSTOP), so that the test can kill something
else at that moment and let it go on (SIGCONT).
"""

import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from taximeter.kernel.errors import SetupError

POINTS: Mapping[str, str] = MappingProxyType(
    {
        "ledger.batch.unsent": "a batch has left the queue and is not sent",
        "ledger.batch.answered": "the database has committed and answered a batch; nobody who waits for it has been told",
        "metering.held": "the maximum is held; the engine has not begun",
        "metering.ride.ended": "the engine has ended; its settlement has not begun",
        "metering.ride.settled": "the settlement is posted or on the disk; the answer has not left",
        "metering.answer.kept": "the answer is kept for repeats; it has not left",
        "metering.spool.written": "settlements are written to the spool; nothing is fsynced",
        "metering.spool.synced": "settlements are safe in the spool; nobody has been told",
        "metering.adoption.begun": "a dead process's spool is read; its first entry is not posted",
        "metering.adoption.posted": "an entry of a dead process is posted; its file is still there",
        "metering.video.made": "the engine has made a video; nothing is stored",
        "metering.video.stored": "a video's file is stored; its settlement has not begun",
        "metering.sweeper.expiring": "the sweeper has found a hold that nobody will end; nothing is posted",
        "metering.sweeper.expired": "the sweeper has released a hold",
    }
)
FREEZE = "freeze"


@dataclass(slots=True)
class _Fault:
    point: str
    left: int
    freezes: bool


_armed: _Fault | None = None


def reach(point: str) -> None:
    """Mark a point.  Does nothing unless this process is armed with it."""
    if _armed is not None and _armed.point == point:
        _strike(_armed)


def arm(text: str) -> None:
    """Arm this process as the setting says; an empty text disarms it.  Raises SetupError."""
    global _armed  # noqa: PLW0603 - one per process: what kills it needs no owner
    _armed = None
    if not text:
        return
    name, _, rest = text.partition(":")
    count, _, action = rest.partition(":")
    if name not in POINTS or not (count or "1").isdigit() or int(count or "1") < 1 or action not in ("", FREEZE):
        message = f"TAXIMETER_FAULT_POINT={text!r} is not NAME[:N[:{FREEZE}]] with one of {', '.join(POINTS)}; it is for crash tests, unset it"
        raise SetupError(message)
    _armed = _Fault(name, int(count or "1"), action == FREEZE)


def _strike(fault: _Fault) -> None:
    fault.left -= 1
    if fault.left > 0:
        return
    arm("")
    # To this thread, not to the process: then nothing behind the point runs any more.
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP if fault.freezes else signal.SIGKILL)
