"""The committed state with what the earlier writes of a batch leave of it."""

from collections.abc import Iterator
from heapq import merge

from hanas_core.log.positions import Facts, Version
from hanas_core.state.index import Index, Known
from hanas_core.state.transactions import Span

Left = tuple[Version, int, int, int, int, bytes]
"""What a write leaves of a key: version, revision, creation, generation, lease, value. A bare one is made at once."""


MOST_LOOKS = 32_768
"""At so many keys a transaction may look in all its spans."""


class TooManyLooks(Exception):
    """A transaction looks at more keys than it may."""


class Looks:
    """At how many keys was looked."""

    def __init__(self) -> None:
        """Begin with none."""
        self.total = 0
        """Of the batch."""
        self._most = 0

    def begin(self) -> None:
        """Begin a transaction."""
        self._most = self.total + MOST_LOOKS

    def take(self, keys: int) -> None:
        """Count keys. Raises TooManyLooks."""
        self.total += keys
        if self.total > self._most:
            raise TooManyLooks


class Overlay:
    """Keys as the next write of a batch finds them."""

    def __init__(
        self, index: Index, changed: dict[bytes, Left | None] | None = None, looks: Looks | None = None
    ) -> None:
        """``changed``: what earlier writes leave of each key that they change."""
        self.index = index
        self.looks = looks or Looks()
        self.changed: dict[bytes, Left | None] = {} if changed is None else changed

    def get(self, key: bytes) -> Known | None:
        """Return what ``key`` holds, None if it is not there."""
        if key not in self.changed:
            return self.index.known(key)
        left = self.changed[key]
        return None if left is None else Known(left[0], Facts(*left[1:5]), left[5])

    def rows(self, span: Span) -> Iterator[tuple[bytes, Known]]:
        """Yield the keys of a span that are there, in order, with what they hold. Raises TooManyLooks."""
        if span.is_one:  # most are
            self.looks.take(1)
            if (known := self.get(span.first)) is not None:
                yield span.first, known
            return
        changed = sorted(key for key in self.changed if span.holds(key))
        last = None
        for key in merge(self.index.keys.names(span.first, span.end), changed):
            self.looks.take(1)
            if key != last and (known := self.get(key)) is not None:
                yield key, known
            last = key
