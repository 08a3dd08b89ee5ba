"""Reading values that are not in memory from their segments, past the caches, with their checksums.

Reads have lanes of their own, so that a slow volume does not delay reads from memory. A compaction may remove a segment
before it is read: then the value has a new place, or will have one soon.
"""

import asyncio
from collections import OrderedDict

from hanas_core.log import cells
from hanas_core.log.segments import open_values
from hanas_core.state.entries import Entry
from hanas_core.state.index import Index
from hanas_core.state.keyspace import Segment
from hanas_core.volume import names
from hanas_core.volume.encryption import Cipher
from hanas_core.volume.errors import FolderError, FolderUnavailable, Missing
from hanas_core.volume.folder import File, Folder
from hanas_worker.host.duties import Duty
from hanas_worker.log.state import LogState

_LANES = 4
_MOST_FILES = 64
"""Segments that are kept open to read from."""
_TRIES = 100
"""How often a moved value is looked for before the read is refused."""

_Opened = tuple[File, Cipher | None]
"""A segment to read from, and its cipher if it is encrypted."""


class Moved(Exception):
    """What the key held is forgotten by now: look again."""


class Values:
    """Reads values for the API."""

    def __init__(self, state: LogState) -> None:
        """Have nothing open yet."""
        self._state, self._host = state, state.host
        self._files: OrderedDict[Segment, _Opened] = OrderedDict()
        self._lanes = [self._host.new_lane(Duty.VALUES) for _ in range(_LANES)]
        self._turns = [0] * _LANES
        """How many reads each lane has to do."""
        self._removals = 0
        self.reads = 0
        """Values read from disk."""

    async def read(self, key: bytes, entry: Entry, part: tuple[int, int]) -> bytes:
        """Return ``part`` (begin, end) of the value of ``key``. Raises Moved, FolderError."""
        index, tries = self._state.index, 0
        while True:
            try:
                value = await self._read(entry, part)
            except Missing:
                tries += 1
                if _of(self._state.index, key, entry).place == entry.place:
                    await self._wait_for_places(tries)
                if self._state.index is not index:
                    raise Moved from None
                entry = _of(index, key, entry)
                continue
            self.reads += 1
            if index is not None and self._state.index is index and part == (0, entry.size):
                index.keep(key, entry, value)
            return value

    async def _wait_for_places(self, tries: int) -> None:
        """Wait until the index learns the new places of the values of a removed segment. Raises FolderUnavailable."""
        if tries > _TRIES:
            raise FolderUnavailable("the value is not where it was, and its new place is not known")
        for duty in (Duty.WATCH, Duty.LOG, Duty.PLACES):
            self._state.wakers[duty].set()
        await asyncio.sleep(self._host.timing.tail_interval)

    async def _read(self, entry: Entry, part: tuple[int, int]) -> bytes:
        segment = (entry.place_epoch, entry.place_number)
        file, removals = self._files.get(segment), self._removals
        lane = self._turns.index(min(self._turns))
        self._turns[lane] += 1
        try:
            opened, value = await self._lanes[lane].run(
                _read(self._host.folder, file, entry, part), self._host.timing.folder_timeout
            )
        except FolderError:
            self._files.pop(segment, None)
            raise
        finally:
            self._turns[lane] -= 1
        if removals == self._removals:
            self._files[segment] = opened
            self._files.move_to_end(segment)
            if len(self._files) > _MOST_FILES:
                self._files.popitem(last=False)
        return value

    def close_removed(self) -> None:
        """Close all segments, since removed ones take space while they are open."""
        self._files.clear()
        self._removals += 1


def _of(index: Index | None, key: bytes, entry: Entry) -> Entry:
    """Return the entry as the index has it now; only its place may be another one. Raises Moved."""
    same = None if index is None else index.same(key, entry)
    if same is None:
        raise Moved
    return same


async def _read(folder: Folder, opened: _Opened | None, entry: Entry, part: tuple[int, int]) -> tuple[_Opened, bytes]:
    epoch, number, offset = entry.place
    if opened is None:
        opened = await open_values(folder, epoch, number)
    file, cipher = opened
    name = names.segment(epoch, number)
    return opened, await cells.read_part(file, name, offset, entry.size, entry.checksum, part, cipher)
