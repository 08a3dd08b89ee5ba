"""The state that the committed log describes: keys, where their values lie, and the recent idempotency keys.

Values stay on disk; the latest ones are in a cache. A key costs some 200 bytes of memory beside itself.
"""

import sys
from collections import Counter, OrderedDict
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple, assert_never

from sortedcontainers import SortedList

from hanas_core.log import records
from hanas_core.log.batches import HEADER_BYTES, Batch, Kind
from hanas_core.log.cells import cell_size, sums_size, widening
from hanas_core.log.encrypted import ENCRYPTED_HEADER_BYTES
from hanas_core.log.positions import Position, Version
from hanas_core.state.entries import Entry, pack, place_of, unpack, version_of
from hanas_core.state.valuecache import DEFAULT_BYTES, ValueCache
from hanas_core.volume import names
from hanas_core.volume.errors import Corruption

IDEMPOTENCY_WINDOW = 65_536
"""A write's idempotency key is known until this many later writes came with one. Counted, not timed, so that every
member that reads the same log forgets the same keys."""
_RECORD_BYTES = 32
"""What a record takes in a merged segment beside its idempotency key and the request's hash, about."""

Segment = tuple[int, int]
"""Epoch and number of a segment."""


class Done(NamedTuple):
    """What a write that came with an idempotency key did."""

    request: bytes
    version: Version
    created: bool
    deleted: bool
    segment: Segment = (0, 0)
    """The segment that tells of it."""


class KeyPage(NamedTuple):
    """A part of the keys, in order; ``following`` is where the next page begins after, None at the end."""

    entries: list[tuple[str, Entry]]
    following: str | None


