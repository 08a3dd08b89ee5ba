"""Opening files whose names are known to exist, although a look-up may say otherwise (docs/protocol.md, section 1)."""

from hanas_core.volume.errors import Missing
from hanas_core.volume.folder import Access, File, Folder

_LOOKUP_TRIES = 3


async def open_recorded(folder: Folder, name: str, access: Access) -> File:
    """Open a file whose name is recorded somewhere, so that "not found" means a stale look-up: ask again, then raise.

    Raises Missing when the file server itself says so: the file was removed, or its directory entry was lost.
    """
    for _ in range(_LOOKUP_TRIES):
        try:
            return await folder.open(name, access)
        except Missing:
            await folder.refresh(name.rpartition("/")[0])
    return await folder.open(name, access)
