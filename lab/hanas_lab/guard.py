"""Ends the lab's processes when the lab itself is gone, however it went.

The lab starts this file as a program and tells it over a pipe which processes live: `+PID` and `-PID`, one a
line; each leads its own process group. When the pipe ends, those left are killed. It imports nothing of this
package, so it starts within milliseconds, and it works on every POSIX system.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterable


def survivors(lines: Iterable[str]) -> set[int]:
    """The processes that were announced and not taken back when the lines ended."""
    living: set[int] = set()
    for line in lines:
        mark, pid = line[:1], line[1:].strip()
        if pid.isdecimal() and mark == "+":
            living.add(int(pid))
        elif pid.isdecimal() and mark == "-":
            living.discard(int(pid))
    return living


def main() -> None:
    """Wait for the end of standard input, then kill what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    for pid in survivors(sys.stdin):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
