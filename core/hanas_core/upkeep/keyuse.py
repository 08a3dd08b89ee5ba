"""Which keys the segments of the log need (docs/protocol.md, section 3.9)."""

from collections.abc import Iterable

import msgspec

from hanas_core.epochs.takeover import find_predecessor
from hanas_core.log.claims import highest_claim, read_pointer
from hanas_core.log.manifests import read_manifest
from hanas_core.log.segments import NotBegun, read_header
from hanas_core.state.keyspace import Segment
from hanas_core.volume import names
from hanas_core.volume.blocks import Blank
from hanas_core.volume.encryption import PLAIN
from hanas_core.volume.errors import KeyMissing, Missing
from hanas_core.volume.folder import Folder


async def keys_of(folder: Folder, segments: Iterable[Segment]) -> dict[Segment, str]:
    """Return the id of the key of each segment, `PLAIN` for none; one that is gone is left out. Raises FolderError."""
    keys: dict[Segment, str] = {}
    for epoch, number in segments:
        try:
            header = await read_header(folder, epoch, number)
        except (Missing, NotBegun):  # compaction has removed it, or a name was taken ahead
            continue
        how = header.encryption
        keys[epoch, number] = PLAIN if isinstance(how, msgspec.UnsetType) else how.key
    return keys


async def require(folder: Folder) -> None:
    """Make sure that the keys of the whole log are at hand. Raises KeyMissing; FolderError: that is not known."""
    claim = await highest_claim(folder)
    if claim is None or not (epoch := await find_predecessor(folder, claim.epoch + 1)):
        return
    pointer = await read_pointer(folder, epoch)
    if isinstance(pointer, Blank):
        return
    manifest = await read_manifest(folder, pointer)
    _expect(folder, await keys_of(folder, [(cut.epoch, cut.number) for cut in manifest.cuts]))
    number = 1
    while keys := await keys_of(folder, [(epoch, number)]):
        _expect(folder, keys)
        number += 1


def _expect(folder: Folder, keys: dict[Segment, str]) -> None:
    for (epoch, number), key in keys.items():
        if key != PLAIN and key not in folder.keys.ids:
            raise KeyMissing(names.segment(epoch, number), key)
