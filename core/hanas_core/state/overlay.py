"""The committed state with what the earlier writes of a batch leave of it."""

from collections.abc import Iterator
from heapq import merge

from hanas_core.log.positions import Facts, Version
from hanas_core.state.index import Index, Known
from hanas_core.state.transactions import Span

Left = tuple[Version, int, int, int, int, bytes]
"""What a write leaves of a key: version, revision, creation, generation, lease, value. A bare one is made at once."""


class Overlay:
    """Keys as the next write of a batch finds them."""

    def __init__(self, index: Index, changed: dict[bytes, Left | None] | None = None) -> None:
        """``changed``: what earlier writes leave of each key that they change."""
        self.index = index
        self.changed: dict[bytes, Left | None] = {} if changed is None else changed

    def get(self, key: bytes) -> Known | None:
        """Return what ``key`` holds, None if it is not there."""
        if key not in self.changed:
            return self.index.known(key)
        left = self.changed[key]
        return None if left is None else Known(left[0], Facts(*left[1:5]), left[5])

    def rows(self, span: Span) -> Iterator[tuple[bytes, Known]]:
        """Yield the keys of a span that are there, in order, with what they hold."""
        changed = sorted(key for key in self.changed if span.holds(key))
        last = None
        for key in merge(self.index.keys.names(span.first, span.end), changed):
            if key != last and (known := self.get(key)) is not None:
                yield key, known
            last = key