class Index:
    """All keys in memory. Holds committed writes only. Changed by its `Replica` only, on the thread that owns that."""

    def __init__(self, cache_bytes: int = DEFAULT_BYTES) -> None:
        """Begin empty; keep ``cache_bytes`` of values in memory."""
        self._entries: dict[str, bytes] = {}
        self._cache = ValueCache(cache_bytes)
        self._order: SortedList[str] = SortedList()
        self._done: OrderedDict[str, Done] = OrderedDict()
        self.sequence = 0
        """Sequence of the last write applied: the store's revision."""
        self.value_bytes = 0
        self.live: Counter[Segment] = Counter()
        """What is live of each segment, bytes, about: the rest is garbage."""

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """Return what ``key`` holds, None if it is not there."""
        packed = self._entries.get(key)
        return None if packed is None else unpack(packed)

    def version(self, key: str) -> Version | None:
        """Return the version of what ``key`` holds, None if it is not there."""
        packed = self._entries.get(key)
        return None if packed is None else Version(*version_of(packed))

    def cached(self, key: str) -> bytes | None:
        """Return the value of ``key`` if it is at hand in memory."""
        return self._cache.get(key)

    def keep(self, key: str, entry: Entry, value: bytes) -> None:
        """Keep a value that was read from its place at hand, if it is still what ``key`` holds."""
        packed = self._entries.get(key)
        if packed is not None and version_of(packed) == entry.version:
            self._cache.put(key, value)

    def done(self, idempotency_key: str) -> Done | None:
        """Return what the write with this idempotency key did, None if it is not known (any more)."""
        return self._done.get(idempotency_key)

    def page(self, prefix: str, after: str, limit: int) -> KeyPage:
        """Return up to ``limit`` keys that begin with ``prefix`` and come after ``after``, in order of code points."""
        entries: list[tuple[str, Entry]] = []
        for key in self._from(prefix, after):
            if not key.startswith(prefix):
                break
            if len(entries) == limit:
                return KeyPage(entries, entries[-1][0])
            entries.append((key, unpack(self._entries[key])))
        return KeyPage(entries, None)

    def _from(self, prefix: str, after: str) -> Iterator[str]:
        if after and after >= prefix:
            return self._order.irange(after, inclusive=(False, True))
        return self._order.irange(prefix)

    def apply(self, batch: Batch, changes: list[records.Record] | None = None) -> None:
        """Apply a committed batch, as it stands in its segment; records that were applied before only give their place.

        ``changes``: the records of its payload, if they are at hand. Sequences have no gaps: Corruption if a batch
        before this one was never applied.
        """
        if batch.kind is Kind.MERGED:
            self._apply_merged(batch, self.sequence)
            return
        if batch.first_sequence > self.sequence + 1:
            raise Corruption(
                f"write {self.sequence + 1} is missing: {names.segment(batch.epoch, batch.number)} goes on with "
                f"{batch.first_sequence} at offset {batch.offset}"
            )
        if not batch.payload:
            return
        payload, origin = batch.payload, batch.origin
        changes, at = records.decode(batch) if changes is None else (changes, records.cells_at(payload))
        segment, encrypted = (batch.epoch, batch.number), batch.encrypted
        begin = batch.offset + (ENCRYPTED_HEADER_BYTES if encrypted else HEADER_BYTES)
        for sequence, record in enumerate(changes, batch.first_sequence):
            new = sequence > self.sequence
            deleted = False
            if isinstance(record, records.Put):  # cheaper than a match, for every write that there is
                key, size = record.key, record.size
                at += sums_size(size)
                begin += widening(size) if encrypted else 0
                if new:
                    fields = (origin, sequence, *segment, begin + at, size, record.checksum, record.content_type)
                    self._set(key, fields, payload[at : at + size])
                else:  # re-logged: the older copy may lie behind the cut of a segment that compaction removes
                    self.move(key, Version(origin, sequence), Position(*segment, begin + at))
                at += size
            elif isinstance(record, records.Delete):
                deleted = True
                if new:
                    self._unset(record.key)
            else:
                assert_never(record)
            if record.idempotency is not None:
                request, version = record.idempotency.request, Version(origin, sequence)
                if new:
                    created = isinstance(record, records.Put) and record.created
                    self.remember(record.idempotency.key, Done(request, version, created, deleted, segment))
                else:
                    self.move_done(record.idempotency.key, version, segment)
            if new:
                self.sequence = sequence
        assert at == len(payload), "the values of a batch fill the rest of it"

    def relocate(self, batch: Batch) -> None:
        """Learn from a batch of a merged segment where values are now; whatever else it says is known already."""
        self._apply_merged(batch, sys.maxsize)

    def _apply_merged(self, batch: Batch, applied: int) -> None:
        """Take in what compaction left of older records; of those up to ``applied``, only where they are now."""
        merged, at = records.decode_merged(batch)
        segment, encrypted = (batch.epoch, batch.number), batch.encrypted
        begin = batch.offset + (ENCRYPTED_HEADER_BYTES if encrypted else HEADER_BYTES)
        for record in merged:
            match record:
                case records.Kept(origin=origin, sequence=sequence, key=key, size=size):
                    at += sums_size(size)
                    begin += widening(size) if encrypted else 0
                    if sequence > applied:
                        fields = (origin, sequence, *segment, begin + at, size, record.checksum, record.content_type)
                        self._set(key, fields, batch.payload[at : at + size])
                    else:
                        self.move(key, Version(origin, sequence), Position(*segment, begin + at))
                    at += size
                case records.Gone(sequence=sequence, key=key):
                    if sequence > applied:
                        self._unset(key)
                case records.Remembered(origin=origin, sequence=sequence, idempotency=idempotency):
                    version = Version(origin, sequence)
                    if sequence > applied:
                        done = Done(idempotency.request, version, record.created, record.deleted, segment)
                        self.remember(idempotency.key, done)
                    else:
                        self.move_done(idempotency.key, version, segment)
                case records.Reached(sequence=sequence):
                    if sequence > applied:
                        self.sequence = sequence
                case _:
                    assert_never(record)
        assert at == len(batch.payload), "the values of a batch fill the rest of it"

    def check_invariants(self) -> None:
        """Assert what must hold between two batches, by counting everything anew."""
        assert list(self._order) == sorted(self._entries)
        assert len(self._done) <= IDEMPOTENCY_WINDOW
        live: Counter[Segment] = Counter()
        for key, packed in self._entries.items():
            entry = unpack(packed)
            assert entry.place_number >= 1
            assert entry.place_offset >= HEADER_BYTES + sums_size(entry.size)
            live[entry.place[:2]] += len(packed) + len(key) + cell_size(entry.size)
        for key, done in self._done.items():
            live[done.segment] += _RECORD_BYTES + len(key) + len(done.request)
        assert {segment: size for segment, size in self.live.items() if size} == live
        assert self.value_bytes == sum(unpack(packed).size for packed in self._entries.values())

    def packed_after(self, after: str, count: int) -> list[tuple[str, bytes]]:
        """Return up to ``count`` keys behind ``after`` with their packed entries, for a snapshot."""
        return [(key, self._entries[key]) for key in islice(self._from("", after), count)]

    def all_done(self) -> list[tuple[str, Done]]:
        """Return the idempotency keys that are known, oldest first."""
        return list(self._done.items())

    def load(self, keys: list[str], entries: list[bytes]) -> None:
        """Take in keys of a snapshot, in order; `loaded` follows."""
        self._entries.update(zip(keys, entries, strict=True))
        for key, packed in zip(keys, entries, strict=True):
            self._count(key, packed, 1)

    def loaded(self, sequence: int) -> None:
        """Complete the loading of a snapshot, which holds every write up to ``sequence``."""
        self._order = SortedList(self._entries)
        self.sequence = sequence

    def move(self, key: str, version: Version, place: Position) -> None:
        """Note another place of the value of ``key``, if it is still this version's."""
        packed = self._entries.get(key)
        if packed is not None and version_of(packed) == version:
            self._count(key, packed, -1)
            entry = unpack(packed)
            self._entries[key] = packed = pack(*version, *place, entry.size, entry.checksum, entry.content_type)
            self._count(key, packed, 1)

    def move_done(self, idempotency_key: str, version: Version, segment: Segment) -> None:
        """Note another segment that records what a write with an idempotency key did."""
        done = self._done.get(idempotency_key)
        if done is not None and done.version == version:
            self._count_done(idempotency_key, done, -1)
            self._done[idempotency_key] = done = done._replace(segment=segment)
            self._count_done(idempotency_key, done, 1)

    def _set(self, key: str, fields: tuple[int, int, int, int, int, int, int, str], value: bytes) -> None:
        old = self._entries.get(key)
        if old is None:
            self._order.add(key)
        else:
            self._count(key, old, -1)
        self._entries[key] = packed = pack(*fields)
        _, _, epoch, number, _, size, _, _ = fields
        self.value_bytes += size
        self.live[epoch, number] += len(packed) + len(key) + cell_size(size)
        self._cache.put(key, value)

    def _unset(self, key: str) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._order.remove(key)
            self._count(key, old, -1)
            self._cache.drop(key)

    def remember(self, idempotency_key: str, done: Done) -> None:
        """Note what the latest write with an idempotency key did; forget the oldest beyond `IDEMPOTENCY_WINDOW`."""
        self._done[idempotency_key] = done
        self._count_done(idempotency_key, done, 1)
        if len(self._done) > IDEMPOTENCY_WINDOW:
            forgotten, old = self._done.popitem(last=False)
            self._count_done(forgotten, old, -1)

    def _count(self, key: str, packed: bytes, sign: int) -> None:
        segment, size = place_of(packed)
        self.value_bytes += sign * size
        self.live[segment] += sign * (len(packed) + len(key) + cell_size(size))

    def _count_done(self, idempotency_key: str, done: Done, sign: int) -> None:
        self.live[done.segment] += sign * (_RECORD_BYTES + len(idempotency_key) + len(done.request))
