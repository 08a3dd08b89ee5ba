"""How much of what clients sent is parsed before the folder, the link and the timers have their turn.

All of them run on one event loop. Without a common bound, each of a thousand connections would take its own share of
the same turn.
"""

import asyncio
from collections import deque
from typing import Protocol

_MOST_PIECES = 128
"""Heads, bodies and chunks that are parsed in one turn of the event loop, in sum."""
LOW = _MOST_PIECES // 2
"""At the latest with so many left, `Pace.arrange` is called."""


class Waiting(Protocol):
    """A connection with something to parse."""

    def take_turn(self) -> None:
        """Parse some of it, and take that off `Pace.left`."""


class Pace:
    """The turns of all the connections of an endpoint."""

    __slots__ = "_coming", "_waiting", "left"

    def __init__(self) -> None:
        """Begin with a whole turn."""
        self.left = _MOST_PIECES
        """Pieces that may still be parsed in this turn."""
        self._waiting: deque[Waiting] = deque()
        self._coming = False
        """The next turn is arranged."""

    def arrange(self) -> None:
        """Begin with a whole turn when the event loop begins with its next one."""
        if not self._coming:
            self._coming = True
            asyncio.get_running_loop().call_soon(self._next)

    def wait(self, connection: Waiting) -> None:
        """Give ``connection`` a turn, behind those that wait."""
        self._waiting.append(connection)
        self.arrange()

    def _next(self) -> None:
        self._coming, self.left, waiting = False, _MOST_PIECES, self._waiting
        for _ in range(len(waiting)):
            if self.left <= 0:
                break
            waiting.popleft().take_turn()
        if waiting:
            self.arrange()
