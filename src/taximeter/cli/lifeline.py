"""A child ends when its parent does, however the parent ended.

The supervisor keeps the writing end of a pipe and hands the reading end to each child.  Nothing is ever written:
the reading end reports the end of file when the last writer, the supervisor, is gone.
"""

import os
import signal
import threading
from collections.abc import Mapping

VARIABLE = "TAXIMETER_LIFELINE_FD"
# A clean exit is tried first: it takes back what a drained connection would have.
GRACE_S = 0.5


def hold(environ: Mapping[str, str]) -> None:
    """Watch the lifeline named in the environment, if there is one, until this process ends."""
    text = environ.get(VARIABLE, "")
    if text.isdigit():
        threading.Thread(target=_watch, args=(int(text),), name="lifeline", daemon=True).start()


def _watch(fd: int) -> None:
    # Children of ours must not hold on to it.
    os.set_inheritable(fd, False)  # noqa: FBT003 - os takes it by position
    os.read(fd, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(GRACE_S)
    os._exit(1)
