"""The time in which a process ran, by its own monotonic clock (docs/protocol.md, section 4.3).

A process that is paused, or waits for a processor, hears nothing and answers nobody. What it did not hear meanwhile
says nothing about others. So it measures their silence in its own time: of each turn of its event loop at most one
keep-alive interval counts.
"""

from collections import deque

PAUSES_WITHIN = 10.0
"""How long a pause is remembered, seconds."""


class OwnTime:
    """A clock that stands still while its process does not run."""

    def __init__(self, most: float) -> None:
        """Go with the clock until the first `turn`. ``most``: how much of one turn counts, seconds."""
        self._most = most
        self._turned_at: float | None = None
        self._time = 0.0
        self._pauses: deque[tuple[float, float]] = deque()
        """When each turn ended of which a part did not count, and that part, seconds."""
        self.lost = 0.0
        """What did not count so far, seconds."""

    def at(self, now: float) -> float:
        """Return the own time, seconds: it never goes back, and never passes faster than the clock."""
        if self._turned_at is None:
            return now
        return self._time + min(now - self._turned_at, self._most)

    def turn(self, now: float) -> None:
        """End a turn of the event loop: what came before has been heard. To be called often."""
        self._time = self.at(now)
        lost = 0.0 if self._turned_at is None else max(0.0, now - self._turned_at - self._most)
        self._turned_at = now
        if lost:
            self.lost += lost
            self._pauses.append((now, lost))
        while self._pauses and now - self._pauses[0][0] > PAUSES_WITHIN:
            self._pauses.popleft()

    @property
    def longest_pause(self) -> float:
        """What did not count of the longest turn within the last `PAUSES_WITHIN` seconds."""
        return max((lost for _, lost in self._pauses), default=0.0)
