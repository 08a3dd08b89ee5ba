"""Checks that a snapshot and the log behind it tell the same as the log alone (hanas_core.upkeep.fsck)."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.tailer import Tailer
from hanas_core.state.entries import Entry, is_grave, unpack
from hanas_core.state.index import Index
from hanas_core.upkeep.findings import FolderReport
from hanas_core.volume.folder import Folder


class Good(NamedTuple):
    """A snapshot without a damage of its own."""

    name: str
    position: Position
    """Where in the log a reader goes on."""
    state: Index


async def check_snapshot(folder: Folder, end: Position, snapshot: Good, report: FolderReport) -> None:
    """Read the log up to ``end``, from its beginning and behind a snapshot, and compare.

    For a log without errors. Changes the index of the snapshot. Raises FolderError.
    """
    if not await _read(folder, end, snapshot.position, snapshot.state):
        return  # it is of no use any more, and nobody reads it
    whole = Index(0)
    await _read(folder, end, NOWHERE, whole)
    for what, by_log, by_snapshot in _compared(whole, snapshot.state):
        if by_log != by_snapshot:
            report.error(snapshot.name, None, f"tells other {what} than the log: remove it")


async def _read(folder: Folder, end: Position, begin: Position, index: Index) -> bool:
    """Apply what stands from ``begin`` to ``end``; False if the log does not go on from there."""
    tailer = Tailer(folder, begin)
    if not await tailer.follow(end.epoch):
        return False
    tailer.know(end)
    while not tailer.at_end:
        for batch in await tailer.step():
            index.apply(batch)
    return True


def _compared(log: Index, snapshot: Index) -> Iterator[tuple[str, object, object]]:
    """Yield what is compared, as the one and as the other tells it."""
    yield "revisions", _ends(log), _ends(snapshot)
    yield "keys", _keys(log), _keys(snapshot)
    yield "history", list(_past(log)), list(_past(snapshot))
    yield "leases", log.leases.all(), snapshot.leases.all()
    yield "attached keys", log.leases.attached, snapshot.leases.attached


def _ends(index: Index) -> tuple[int, int, int]:
    return index.sequence, index.revision, index.compacted


def _keys(index: Index) -> list[tuple[object, ...]]:
    return [(key, *_told(entry)) for key, entry in index.page(b"", b"", len(index)).entries]


def _past(index: Index) -> Iterable[tuple[object, ...]]:
    """Yield the changes, and what each key held before."""
    for at in range(len(index.keys.history)):
        revision, key, before = index.keys.history[at]
        yield revision, key, *(() if before is None or is_grave(before) else _told(unpack(before)))


def _told(entry: Entry) -> tuple[object, ...]:
    """Return an entry without its place, which a snapshot learns later."""
    return entry.version, entry.facts, entry.size, entry.checksum, entry.content_type
