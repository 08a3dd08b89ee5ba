"""How far a long command is, on standard error."""

from __future__ import annotations

import sys
import time

_REPORT_SECONDS = 1.0


class Progress:
    """Reports progress on standard error once a second; on a terminal in one line."""

    def __init__(self, verb: str) -> None:
        self.keys = self.size = 0
        self._verb = verb
        self._started = self._reported = time.monotonic()

    def add(self, size: int) -> None:
        """Count one more key, with a value of `size` bytes."""
        self.keys += 1
        self.size += size
        if time.monotonic() - self._reported >= _REPORT_SECONDS:
            self.report()

    def report(self, end: str = "") -> None:
        """Print the progress."""
        self._reported = time.monotonic()
        rate = self.keys / max(self._reported - self._started, 0.001)
        line = f"{self._verb} {self.keys} keys, {self.size} bytes, {rate:.0f} keys/s"
        if sys.stderr.isatty():
            print(f"\r{line}", end=end, file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr)
