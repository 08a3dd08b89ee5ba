"""What changed behind a revision, read from history: the cursor of a watch (docs/protocol.md, section 3.15)."""

from collections.abc import Callable
from typing import NamedTuple

from hanas_core.state.entries import Entry, is_grave, unpack
from hanas_core.state.history import Change
from hanas_core.state.keyspace import KeySpace
from hanas_core.state.transactions import Span

EVENT_BYTES = 64
"""What an event counts beside its key and its values."""


class Event(NamedTuple):
    """A key that a revision changed."""

    revision: int
    key: bytes
    entry: Entry | None
    """What the key holds from then on; None: it was deleted."""
    before: Entry | None
    """What it held before; None: it was not there."""


class Stretch(NamedTuple):
    """All events of a span of keys in some revisions one after the other, in order."""

    events: tuple[Event, ...]
    revision: int
    """The last one of these revisions."""
    size: int
    """What the events count, bytes."""


class Lost(Exception):
    """Changes are forgotten: ``compacted`` is the lowest revision behind which all are known."""

    def __init__(self, compacted: int) -> None:
        super().__init__()
        self.compacted = compacted


class Reading:
    """Reads one stretch, in as many turns as that takes."""

    def __init__(self, keys: KeySpace, span: Span, after: int, *, previous: bool) -> None:
        """Begin behind the revision ``after``. ``previous``: what keys held before is asked for, and counts."""
        self.keys = keys
        self._span, self._after, self._previous = span, after, previous
        self._number = keys.history.dropped + keys.history.behind(after)
        """Of the next change to look at, of all that there ever were."""
        self._events: list[Event] = []
        self._size = 0

    def read(self, last: int, most: int, more: Callable[[], bool]) -> Stretch | None:
        """Return whole revisions up to ``last``, and none more once ``most`` bytes are reached. Raises Lost.

        ``more`` is asked after each change whether there is time for another one; None: there was not, call again.
        """
        history = self.keys.history
        if self._after < self.keys.compacted:
            raise Lost(self.keys.compacted)
        at, end = self._number - history.dropped, history.behind(last)
        while at < end:
            change = history[at]
            if self._size >= most and change.revision > self._events[-1].revision:
                return self._stretch(change.revision - 1)
            if self._span.holds(change.key):
                self._take(change)
            at += 1
            if not more():
                self._number = history.dropped + at
                return None
        return self._stretch(max(last, self._after))

    def _stretch(self, revision: int) -> Stretch:
        return Stretch(tuple(self._events), revision, self._size)

    def _take(self, change: Change) -> None:
        revision, key, packed = change
        now = self.keys.at(key, revision)
        entry = None if now is None else unpack(now)
        before = None if packed is None or is_grave(packed) else unpack(packed)
        self._events.append(Event(revision, key, entry, before))
        self._size += EVENT_BYTES + len(key) + (0 if entry is None else entry.size)
        if self._previous and before is not None:
            self._size += before.size
