"""A script, never imported: become the server's user, die with the parent, and exec.

    python -I -S launch.py PARENT_PID UID GID COMMAND [ARGUMENT ...]     (UID -1: stay who we are)

The parent cannot do this between fork and exec (``preexec_fn``): that is unsafe once it has threads.
Only the standard library is imported, and little of it: this runs at every start.
"""

import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Replace this process by the command, as the user asked for."""
    parent_pid, uid, gid = (int(text) for text in arguments[:3])
    command = arguments[3:]
    # While we may still read root's Python.
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - costs 10 ms, of use on Linux alone

        libc = ctypes.CDLL(None)
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # The caller's folder may be closed to the new user; PostgreSQL wants to be able to return to where it started.
    os.chdir("/")
    if sys.platform == "linux":
        # After setuid, which would clear it.  SIGINT is PostgreSQL's fast shutdown.
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
        if os.getppid() != parent_pid:
            sys.exit("the parent died while PostgreSQL was being started")
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    os.execv(command[0], command)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
