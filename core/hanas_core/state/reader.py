"""Reading a log for a replica: from where, and what was committed since.

A reader belongs to the thread that reads. What it returns is for the owner of the replica to take in.
"""

from typing import NamedTuple

from hanas_core.log.batches import Batch
from hanas_core.log.claims import read_pointer
from hanas_core.log.manifests import Cut, Manifest, read_manifest
from hanas_core.log.positions import NOWHERE, Position
from hanas_core.log.tailer import Tailer
from hanas_core.state import snapshots
from hanas_core.state.index import Index
from hanas_core.state.keyspace import Segment
from hanas_core.volume import names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import Folder


class Course(NamedTuple):
    """How a replica goes on along the manifest of an epoch."""

    manifest: Manifest
    applied: Position
    fresh: Index | None
    """The state at ``applied``, if the one at hand is no prefix of the manifest or a snapshot is ahead of it."""
    merged: frozenset[Segment]
    """Merged segments that ``fresh`` knows the places of, or will once the reader has come past them."""
    troubles: tuple[str, ...]
    """Why snapshots could not be used: for people."""


class Step(NamedTuple):
    """What was read: committed batches, in order, which end at ``applied``."""

    batches: list[Batch]
    applied: Position
    lag_bytes: int
    at_end: bool
    """There was nothing new."""
    served: bool
    """The followed epoch is known to have passed its first check."""


class LogReader:
    """Reads along one epoch after the other."""

    def __init__(self, folder: Folder, cache_bytes: int) -> None:
        """Follow nothing yet. ``cache_bytes``: see `Index`."""
        self._folder = folder
        self._cache_bytes = cache_bytes
        self.tailer = Tailer(folder)

    async def follow(self, epoch: int, applied: Position) -> Course | None:
        """Go on along the manifest of ``epoch`` from a state that holds everything before ``applied``.

        None: there is no manifest yet. Raises FolderError; either way, follow again before the next step.
        """
        index, merged, troubles = None, frozenset[Segment](), list[str]()
        if applied == NOWHERE:
            index, merged, applied = await self._load(epoch, troubles)
        tailer = Tailer(self._folder, applied)
        goes_on = await tailer.follow(epoch)
        if tailer.manifest is None:
            return None
        if applied == NOWHERE or not goes_on:
            index = Index(self._cache_bytes)
            merged = frozenset((cut.epoch, cut.number) for cut in merged_cuts(tailer.manifest))
        self.tailer = tailer
        return Course(tailer.manifest, tailer.applied, index, merged, tuple(troubles))

    async def _load(self, epoch: int, troubles: list[str]) -> tuple[Index | None, frozenset[Segment], Position]:
        """Return what the newest snapshot gives that can be used in ``epoch``, and the position behind it."""
        pointer = await read_pointer(self._folder, epoch)
        if not isinstance(pointer, Blank):
            manifest = await read_manifest(self._folder, pointer)
            for name in await snapshots.newest(self._folder):
                index = Index(self._cache_bytes)
                try:
                    header = await snapshots.load(self._folder, name, index)
                except FolderError as error:
                    troubles.append(str(error))
                    continue
                if manifest.resume(header.position) is not None:
                    return index, frozenset(header.merged), header.position
        return None, frozenset(), NOWHERE

    async def step(self, committed: Position | None = None) -> Step:
        """Read on, once; go on until `Step.at_end`. ``committed``: a commit position that somebody told."""
        if committed is not None:
            self.tailer.know(committed)
        batches = await self.tailer.step()
        tailer = self.tailer
        return Step(batches, tailer.applied, tailer.lag_bytes, tailer.at_end, tailer.served)


def merged_cuts(manifest: Manifest) -> list[Cut]:
    """Return the merged segments that ``manifest`` names."""
    return [cut for cut in manifest.cuts if cut.number >= names.MERGED_FROM]
