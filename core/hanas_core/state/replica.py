"""A member's own copy of the state, and how far along the log it is."""

from typing import NamedTuple

from hanas_core.log import records
from hanas_core.log.batches import FIRST_OFFSET, Batch
from hanas_core.log.claims import read_pointer
from hanas_core.log.manifests import Cut, Manifest, read_manifest
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.segments import SegmentReader
from hanas_core.log.tailer import Tailer
from hanas_core.state import snapshots
from hanas_core.state.index import Index, Segment
from hanas_core.state.valuecache import DEFAULT_BYTES
from hanas_core.volume import names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import Corruption, FolderError
from hanas_core.volume.folder import Folder

_PIECE_BYTES = 256 << 10


class Replica:
    """The index together with the tailer that feeds it."""

    def __init__(self, folder: Folder, cache_bytes: int = DEFAULT_BYTES) -> None:
        """Begin with nothing applied. ``cache_bytes``: see `Index`."""
        self._folder = folder
        self._cache_bytes = cache_bytes
        self._known: set[Segment] = set()
        """Merged segments that the index knows the places of, or will once the tailer has come past them."""
        self._learning: _Learning | None = None
        self.index = Index(cache_bytes)
        self.tailer = Tailer(folder)
        self.unread: list[Cut] = []
        """Merged segments that the tailer does not come past: values that the index knows have moved there."""
        self.troubles: list[str] = []
        """Why snapshots could not be used: for people."""

    def forget(self) -> None:
        """Drop everything, also how far it was read."""
        self._empty()
        self.continue_from(NOWHERE)

    def _empty(self) -> None:
        self.index = Index(self._cache_bytes)
        self._known = set()

    def continue_from(self, applied: Position) -> None:
        """The state now holds everything before ``applied``, by other means than tailing: as a main."""
        self.tailer = Tailer(self._folder, applied)

    async def follow(self, epoch: int) -> bool:
        """Continue along the manifest of ``epoch``; forget a state that is no prefix. False: there is none yet."""
        fresh = self.tailer.applied == NOWHERE
        if fresh and await self._load(epoch):
            fresh = False
        goes_on = await self.tailer.follow(epoch)
        if goes_on is None or self.tailer.manifest is None:
            return False
        if not goes_on:
            self._empty()
        if fresh or not goes_on:
            self._known.update((cut.epoch, cut.number) for cut in _merged(self.tailer.manifest))
        self._find_unread(self.tailer.manifest)
        return True

    async def _load(self, epoch: int) -> bool:
        """Start from the newest snapshot that can be used in ``epoch``; False if there is none."""
        pointer = await read_pointer(self._folder, epoch)
        if isinstance(pointer, Blank):
            return False
        manifest = await read_manifest(self._folder, pointer)
        for name in await snapshots.newest(self._folder):
            index = Index(self._cache_bytes)
            try:
                header = await snapshots.load(self._folder, name, index)
            except FolderError as error:
                self.troubles.append(str(error))
                continue
            if manifest.resume(header.position) is not None:
                self.index = index
                self._known = set(header.merged)
                self.continue_from(header.position)
                return True
        return False

    async def catch_up(self) -> None:
        """Apply everything that is known to be committed, up to the end of what can be read now."""
        while True:
            for batch in await self.tailer.step():
                self.apply(batch)
            if self.tailer.at_end:
                return

    def apply(self, batch: Batch, changes: list[records.Record] | None = None) -> None:
        """Take in a committed batch, see `Index.apply`: the one door for what was tailed, re-logged or written here."""
        self.index.apply(batch, changes)

    def relocate(self, batch: Batch) -> None:
        """Take in a batch that `learn` returned."""
        self.index.relocate(batch)

    def check_invariants(self) -> None:
        """Assert what must hold between two steps; see `Index.check_invariants`."""
        self.index.check_invariants()
        assert not self._known.intersection((cut.epoch, cut.number) for cut in self.unread)

    @property
    def merged(self) -> tuple[Segment, ...]:
        """The merged segments that the index knows the places of; only while none is `unread`."""
        return tuple(sorted(self._known))

    def compacted(self, manifest: Manifest) -> None:
        """This member itself has merged a part of the log, and its new epoch begins with ``manifest``."""
        self._find_unread(manifest)

    def _find_unread(self, manifest: Manifest) -> None:
        self.unread = [cut for cut in _merged(manifest) if (cut.epoch, cut.number) not in self._known]

    async def learn(self) -> list[Batch]:
        """Read a piece of the first `unread` segment; return its batches, for `relocate`. Raises Corruption.

        What is `unread` may be another list meanwhile, see `compacted`; then this one is nobody's any more.
        """
        unread, known, learning = self.unread, self._known, self._learning
        cut = unread[0]
        if learning is None or learning.unread is not unread:
            reader = await SegmentReader.open(self._folder, cut.epoch, cut.number, most_bytes=_PIECE_BYTES)
            learning = _Learning(unread, reader, FIRST_OFFSET)
        batches, _ = await learning.reader.take(learning.read_to, cut.end)
        if not batches:
            raise Corruption(
                f"{names.segment(cut.epoch, cut.number)}: at offset {learning.read_to} there is no valid batch, "
                f"but valid ones up to {cut.end}; run 'hanas fsck' on the folder"
            )
        read_to = batches[-1].end
        if read_to < cut.end:
            self._learning = learning._replace(read_to=read_to)
        else:
            self._learning = None
            known.add((cut.epoch, cut.number))
            unread.pop(0)
        return batches


class _Learning(NamedTuple):
    """The first of these segments is being read."""

    unread: list[Cut]
    reader: SegmentReader
    read_to: int


def _merged(manifest: Manifest) -> list[Cut]:
    return [cut for cut in manifest.cuts if cut.number >= names.MERGED_FROM]
