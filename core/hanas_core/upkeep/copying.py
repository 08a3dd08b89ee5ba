"""All keys and values of a folder in use, as one revision left them (docs/protocol.md, section 3.8).

Reads the folder and nothing else, beside the traffic, and changes nothing that anybody relies on.
"""

from typing import NamedTuple

from hanas_core.log import cells
from hanas_core.log.claimfile import Claim
from hanas_core.log.claims import highest_claim
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.segments import open_values
from hanas_core.log.tailer import Tailer
from hanas_core.members.documents import LOG, Presence
from hanas_core.members.mailboxes import Mailboxes
from hanas_core.members.registry import Registry
from hanas_core.state.index import Index
from hanas_core.state.keyspace import Segment
from hanas_core.upkeep.archive import Item, item_of
from hanas_core.volume import names
from hanas_core.volume.encryption import Cipher
from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import File, Folder

_WINDOW_BYTES = 4 << 20
"""Values that lie near each other are read at once, up to so many bytes; a larger one alone."""
_SHOWS = 2
"""A presence block whose counter has grown by this was composed after the first look: the one before may have been on
its way then."""


class Commitment:
    """Waits until the main itself has shown in the folder what is committed, at some moment after the first look."""

    def __init__(self, folder: Folder) -> None:
        """Have seen nothing yet."""
        self._folder = folder
        self._registry = Registry(folder)
        self._first: tuple[int, str, int] | None = None
        """Epoch, incarnation and counter of the main that was seen first."""

    async def look(self) -> Position | None:
        """Return the position, None if it is not known yet: look again. Raises FolderError."""
        holder = await highest_claim(self._folder)
        shown = None if holder is None else await self._shown(holder)
        if holder is None or shown is None:
            return None
        if self._first is None:
            self._first = (holder.epoch, holder.incarnation, shown.counter)
        committed = shown.of(LOG).witness.committed
        return committed if committed.epoch == holder.epoch and self._is_later(holder, shown) else None

    async def _shown(self, holder: Claim) -> Presence | None:
        presences = await self._registry.presence(Mailboxes(self._folder))
        return next((one for one in presences if one is not None and one.incarnation == holder.incarnation), None)

    def _is_later(self, holder: Claim, shown: Presence) -> bool:
        assert self._first is not None
        epoch, incarnation, counter = self._first
        return holder.epoch > epoch or (shown.incarnation == incarnation and shown.counter >= counter + _SHOWS)


class _Value(NamedTuple):
    """Where a value lies, and its key. Ordered by the place."""

    place: Position
    key: bytes


class FolderCopy:
    """The keys at one position of the log. The segments with their values are held open, so that none is lost."""

    def __init__(self, folder: Folder) -> None:
        """Hold nothing yet."""
        self._folder = folder
        self._index = Index(0)
        self._files: dict[Segment, tuple[File, Cipher | None]] = {}
        self._left: list[_Value] = []
        self.applied = NOWHERE

    @property
    def revision(self) -> int:
        """Sequence of the last record that the copy holds."""
        return self._index.sequence

    @property
    def store_revision(self) -> int:
        """That of the store."""
        return self._index.revision

    @property
    def leases(self) -> tuple[tuple[int, int], ...]:
        """Ids of the leases and their seconds to live."""
        return tuple((lease, held.ttl) for lease, held in self._index.leases.all())

    @property
    def keys(self) -> int:
        """The number of keys."""
        return len(self._index)

    async def read(self, committed: Position) -> None:
        """Read the log up to ``committed``, or to a later commit position that is found on the way.

        Raises FolderError; Missing if a compaction removed a segment before it was open: begin anew.
        """
        tailer = Tailer(self._folder)
        if await tailer.follow(committed.epoch) is None or tailer.manifest is None:
            name = names.claim(committed.epoch)
            raise Corruption(f"{name}: block 1 at offset 4096 is gone, but {committed} was committed")
        for cut in tailer.manifest.cuts:
            await self._hold((cut.epoch, cut.number))
        tailer.know(committed)
        while tailer.applied < committed:
            for batch in await tailer.step():
                await self._hold((batch.epoch, batch.number))
                self._index.apply(batch)
        self.applied = tailer.applied
        entries = self._index.page(b"", b"", len(self._index)).entries
        self._left = sorted((_Value(entry.place, key) for key, entry in entries), reverse=True)

    async def _hold(self, segment: Segment) -> None:
        if segment not in self._files:
            self._files[segment] = await open_values(self._folder, *segment)

    async def take(self) -> list[Item]:
        """Return the next keys with their values, in the order of the log; none at the end. Raises FolderError."""
        window: list[_Value] = []
        begin = end = 0
        while self._left:
            value = self._left[-1]
            entry = self._index.get(value.key)
            assert entry is not None
            front = cells.front_size(entry.size, self._files[value.place[:2]][1])
            value_begin, value_end = entry.place_offset - front, entry.place_offset + entry.size
            if not window:
                begin = value_begin
            elif value.place[:2] != window[0].place[:2] or value_end - begin > _WINDOW_BYTES:
                break
            window.append(self._left.pop())
            end = value_end
        if not window:
            return []
        segment = window[0].place[:2]
        file, cipher = self._files[segment]
        content = _Window(await file.read(begin, end - begin) if end > begin else b"", begin)
        return [await self._item(value.key, content, cipher) for value in window]

    async def _item(self, key: bytes, content: "_Window", cipher: Cipher | None) -> Item:
        entry = self._index.get(key)
        assert entry is not None
        name, size = names.segment(*entry.place[:2]), entry.size
        value = await cells.read_part(content, name, entry.place_offset, size, entry.checksum, (0, size), cipher)
        return item_of(key, value, entry.content_type, str(entry.version), entry.facts)


class _Window:
    """A part of a segment in memory."""

    def __init__(self, content: bytes, begin: int) -> None:
        self._content = content
        self._begin = begin

    async def read(self, offset: int, length: int) -> bytes:
        return self._content[offset - self._begin : offset - self._begin + length]
