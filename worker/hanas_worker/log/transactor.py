"""A transaction at the main: what it compares or keeps is fetched before, and what it reads behind it."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from hanas_core.state.entries import Entry, revision_in
from hanas_core.state.index import Index
from hanas_core.state.judge import Outcome, Result
from hanas_core.state.reports import Deleted, Past, Put, Report, Row, Rows, Told
from hanas_core.state.transactions import Transact
from hanas_core.volume.errors import FolderError
from hanas_serving.budget import SMALL_BYTES, Budget, Hold, NoMemory
from hanas_worker.log.service import Service
from hanas_worker.log.values import Moved, Values

_TRIES = 32
"""So often a value that is compared or kept may be overwritten before the transaction is refused."""
MOST_BYTES = 16 << 20
"""What the values that a transaction reads may take together; beyond it they are left out."""


class Read(NamedTuple):
    """A key that a transaction read or replaced."""

    entry: Entry
    value: bytes | None
    """None: left out, see `MOST_BYTES`; it can be read as of the revision."""


class Transacted(NamedTuple):
    """How a transaction ended."""

    outcome: Outcome
    epoch: int
    reads: dict[Row, Read]


class Transactor:
    """Carries out one transaction."""

    def __init__(self, service: Service, values: Values, memory: Budget, most_bytes: int | None = None) -> None:
        """Let ``service`` judge it, and ``values`` read; ``memory``: for what it reads, `MOST_BYTES` or less."""
        self._service, self._values, self._memory = service, values, memory
        self._most_bytes = MOST_BYTES if most_bytes is None else most_bytes

    async def carry_out(self, request: Transact) -> Transacted:
        """Return how it ended. Raises FolderError where a value that it needs cannot be read: nothing was done."""
        for _ in range(_TRIES):
            outcome, epoch, entries = await self._submit(request)
            if outcome.result is not Result.VALUES_NEEDED or outcome.report is None:
                return Transacted(outcome, epoch, await self._read(entries))
            request = await self._with_value(request, outcome.report.needed)
        return Transacted(Outcome(Result.BUSY), self._service.epoch, {})

    async def _submit(self, request: Transact) -> tuple[Outcome, int, dict[Row, Entry]]:
        """Return outcome, epoch, and what was read, as of the moment when it was committed."""
        waiter: asyncio.Future[tuple[Outcome, int, dict[Row, Entry]]] = asyncio.get_running_loop().create_future()

        def written(outcome: Outcome, epoch: int) -> None:
            if not waiter.done():
                outcome = _with_past(self._service.index, outcome)
                rows = {} if outcome.report is None else _entries(self._service.index, outcome.report)
                waiter.set_result((outcome, epoch, rows))

        self._service.submit(request, written)
        return await waiter

    async def _with_value(self, request: Transact, key: bytes) -> Transact:
        index = self._service.index
        entry = index.get(key)
        if entry is None:  # it went meanwhile: it is judged anew
            return request
        value = index.cached(key)
        if value is None:
            try:
                value = await self._values.read(key, entry, (0, entry.size))
            except Moved:
                return request
        return msgspec.structs.replace(request, values={**request.values, key: (entry.facts.revision, value)})

    async def _read(self, entries: dict[Row, Entry]) -> dict[Row, Read]:
        total, index = sum(entry.size for entry in entries.values()), self._service.index
        hold = Hold(self._memory, None)
        try:
            if total > SMALL_BYTES:
                await self._memory.wait(hold, total)
            fits = total <= self._most_bytes
            return {
                row: Read(entry, await self._value(index, row.key, entry) if fits else None)
                for row, entry in entries.items()
            }
        except NoMemory:
            return {row: Read(entry, None) for row, entry in entries.items()}
        finally:
            asyncio.get_running_loop().call_soon(hold.release)

    async def _value(self, index: Index, key: bytes, entry: Entry) -> bytes | None:
        if (value := index.cached_of(key, entry)) is not None:
            return value
        try:
            return await self._values.read(key, entry, (0, entry.size))
        except (Moved, FolderError):
            return None


def _with_past(index: Index, outcome: Outcome) -> Outcome:
    """Return the outcome with what was to be read as of a revision.

    Its own batch may have forgotten that: a transaction that changed nothing is refused then, and of another one it is
    not known how it ended.
    """
    if outcome.report is None:
        return outcome
    try:
        return msgspec.structs.replace(outcome, report=_resolved(index, outcome.report))
    except _Forgotten:
        result = Result.FORGOTTEN if outcome.version is None else Result.UNKNOWN
        return Outcome(result, None, outcome.revision)


class _Forgotten(Exception):
    """What was to be read is not known any more."""


def _resolved(index: Index, report: Report) -> Report:
    return msgspec.structs.replace(report, results=tuple(_told(index, told) for told in report.results))


def _told(index: Index, told: Told) -> Told:
    match told:
        case Past(read=read):
            if read.revision < index.compacted:
                raise _Forgotten
            rows, span = list[Row](), read.keys
            count = 0
            for key, packed in index.keys.span(span.first, span.end, read.revision):
                count += 1
                if count <= read.limit:
                    rows.append(Row(key, revision_in(packed)))
            return Rows(tuple(rows), count > read.limit, count if read.count else 0)
        case Report():
            return _resolved(index, told)
        case _:
            return told


def _entries(index: Index, report: Report) -> dict[Row, Entry]:
    entries: dict[Row, Entry] = {}
    for row in _rows(report):
        entry = index.at(row.key, max(row.revision, index.compacted))
        if entry is not None and entry.facts.revision == row.revision:  # else it was forgotten at once
            entries[row] = entry
    return entries


def _rows(report: Report) -> Iterator[Row]:
    """Yield the rows whose values are told."""
    for told in report.results:
        match told:
            case Rows(rows=rows):
                yield from rows
            case Put(previous=row) if row is not None:
                yield row
            case Deleted(previous=rows):
                yield from rows
            case Report():
                yield from _rows(told)
            case _:
                pass
