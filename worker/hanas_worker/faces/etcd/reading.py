"""Reads of many keys, or of values that are not at hand: as of one revision, in turns of the event loop."""

import asyncio

from hanas_core.state.entries import Entry, unpack
from hanas_core.state.index import Index
from hanas_serving.budget import SMALL_BYTES, Hold
from hanas_worker.faces.etcd import terms
from hanas_worker.faces.etcd.revisions import Pair, Query, Rows
from hanas_worker.refusals import Forgotten
from hanas_worker.store import Store

_STEP_KEYS = 512
"""So many keys are looked at in one turn of the event loop."""
_AT_ONCE = 8
"""Values that are read from the volume at a time."""


class Again(Exception):
    """What was being read is forgotten, or the copy can be read no more: begin anew."""


class Reading:
    """One read."""

    def __init__(self, store: Store, query: Query, index: Index, present: int) -> None:
        """Prepare to read from ``index``, that of ``store`` in a turn in which it had the revision ``present``."""
        self._store, self._query = store, query
        self._index, self._present = index, present
        self._lanes = asyncio.Semaphore(_AT_ONCE)

    async def carry_out(self) -> Rows:
        """Return what there is. Raises Again, Refusal, NoMemory."""
        try:
            entries, count = await self._entries(self._query.revision or self._present)
            return Rows(self._present, await self._pairs(entries), count)
        except Forgotten:
            raise Again from None

    def _require(self, revision: int | None = None) -> None:
        """Raise Again unless the index can be read in this turn, as of ``revision``, None: as it is."""
        if not self._store.still(self._index) or (revision is not None and revision < self._index.compacted):
            raise Again

    async def _entries(self, revision: int) -> tuple[list[tuple[bytes, Entry]], int]:
        """Return the entries that are asked for, and how many keys there are. Raises Again."""
        self._require(revision)
        index = self._index
        query, span = self._query, terms.span_of(self._query.span)
        most = 0 if query.count_only else query.limit
        entries: list[tuple[bytes, Entry]] = []
        count, known = 0, None
        if revision == index.revision:
            known = index.keys.count(span.first, span.end)
            if query.count_only:
                return [], known
        first: bytes | None = span.first
        while first is not None:
            self._require(revision)
            begin, first = first, None
            for number, (key, packed) in enumerate(index.keys.span(begin, span.end, revision)):
                if number == _STEP_KEYS:
                    first = key
                    break
                count += 1
                if not query.count_only and (not most or len(entries) < most):
                    entries.append((key, unpack(packed)))
                elif known is not None:
                    return entries, known
            if first is not None:
                await asyncio.sleep(0)
        return entries, count if known is None else known

    async def _pairs(self, entries: list[tuple[bytes, Entry]]) -> list[Pair]:
        """Return the entries with their values. Raises Again, Forgotten."""
        index = self._index
        pairs: list[Pair | None] = []
        lacking: list[int] = []
        for number, (key, entry) in enumerate(entries):
            if number % _STEP_KEYS == _STEP_KEYS - 1:
                await asyncio.sleep(0)
                self._require()
            value = index.cached_of(key, entry) if entry.size else None
            if value is None and entry.size:
                lacking.append(number)
                pairs.append(None)
            else:
                pairs.append(terms.pair_of(key, entry, value or b""))
        hold = Hold(self._store.memory, None)
        try:
            size = sum(entries[number][1].size for number in lacking)
            if size > SMALL_BYTES:
                await self._store.memory.wait(hold, size)
            fetched = await asyncio.gather(*(self._fetch(*entries[number]) for number in lacking))
            for number, pair in zip(lacking, fetched, strict=True):
                pairs[number] = pair
        finally:
            asyncio.get_running_loop().call_soon(hold.release)
        return [pair for pair in pairs if pair is not None]

    async def _fetch(self, key: bytes, entry: Entry) -> Pair:
        async with self._lanes:
            return terms.pair_of(key, entry, await self._store.value(key, entry))


def entry_of(index: Index, key: bytes, revision: int) -> Entry | None:
    """Return what ``key`` held as of ``revision``, 0: what it holds."""
    return index.at(key, revision) if revision else index.get(key)
