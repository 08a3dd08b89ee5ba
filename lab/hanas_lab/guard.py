"""Kills the lab's processes after any end of the lab itself.

The lab starts this file as a program and reports its processes over a pipe: `+PID` and `-PID`, one a line; each leads
its own process group. At the end of the pipe the guard kills the remaining ones. It imports nothing of this package, so
it starts within milliseconds, and it works on every POSIX system.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def survivors(lines: Iterable[str]) -> set[int]:
    """Return the processes with a `+` and no later `-`."""
    pids: set[int] = set()
    for line in lines:
        mark, pid = line[:1], line[1:].strip()
        if pid.isdecimal() and mark == "+":
            pids.add(int(pid))
        elif pid.isdecimal() and mark == "-":
            pids.discard(int(pid))
    return pids


def main() -> None:
    """Wait for the end of standard input, then kill the remaining processes."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for pid in survivors(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
