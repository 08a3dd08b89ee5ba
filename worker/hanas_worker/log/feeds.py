"""What watchers are told, read from the history of this worker's copy (docs/protocol.md, section 3.15).

A feed is one number, the revision up to which its watcher was told everything. All feeds together read for some
milliseconds in a turn of the event loop. Those with the same span at the same revision share what was read.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from hanas_core.state.changes import Lost, Reading, Stretch
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.state.keyspace import KeySpace
from hanas_core.state.transactions import Span
from hanas_core.volume.errors import FolderError
from hanas_serving.budget import SMALL_BYTES, Budget, Hold, NoMemory
from hanas_worker.log.service import Service
from hanas_worker.log.state import LogState
from hanas_worker.log.values import Moved, Values

TURN_SECONDS = 0.005
"""So long all feeds read in one turn of the event loop."""
MOST_FEEDS = 10_000
"""Of one worker."""
_MOST_CALLED = 32
"""So many watchers are called in one turn: each has work of its own then."""
_MOST_SHARED = 16
"""Stretches that are kept for others at the same revision."""
_MOST_FETCHED = 8
"""Stretches whose values are read from the volume at a time."""
_PAUSE_SECONDS = 0.5
"""Until values are asked for again that could not be read."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """A key that a revision changed."""

    revision: int
    key: bytes
    entry: Entry | None
    """What it holds from then on; None: it was deleted."""
    value: bytes
    """Empty if it was deleted."""
    before: Entry | None
    """What it held before; None: it was not there, or that was not asked for."""
    previous: bytes
    """The value that it held before; empty if that is not there."""


class Changes(msgspec.Struct, eq=False):
    """The next changes that a watcher is told: whole revisions, up to ``revision``."""

    changes: tuple[Change, ...]
    revision: int
    forms: dict[object, Any] = {}
    """What protocols have made of it, for others that are told the same."""


NOTHING = Changes((), 0)


class Feed:
    """The changes of a span, in order. Costs no memory while nobody takes them."""

    def __init__(self, feeds: "Feeds", span: Span, after: int, ready: Callable[[], None], *, previous: bool) -> None:
        """Begin behind the revision ``after``; see `Feeds.watch`."""
        self.position = after
        """The revision up to which everything was taken."""
        self.span, self.previous = span, previous
        self.most = 0
        """What was asked for last, bytes."""
        self.ready = ready
        self.shared: _Shared | None = None
        """What is being read for it, or was and is not taken yet."""
        self._feeds = feeds

    def take(self, most: int) -> Changes | Lost:
        """Return the next changes: whole revisions, until ``most`` bytes are reached; or how the feed is lost.

        A change counts with key, values and `hanas_core.state.changes.EVENT_BYTES`. After `NOTHING`, ``ready`` is
        called once, when there is something.
        """
        self.most = most
        changes = self._feeds.look(self)
        if isinstance(changes, Changes):
            self.position, self.shared = changes.revision, None
        elif changes is not None:
            self._feeds.lost()
        return NOTHING if changes is None else changes

    def close(self) -> None:
        """End it."""
        self._feeds.close(self)


class _Shared:
    """A stretch of one span behind one revision, for all feeds that are there."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.changes: Changes | None = None
        """None: it is not complete."""
        self.fetching = False
        """Values are being read."""
        self.waiting: list[Feed] = []
        """... for these."""


