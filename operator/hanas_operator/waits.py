"""How long to wait before each next try: longer and longer, and never no more."""

import itertools
from collections.abc import Iterator


class Waits:
    """The waits of one procedure after another, seconds: each iteration begins anew, and none ends."""

    def __init__(self, *first: float, last: float) -> None:
        """Wait the ``first`` ones, then ``last`` for ever."""
        self._first = first
        self._last = last

    def __iter__(self) -> Iterator[float]:
        """Return the waits."""
        return itertools.chain(self._first, itertools.repeat(self._last))


API = Waits(1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, last=20.0)
"""For an API server that fails or cannot be reached."""
