"""Keys with what they hold, now and at past revisions; and what is live of each segment.

Values stay on disk. A key costs some 200 bytes of memory beside itself, a version of the past some 120.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from heapq import merge
from itertools import islice
from typing import NamedTuple

from sortedcontainers import SortedList

from hanas_core.log.batches import HEADER_BYTES
from hanas_core.log.cells import cell_size, sums_size
from hanas_core.log.positions import Position, Version
from hanas_core.state.entries import (
    Entry,
    grave,
    is_grave,
    moved,
    place_of,
    revision_in,
    size_in,
    unpack,
    version_of,
)
from hanas_core.state.history import Change, History

Segment = tuple[int, int]
"""Epoch and number of a segment."""


class KeyPage(NamedTuple):
    """A part of the keys, in order; ``following`` is where the next page begins after, None at the end."""

    entries: list[tuple[bytes, Entry]]
    following: bytes | None


class KeySpace:
    """The keys. A change whose revision is `noted` already leaves history as it is."""

    def __init__(self) -> None:
        """Begin empty."""
        self.entries: dict[bytes, bytes] = {}
        """Packed (hanas_core.state.entries); changed here only."""
        self._order: SortedList[bytes] = SortedList()
        self._graves: dict[bytes, bytes] = {}
        """What was deleted after the compacted revision."""
        self._grave_order: SortedList[bytes] = SortedList()
        self.history = History()
        self.compacted = 1
        """The lowest revision of which all is known."""
        self.noted = 1
        """History holds all changes between the two, or will never hold any up to here."""
        self.value_bytes = 0
        """Of the present values."""
        self.past_bytes = 0
        """Of the values that only history needs."""
        self.live: Counter[Segment] = Counter()
        """What is live of each segment, bytes, about: the rest is garbage."""

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self.entries)

    # ------------------------------------------------------------------ what there is

    def packed(self, key: bytes) -> bytes | None:
        """Return the present entry of ``key``, None if it is not there."""
        return self.entries.get(key)

    def at(self, key: bytes, revision: int) -> bytes | None:
        """Return the entry of ``key`` as of ``revision``, which is not below the compacted one."""
        packed = self.entries.get(key) or self._graves.get(key)
        if packed is None:
            return None
        last = revision_in(packed)
        if last > revision:
            packed = self.history[self.history.first_after(key, revision, last)].before
        return None if packed is None or is_grave(packed) else packed

    def has(self, key: bytes, revision: int) -> bool:
        """Return whether the entry of ``key`` that ``revision`` made is there, or is a part of history."""
        if revision > self.compacted:
            return True
        packed = self.at(key, self.compacted)
        return packed is not None and revision_in(packed) == revision

    def page(self, prefix: bytes, after: bytes, limit: int, revision: int | None = None) -> KeyPage:
        """Return up to ``limit`` keys that begin with ``prefix`` and come after ``after``, bytewise in order.

        ``revision``: as of it; None: as they are.
        """
        entries: list[tuple[bytes, Entry]] = []
        for key, packed in self._rows(prefix, after, revision):
            if not key.startswith(prefix):
                break
            if packed is None:
                continue
            if len(entries) == limit:
                return KeyPage(entries, entries[-1][0])
            entries.append((key, unpack(packed)))
        return KeyPage(entries, None)

    def names(self, first: bytes, end: bytes | None) -> Iterator[bytes]:
        """Yield the present keys from ``first`` to the one before ``end``, None: all; none may change meanwhile."""
        return self._order.irange(first, end, inclusive=(True, False))

    def span(self, first: bytes, end: bytes | None, revision: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield the keys from ``first`` to the one before ``end`` as of ``revision``; none may change meanwhile."""
        orders = (order.irange(first, end, inclusive=(True, False)) for order in (self._order, self._grave_order))
        for key in merge(*orders):
            if (packed := self.at(key, revision)) is not None:
                yield key, packed

    def size_of(self, first: bytes, end: bytes | None) -> int:
        """Return at how many keys `span` looks."""
        return sum(_between(order, first, end) for order in (self._order, self._grave_order))

    def count(self, first: bytes, end: bytes | None) -> int:
        """Return how many keys there are from ``first`` to the one before ``end``, None: all."""
        return _between(self._order, first, end)

    def _rows(self, prefix: bytes, after: bytes, revision: int | None) -> Iterator[tuple[bytes, bytes | None]]:
        if revision is None:
            entries = self.entries
            return ((key, entries[key]) for key in self._from(self._order, prefix, after))
        orders = (self._from(order, prefix, after) for order in (self._order, self._grave_order))
        return ((key, self.at(key, revision)) for key in merge(*orders))

    @staticmethod
    def _from(order: SortedList[bytes], prefix: bytes, after: bytes) -> Iterator[bytes]:
        if after and after >= prefix:
            return order.irange(after, inclusive=(False, True))
        return order.irange(prefix)

    # ------------------------------------------------------------------ what changes it

    def put(self, key: bytes, packed: bytes, revision: int, create: int, size: int) -> bool:
        """Give ``key`` another entry, which ``revision`` made, and whose value has ``size`` bytes.

        ``create``: the revision that created the key. What is `live` by it is for the caller to count, once a batch.
        False if the key has an entry already that was made later.
        """
        entries = self.entries
        old = before = entries.get(key)
        old_size = 0
        if old is None:
            self._order.add(key)
        else:
            old_size = size_in(old)
        self.value_bytes += size - old_size
        if revision > self.noted:
            if old is None:
                before = self._graves.pop(key, None)
                if before is not None:
                    self._grave_order.remove(key)
            elif create == revision:  # a delete in between was forgotten
                before = None
                self._count(key, old, -1)
            else:
                self.past_bytes += old_size
            self.history.note(revision, key, before)
        elif old is not None:
            if revision_in(old) >= revision:  # of a snapshot that was taken later
                self.value_bytes += old_size - size
                return False
            self._count(key, old, -1)
        entries[key] = packed
        return True

    def delete(self, key: bytes, revision: int) -> bool:
        """Delete ``key`` by ``revision``; False if it was not there, or was made later."""
        old = self.entries.get(key)
        if old is None or revision_in(old) >= revision:
            return False
        del self.entries[key]
        self._order.remove(key)
        self.value_bytes -= size_in(old)
        if revision > self.noted:
            self.past_bytes += size_in(old)
            self.history.note(revision, key, old)
            self._bury(key, revision)
        else:
            self._count(key, old, -1)
        return True

    def _bury(self, key: bytes, revision: int) -> None:
        self._graves[key] = grave(revision)
        self._grave_order.add(key)

    def move(self, key: bytes, revision: int, version: Version, place: Position) -> None:
        """Note another place of the value that ``revision`` gave to ``key``, if it is still known, and this version."""
        packed = self.entries.get(key) or self._graves.get(key)
        if packed is None:
            return
        last = revision_in(packed)
        if last == revision and not is_grave(packed):
            if version_of(packed) == version:
                self.entries[key] = self._moved(key, packed, place)
        elif last > (since := max(revision, self.compacted)):
            at = self.history.first_after(key, since, last)
            before = self.history[at].before
            if before is not None and not is_grave(before) and version_of(before) == version:
                self.history.replace(at, self._moved(key, before, place))

    def _moved(self, key: bytes, packed: bytes, place: Position) -> bytes:
        self._count(key, packed, -1)
        packed = moved(packed, place)
        self._count(key, packed, 1)
        return packed

    def compact(self, revision: int) -> None:
        """Forget what keys held before ``revision``."""
        if revision <= self.compacted:
            return
        self.compacted = revision
        self.noted = max(self.noted, revision)
        graves, live, past_bytes = self._graves, defaultdict[Segment, int](int), 0
        for at, key, before in self.history.drop(revision):
            if before is not None and not is_grave(before):
                segment, size = place_of(before)
                live[segment] += len(before) + len(key) + cell_size(size)
                past_bytes += size
            if key in graves and revision_in(graves[key]) == at:
                del graves[key]
                self._grave_order.remove(key)
        self.live.subtract(live)
        self.past_bytes -= past_bytes

    # ------------------------------------------------------------------ snapshots

    def packed_after(self, after: bytes, count: int) -> list[tuple[bytes, bytes]]:
        """Return up to ``count`` keys behind ``after`` with their packed entries."""
        return [(key, self.entries[key]) for key in islice(self._from(self._order, b"", after), count)]

    def changes_from(self, number: int, count: int) -> tuple[int, list[tuple[Change, bool]]]:
        """Return up to ``count`` changes from the ``number``-th ever on, and the number of the next one.

        With each: it was the last one of its key, and a delete.
        """
        begin = max(0, number - self.history.dropped)
        changes = [self.history[at] for at in range(begin, min(begin + count, len(self.history)))]
        rows = [(change, self._graves.get(change.key) == grave(change.revision)) for change in changes]
        return self.history.dropped + begin + len(rows), rows

    def load(self, keys: list[bytes], entries: list[bytes]) -> None:
        """Take in keys of a snapshot, in order; `loaded` follows."""
        self.entries.update(zip(keys, entries, strict=True))
        for key, packed in zip(keys, entries, strict=True):
            self.value_bytes += size_in(packed)
            self._count(key, packed, 1)

    def load_change(self, change: Change, *, deleted: bool) -> None:
        """Take in a change of a snapshot, see `changes_from`."""
        self.history.note(*change)
        if change.before is not None and not is_grave(change.before):
            self._count(change.key, change.before, 1)
            self.past_bytes += size_in(change.before)
        if deleted:
            self._graves[change.key] = grave(change.revision)
        else:
            self._graves.pop(change.key, None)

    def loaded(self, noted: int, compacted: int) -> None:
        """Complete the loading of a snapshot whose history holds the changes up to ``noted``."""
        self._order = SortedList(self.entries)
        self._grave_order = SortedList(self._graves)
        self.noted = noted
        self.compact(compacted)

    # ------------------------------------------------------------------ what is live

    def _count(self, key: bytes, packed: bytes, sign: int) -> None:
        segment, size = place_of(packed)
        self.live[segment] += sign * (len(packed) + len(key) + cell_size(size))

    def check_invariants(self, revision: int) -> Counter[Segment]:
        """Assert what must hold between two batches; ``revision``: the present one. Return what is live of segments."""
        assert list(self._order) == sorted(self.entries)
        assert list(self._grave_order) == sorted(self._graves)
        self.history.check_invariants()
        live: Counter[Segment] = Counter()
        changes = [self.history[at] for at in range(len(self.history))]
        past = [(key, before) for _, key, before in changes if before is not None and not is_grave(before)]
        for key, packed in (*self.entries.items(), *past):
            entry = unpack(packed)
            assert entry.place_number >= 1
            assert entry.place_offset >= HEADER_BYTES + sums_size(entry.size)
            live[entry.place[:2]] += len(packed) + len(key) + cell_size(entry.size)
        assert self.value_bytes == sum(unpack(packed).size for packed in self.entries.values())
        assert self.past_bytes == sum(size_in(packed) for _, packed in past)
        assert not changes or self.compacted < changes[0].revision
        if revision >= self.noted:  # no changes of a snapshot that was taken later are missing
            last = {change.key: change.revision for change in changes}
            assert not self._graves.keys() & self.entries.keys()
            assert self._graves.keys() <= last.keys()
            for key, at in last.items():
                packed = self.entries.get(key) or self._graves[key]
                assert revision_in(packed) == at
        return live


def _between(order: SortedList[bytes], first: bytes, end: bytes | None) -> int:
    return max(0, (len(order) if end is None else order.bisect_left(end)) - order.bisect_left(first))
