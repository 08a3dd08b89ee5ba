"""The state that the committed log describes: keys, their values, and the recent idempotency keys."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple, assert_never

from sortedcontainers import SortedList

from hanas_core import names, records
from hanas_core.batches import Batch
from hanas_core.errors import Corruption
from hanas_core.positions import Version

IDEMPOTENCY_WINDOW = 65_536
"""A write's idempotency key is known until this many later writes came with one. Counted, not timed, so that every
member that reads the same log forgets the same keys."""


class Entry(NamedTuple):
    """What a key holds."""

    version: Version
    value: bytes
    content_type: str


class Done(NamedTuple):
    """What a write that came with an idempotency key did."""

    request: bytes
    version: Version
    created: bool
    deleted: bool


class Page(NamedTuple):
    """A part of the keys, in order; ``following`` is where the next page begins after, None at the end."""

    entries: list[tuple[str, Entry]]
    following: str | None


class Index:
    """All keys in memory. Holds committed writes only."""

    def __init__(self) -> None:
        """Begin empty."""
        self._entries: dict[str, Entry] = {}
        self._order: SortedList[str] = SortedList()
        self._done: OrderedDict[str, Done] = OrderedDict()
        self.sequence = 0
        """Sequence of the last write applied: the store's revision."""
        self.value_bytes = 0

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._entries)

    def get(self, key: str) -> Entry | None:
        """Return what ``key`` holds, None if it is not there."""
        return self._entries.get(key)

    def done(self, idempotency_key: str) -> Done | None:
        """Return what the write with this idempotency key did, None if it is not known (any more)."""
        return self._done.get(idempotency_key)

    def page(self, prefix: str, after: str, limit: int) -> Page:
        """Return up to ``limit`` keys that begin with ``prefix`` and come after ``after``, in order of code points."""
        entries: list[tuple[str, Entry]] = []
        for key in self._from(prefix, after):
            if not key.startswith(prefix):
                break
            if len(entries) == limit:
                return Page(entries, entries[-1][0])
            entries.append((key, self._entries[key]))
        return Page(entries, None)

    def _from(self, prefix: str, after: str) -> Iterator[str]:
        if after >= prefix and after:
            return self._order.irange(after, inclusive=(False, True))
        return self._order.irange(prefix)

    def apply(self, batch: Batch, found: list[records.Record] | None = None) -> None:
        """Apply a committed batch; records whose sequence was applied before are skipped.

        ``found``: what its payload holds, if that is at hand. Sequences have no gaps: Corruption if a batch before
        this one was never applied.
        """
        if batch.first_sequence > self.sequence + 1:
            raise Corruption(
                f"write {self.sequence + 1} is missing: {names.segment(batch.epoch, batch.number)} goes on with "
                f"{batch.first_sequence} at offset {batch.offset}"
            )
        found = records.decode(batch.payload) if found is None else found
        for sequence, record in enumerate(found, batch.first_sequence):
            if sequence > self.sequence:
                self.sequence = sequence
                self._apply(record, Version(batch.origin, sequence))

    def _apply(self, record: records.Record, version: Version) -> None:
        old = self._entries.get(record.key)
        created = deleted = False
        match record:
            case records.Put(key=key, value=value, content_type=content_type, created=created):
                self._entries[key] = Entry(version, value, content_type)
                self.value_bytes += len(value)
                if old is None:
                    self._order.add(key)
            case records.Delete(key=key):
                deleted = True
                if old is not None:
                    del self._entries[key]
                    self._order.remove(key)
            case _:
                assert_never(record)
        if old is not None:
            self.value_bytes -= len(old.value)
        if record.idempotency is not None:
            self._done[record.idempotency.key] = Done(record.idempotency.request, version, created, deleted)
            if len(self._done) > IDEMPOTENCY_WINDOW:
                self._done.popitem(last=False)
