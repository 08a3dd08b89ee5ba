"""Manifests: which bytes of which segments are the state that an epoch starts from (docs/protocol.md, section 2)."""

from typing import Annotated

import msgspec
import xxhash

from hanas_core.log.batches import FIRST_OFFSET
from hanas_core.log.claimfile import Claim, Pointer
from hanas_core.log.positions import Position, start_of
from hanas_core.volume import names, reading
from hanas_core.volume.blocks import Blank, decode, pack
from hanas_core.volume.errors import Corruption, FolderUnavailable
from hanas_core.volume.folder import BLOCK_BYTES, Folder
from hanas_core.volume.publish import publish

_OVERHEAD_BYTES = 64


class Cut(msgspec.Struct, frozen=True, array_like=True):
    """A segment of an earlier epoch and where its live part ends, bytes."""

    epoch: Annotated[int, msgspec.Meta(ge=1)]
    number: Annotated[int, msgspec.Meta(ge=1)]
    end: Annotated[int, msgspec.Meta(ge=FIRST_OFFSET)]


class Manifest(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """The beginning of an epoch: everything below, in order, then the epoch's own segments from number 1 on."""

    epoch: int
    member: str
    incarnation: str
    predecessor: Annotated[int, msgspec.Meta(ge=0)]
    """The epoch whose log this one continues; 0 for none."""
    cuts: tuple[Cut, ...]
    relogged_end: Annotated[int, msgspec.Meta(ge=FIRST_OFFSET)]
    """End of the re-logged batches in the own first segment, bytes: durable, but committed only by the first check."""
    next_sequence: Annotated[int, msgspec.Meta(ge=1)]
    """Sequence of the first write of this epoch."""
    seconds: dict[str, float] = {}
    """How long the steps of the takeover took, seconds: for people."""

    @property
    def start(self) -> Position:
        """Where a reader that knows nothing begins."""
        return start_of(self.cuts[0].epoch, self.cuts[0].number) if self.cuts else start_of(self.epoch)

    def resume(self, applied: Position) -> Position | None:
        """Return where a reader goes on that has applied everything before ``applied``; None: it must start anew.

        Whoever has applied more of an epoch than its cuts hold (also in a segment begun after the last of them)
        continues at the cut: all that it applied was committed, so the rest was re-logged, and is recognised by its
        sequence.
        """
        if applied.epoch == self.epoch:
            return applied
        if applied.number >= names.MERGED_FROM:  # in the middle of a merged part, which is whole or it is nothing
            return applied if self.cut_of(applied) else None
        for cut in reversed(self.cuts):
            if cut.epoch == applied.epoch and cut.number <= applied.number:
                return min(applied, Position(cut.epoch, cut.number, cut.end))
        return None

    def behind(self, applied: Position | None) -> int:
        """Return how much of the cuts a reader that goes on from ``applied`` (None: from the start) reads, bytes."""
        resumed = None if applied is None else self.resume(applied)
        if resumed is None:
            return sum(cut.end for cut in self.cuts)
        present = self.cut_of(resumed)
        if present is None:
            return 0
        later = self.cuts[self.cuts.index(present) + 1 :]
        return present.end - resumed.offset + sum(cut.end for cut in later)

    def cut_of(self, position: Position) -> Cut | None:
        """Return the cut of the segment that ``position`` lies in; None for a segment of the epoch itself."""
        return next((cut for cut in self.cuts if (cut.epoch, cut.number) == position[:2]), None)

    def after(self, cut: Cut) -> Position:
        """Return where the log goes on behind ``cut``."""
        later = self.cuts[self.cuts.index(cut) + 1 :]
        return start_of(later[0].epoch, later[0].number) if later else start_of(self.epoch)


async def write_manifest(folder: Folder, claim: Claim, manifest: Manifest) -> Pointer:
    """Write the manifest, durable with its name, and return the pointer that names it.

    That it stands there is seen first: a pointer to nothing would end the log for everybody. Raises FolderError.
    """
    payload = msgspec.json.encode(manifest)
    size = -(-(len(payload) + _OVERHEAD_BYTES) // BLOCK_BYTES) * BLOCK_BYTES
    content = pack(payload, size)
    name = names.manifest(manifest.epoch, folder.nonce())
    temporary = names.temporary(claim.member, claim.incarnation, folder.nonce())
    if await publish(folder, temporary, name, content) != content:
        raise FolderUnavailable(f"{name}: {size} bytes at offset 0 are not what was written a moment ago")
    return Pointer(name, size, xxhash.xxh3_64_intdigest(content))


async def read_manifest(folder: Folder, pointer: Pointer) -> Manifest:
    """Return the manifest that ``pointer`` names. Raises Corruption if it is not the one that was pointed to."""
    file = await reading.open_recorded(folder, pointer.manifest, "read")
    content = await file.read(0, pointer.size)
    manifest = decode(content, Manifest, pointer.manifest, 0)
    if isinstance(manifest, Blank) or xxhash.xxh3_64_intdigest(content) != pointer.checksum:
        raise Corruption(f"{pointer.manifest}: {pointer.size} bytes at offset 0 are not what their claim points to")
    return manifest
