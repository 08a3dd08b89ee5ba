"""Reads of many keys, or of values that are not at hand: as of one revision, in turns of the event loop."""

import asyncio

from hanas_core.state.entries import Entry, unpack
from hanas_core.state.index import Index
from hanas_serving.budget import SMALL_BYTES, Hold
from hanas_worker.faces.etcd import terms
from hanas_worker.faces.etcd.revisions import Busy, Compacted, Pair, Query, Rows
from hanas_worker.refusals import Forgotten
from hanas_worker.store import Store

_STEP_KEYS = 512
"""So many keys are looked at in one turn of the event loop."""
_TRIES = 8
"""So often the read begins anew because what it reads was forgotten meanwhile."""
_AT_ONCE = 8
"""Values that are read from the volume at a time."""


class Reading:
    """One read."""

    def __init__(self, store: Store, query: Query) -> None:
        """Prepare to read from ``store``, whose state may be read."""
        self._store, self._query = store, query
        self._lanes = asyncio.Semaphore(_AT_ONCE)

    async def carry_out(self) -> Rows:
        """Return what there is. Raises Compacted, Busy, Refusal, NoMemory."""
        for _ in range(_TRIES):
            index = self._store.index
            present = index.revision
            revision = self._query.revision or present
            try:
                entries, count = await self._entries(index, revision)
                pairs = await self._pairs(index, entries)
            except Forgotten:
                if self._query.revision:
                    raise Compacted from None
                continue
            return Rows(present, pairs, count)
        raise Busy

    async def _entries(self, index: Index, revision: int) -> tuple[list[tuple[bytes, Entry]], int]:
        """Return the entries that are asked for, and how many keys there are. Raises Forgotten."""
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
            if self._store.index is not index or revision < index.compacted:
                raise Forgotten(self._store.epoch, index.compacted)
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

    async def _pairs(self, index: Index, entries: list[tuple[bytes, Entry]]) -> list[Pair]:
        """Return the entries with their values. Raises Forgotten."""
        pairs: list[Pair | None] = []
        lacking: list[int] = []
        for number, (key, entry) in enumerate(entries):
            if number % _STEP_KEYS == _STEP_KEYS - 1:
                await asyncio.sleep(0)
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
