"""Whose file it is: claims, segments and snapshots carry the id of the folder that they were written in."""

from hanas_core.volume.errors import Corruption
from hanas_core.volume.folder import Folder


def check(folder: Folder, folder_id: str, name: str) -> None:
    """Raise Corruption if ``name`` carries another id than this folder has or had. Before that is known, none is."""
    if folder.ids and folder_id not in folder.ids:
        raise Corruption(
            f"{name}: block 0 at offset 0 is of the folder {folder_id[:80]}, not of {', '.join(sorted(folder.ids))}: "
            "it was copied here from another cluster; restore this folder's own file, if there was one"
        )
