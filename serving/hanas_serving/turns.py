"""Turns: what may take long in all is done piece by piece, one piece in each turn of the event loop."""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Those that wait for their turn, in order."""

    def __init__(self) -> None:
        """Have nobody wait."""
        self._waiting: deque[Callable[[], None]] = deque()

    def wait(self, turn: Callable[[], None]) -> None:
        """Call ``turn`` at a later turn of the event loop, and no other one at the same."""
        self._waiting.append(turn)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        try:
            self._waiting[0]()
        finally:  # one that fails keeps none of the others waiting
            self._waiting.popleft()
            if self._waiting:
                asyncio.get_running_loop().call_soon(self._next)
