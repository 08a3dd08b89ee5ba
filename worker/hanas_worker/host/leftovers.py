"""What earlier processes of a worker left behind in the folder."""

import contextlib

from hanas_core.volume import names
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import Folder


async def clear_temporary(folder: Folder, member: str, incarnation: str) -> int:
    """Remove what earlier incarnations of this member left behind; return how many files."""
    leftovers = [
        name
        for name in await folder.names(names.TEMPORARY)
        if (owner := names.owner_of_temporary(name)) and owner[0] == member and owner[1] != incarnation
    ]
    for name in leftovers:
        with contextlib.suppress(FolderError):  # one that is no file stops no start
            await folder.remove(f"{names.TEMPORARY}/{name}")
    return len(leftovers)
