"""How much of what clients sent is parsed before the folder, the link and the timers have their turn.

All of them run on one event loop. Without a common bound, each of a thousand connections would take its own share of
the same turn. What a request costs behind the parser is not known before: so a turn that took long makes the next ones
smaller, and others let them grow again.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

_MOST_PIECES = 128
"""Heads, bodies and chunks that are parsed in one turn of the event loop, in sum."""
_LEAST_PIECES = 2
_LONG_SECONDS = 0.005
"""A turn should not take longer. Processor time: what others on this machine take from it says nothing of clients."""
LOW = _MOST_PIECES // 2
"""At the latest with so many left, `Pace.arrange` is called."""


class Pace:
    """The turns of all the connections of an endpoint."""

    __slots__ = "_began_at", "_coming", "_most", "_waiting", "left"

    def __init__(self) -> None:
        """Begin with a whole turn."""
        self.left = self._most = _MOST_PIECES
        """Pieces that may still be parsed in this turn."""
        self._waiting: deque[Callable[[], None]] = deque()
        self._coming = False
        """The next turn is arranged, or the present one is under way."""
        self._began_at = 0.0
        """When the present turn began, in seconds of processor time of this thread."""

    def arrange(self) -> None:
        """Begin with a whole turn when the event loop begins with its next one."""
        if not self._coming:
            self._coming, self._began_at = True, time.thread_time()
            asyncio.get_running_loop().call_soon(self._next)

    def wait(self, turn: Callable[[], None]) -> None:
        """Call ``turn``, behind those that wait. It takes what it parses off `left`."""
        self._waiting.append(turn)
        self.arrange()

    def _next(self) -> None:
        now, waiting = time.thread_time(), self._waiting
        long, self._began_at = now - self._began_at > _LONG_SECONDS, now
        self._most = max(_LEAST_PIECES, self._most // 2) if long else min(_MOST_PIECES, self._most * 2)
        self.left = self._most
        for _ in range(len(waiting)):
            if self.left <= 0:
                break
            waiting.popleft()()
        self._coming = bool(waiting) or self.left <= LOW
        if self._coming:
            asyncio.get_running_loop().call_soon(self._next)
