"""How many segments a main keeps prepared: as many as its log may need while one more is being prepared."""

import math

MOST = 8
"""Segments that are kept prepared at most, beside the one that has its name already."""
_BUSY_SECONDS = 10.0
"""A log that needs a segment less often than this is served by one."""
_IDLE_SECONDS = 30.0
"""After this long without a need, what is too much goes."""
_SAFETY = 2.0
"""Preparing may take this many times as long as the last time, or the log fill as much faster."""


class Pace:
    """Measures how fast segments are filled and prepared. Seconds, by one monotonic clock."""

    def __init__(self) -> None:
        """Have measured nothing yet."""
        self._preparation = 0.0
        self._interval = math.inf
        self._used_at = -math.inf

    def prepared(self, seconds: float) -> None:
        """Take note of how long the preparation of a segment took."""
        self._preparation = seconds

    def used(self, now: float) -> None:
        """Take note that the log has taken a segment."""
        self._interval = now - self._used_at
        self._used_at = now

    def wanted(self, now: float) -> int:
        """Return how many segments to keep prepared: 1 while the log hardly grows, `MOST` at most."""
        interval = max(self._interval, now - self._used_at)
        if interval > _BUSY_SECONDS:
            return 1
        return 1 + min(MOST - 1, max(1, math.ceil(_SAFETY * self._preparation / max(interval, 0.001))))

    def idle(self, now: float) -> bool:
        """Return whether it is time to give back what is too much."""
        return now - self._used_at >= _IDLE_SECONDS