class Feeds:
    """All feeds of one log at one worker. It belongs to the event loop."""

    def __init__(self, state: LogState, values: Values, memory: Budget) -> None:
        """Read from the copy in ``state``, with ``values``; ``memory``: for large ones."""
        self._state, self._values, self._memory = state, values, memory
        self._loop = asyncio.get_running_loop()
        self._open: set[Feed] = set()
        self._due: dict[Feed, None] = {}
        """Those that wait, and must be looked at, in order."""
        self._idle: dict[Feed, None] = {}
        """Those that wait until there is more."""
        self._shared: OrderedDict[tuple[Span, bool, int, int], _Shared] = OrderedDict()
        self._keys: KeySpace | None = None
        """From where what is shared was read."""
        self._coming = False
        self._end = 0.0
        """When the time of this turn is over; 0: none has begun."""
        self._service: Service | None = None
        self._fetches: set[asyncio.Task[None]] = set()
        self._fetching = asyncio.Semaphore(_MOST_FETCHED)
        state.on_applied.listen(self.notice)
        self.notice()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._open)

    def watch(self, span: Span, after: int, ready: Callable[[], None], *, previous: bool) -> Feed:
        """Return the changes behind the revision ``after``, also one to come. ``ready``: what `Feed.take` promises.

        ``previous``: with what the keys held before.
        """
        feed = Feed(self, span, after, ready, previous=previous)
        self._open.add(feed)
        self._state.tally.watches = len(self._open)
        return feed

    def close(self, feed: Feed) -> None:
        """End a feed."""
        self._open.discard(feed)
        self._state.tally.watches = len(self._open)
        self._due.pop(feed, None)
        self._idle.pop(feed, None)
        feed.shared = None

    def lost(self) -> None:
        """Count a feed whose changes are forgotten."""
        self._state.tally.watches_lost += 1

    def notice(self) -> None:
        """Look at all feeds that wait: the copy has come further, or can be read again."""
        service = self._state.service
        if service is not self._service:
            self._service = service
            if service is not None:
                service.on_commit.listen(self.notice)
        if self._idle:
            self._due.update(self._idle)
            self._idle.clear()
            self._pump_soon()

    # ------------------------------------------------------------------ turns

    def _pump_soon(self) -> None:
        if not self._coming:
            self._coming = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Look at feeds that wait for some milliseconds; the others have their turn when the loop comes back."""
        self._coming = False
        called = 0
        for feed in list(self._due):
            if called == _MOST_CALLED or not self._has_time():
                break
            if self._due.pop(feed, self) is None and self.look(feed) is not None:
                called += 1
                feed.ready()
        if self._due:
            self._pump_soon()

    def _has_time(self) -> bool:
        """Return whether feeds may read on in this turn of the loop."""
        now = self._loop.time()
        if not self._end:
            self._end = now + TURN_SECONDS
            self._loop.call_soon(self._turn_ends)
        return now < self._end

    def _turn_ends(self) -> None:
        self._end = 0.0

    # ------------------------------------------------------------------ reading

    def look(self, feed: Feed) -> Changes | Lost | None:
        """Return what there is for a feed; None: nothing, or not in this turn, and it waits."""
        index, last = self._state.index, self._last()
        if index is None or not last:
            self._idle[feed] = None
            return None
        shared = self._at(feed, index.keys, last)
        if shared.changes is None and not shared.fetching:
            if not self._has_time():
                stretch = None
            else:
                try:
                    stretch = shared.reading.read(last, feed.most, self._has_time)
                except Lost as lost:
                    feed.shared = None
                    return lost
            if stretch is None:
                self._due[feed] = None
                self._pump_soon()
                return None
            self._complete(shared, stretch, index, previous=feed.previous)
        changes = shared.changes
        if changes is None:
            shared.waiting.append(feed)
            self._idle[feed] = None
            return None
        if not changes.changes:
            feed.position, feed.shared = changes.revision, None
            self._idle[feed] = None
            return None
        return changes

    def _last(self) -> int:
        """Return the revision up to which may be told; 0: nothing may."""
        state, index = self._state, self._state.index
        if index is None or not index.shown or index.revision < index.keys.noted:  # of a snapshot that is not exact yet
            return 0
        return index.revision if state.service is not None else min(index.revision, state.certain)

    def _at(self, feed: Feed, keys: KeySpace, last: int) -> _Shared:
        """Return the stretch that a feed reads."""
        if keys is not self._keys:
            self._keys = keys
            self._shared.clear()
        shared = feed.shared
        if shared is not None and shared.reading.keys is keys:
            return shared
        place = feed.span, feed.previous, feed.position, feed.most
        shared = self._shared.get(place)
        if shared is None or (shared.changes is not None and not shared.changes.changes and feed.position < last):
            shared = _Shared(Reading(keys, feed.span, feed.position, previous=feed.previous))
            self._shared[place] = shared
            if len(self._shared) > _MOST_SHARED:
                self._shared.popitem(last=False)
        feed.shared = shared
        return shared

    def _complete(self, shared: _Shared, stretch: Stretch, index: Index, *, previous: bool) -> None:
        """Add the values to a stretch: at once, if they are in memory."""
        values: dict[tuple[bytes, int], bytes] = {}
        lacking: list[tuple[bytes, Entry]] = []
        for event in stretch.events:
            for entry in (event.entry, event.before if previous else None):
                if entry is None:
                    continue
                value = b"" if not entry.size else index.cached_of(event.key, entry)
                if value is None:
                    lacking.append((event.key, entry))
                else:
                    values[event.key, entry.facts.revision] = value
        if lacking:
            shared.fetching = True
            task = asyncio.create_task(self._fetch(shared, stretch, values, lacking, previous=previous))
            self._fetches.add(task)
            task.add_done_callback(self._fetches.discard)
        else:
            shared.changes = _changes(stretch, values, previous=previous)

    async def _fetch(
        self,
        shared: _Shared,
        stretch: Stretch,
        values: dict[tuple[bytes, int], bytes],
        lacking: list[tuple[bytes, Entry]],
        *,
        previous: bool,
    ) -> None:
        """Complete a stretch with values of the volume; if they cannot be read, have it read anew."""
        hold = Hold(self._memory, None)
        try:
            async with self._fetching:
                if stretch.size > SMALL_BYTES:
                    await self._memory.wait(hold, stretch.size)
                for key, entry in lacking:
                    values[key, entry.facts.revision] = await self._values.read(key, entry, (0, entry.size))
            shared.changes = _changes(stretch, values, previous=previous)
        except Moved:  # the copy is another one, or history was compacted
            pass
        except (FolderError, NoMemory):
            await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            self._fetched(shared)
            self._loop.call_soon(hold.release)

    def _fetched(self, shared: _Shared) -> None:
        if shared.changes is None:
            for place in [place for place, other in self._shared.items() if other is shared]:
                del self._shared[place]
        for feed in shared.waiting:
            if shared.changes is None and feed.shared is shared:
                feed.shared = None
            if self._idle.pop(feed, self) is None:
                self._due[feed] = None
        if self._due:
            self._pump_soon()


def _changes(stretch: Stretch, values: dict[tuple[bytes, int], bytes], *, previous: bool) -> Changes:
    changes: list[Change] = []
    for event in stretch.events:
        entry, before = event.entry, event.before if previous else None
        value = b"" if entry is None else values[event.key, entry.facts.revision]
        held = b"" if before is None else values[event.key, before.facts.revision]
        changes.append(Change(event.revision, event.key, entry, value, before, held))
    return Changes(tuple(changes), stretch.revision)
