"""A transaction at the main: what it compares or keeps is fetched before, and what it reads behind it."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, NamedTuple

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


def size_of_keys(report: Report) -> int:
    """Return what the keys of the rows that are told take, bytes: of each as often as it is told."""
    return sum(len(row.key) for row in _rows(report))


Done = Callable[[Transacted | FolderError], None]
"""Gets how a transaction ended, or why a value that it needs cannot be read: then nothing was done. Must not raise."""


class Transactor:
    """Carries out transactions, of which most need no value of the volume: they cost neither a task nor a future."""

    def __init__(
        self,
        service: Service,
        values: Values,
        memory: Budget,
        tasks: set[asyncio.Task[None]],
        most_bytes: int | None = None,
    ) -> None:
        """Let ``service`` judge, and ``values`` read; ``memory``: for what is read, `MOST_BYTES` or less.

        ``tasks`` keeps those that read.
        """
        self._service, self._values, self._memory, self._tasks = service, values, memory, tasks
        self._most_bytes = MOST_BYTES if most_bytes is None else most_bytes

    def carry_out(self, request: Transact, done: Done, tries: int = _TRIES) -> None:
        """Call ``done`` when it was judged, and what it read is at hand."""
        self._service.submit(request, partial(self._judged, request, done, tries))

    def _judged(self, request: Transact, done: Done, tries: int, outcome: Outcome, epoch: int) -> None:
        index, report = self._service.index, outcome.report
        if report is None:
            done(Transacted(outcome, epoch, {}))
        elif outcome.result is not Result.VALUES_NEEDED:
            outcome = _with_past(index, outcome)
            entries = {} if outcome.report is None else _entries(index, outcome.report)
            reads = _at_hand(index, entries)
            if reads is None:
                self._begin(self._read_on(outcome, epoch, entries, done))
            else:
                done(Transacted(outcome, epoch, reads))
        elif tries > 1:
            self._begin(self._try_again(request, done, tries - 1, report.needed))
        else:
            done(Transacted(Outcome(Result.BUSY), epoch, {}))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try_again(self, request: Transact, done: Done, tries: int, key: bytes) -> None:
        try:
            request = await self._with_value(request, key)
        except FolderError as error:
            done(error)
        else:
            self.carry_out(request, done, tries)

    async def _read_on(self, outcome: Outcome, epoch: int, entries: dict[Row, Entry], done: Done) -> None:
        done(Transacted(outcome, epoch, await self._read(entries)))

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


def _at_hand(index: Index, entries: dict[Row, Entry]) -> dict[Row, Read] | None:
    """Return the values that were read; None: they are not in memory, or so large that it must be asked for."""
    reads: dict[Row, Read] = {}
    left = SMALL_BYTES
    for row, entry in entries.items():
        value, left = index.cached_of(row.key, entry), left - entry.size
        if value is None or left < 0:
            return None
        reads[row] = Read(entry, value)
    return reads


def _with_past(index: Index, outcome: Outcome) -> Outcome:
    """Return the outcome with what was to be read as of a revision.

    Its own batch may have forgotten that: a transaction that changed nothing is refused then, and of another one it is
    not known how it ended.
    """
    if outcome.report is None or not _asks_for_past(outcome.report):
        return outcome
    try:
        return msgspec.structs.replace(outcome, report=_resolved(index, outcome.report))
    except _Forgotten:
        result = Result.FORGOTTEN if outcome.version is None else Result.UNKNOWN
        return Outcome(result, None, outcome.revision)


def _asks_for_past(report: Report) -> bool:
    return any(isinstance(told, Past) or (isinstance(told, Report) and _asks_for_past(told)) for told in report.results)


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
