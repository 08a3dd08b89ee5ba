"""Opening the communication folder at the start of a component."""

import os
from pathlib import Path

from hanas_core.volume.errors import FolderError
from hanas_core.volume.posix import PosixFolder
from hanas_serving.settings import FOLDER, SettingError


async def open_folder(place: Path) -> PosixFolder:
    """Return the folder at ``place``. SettingError, in words, if it is missing or cannot be written."""
    try:
        folder = PosixFolder(place)
    except FolderError:
        raise SettingError(
            f"{FOLDER}={place}: there is no such directory; mount the volume there, or make it"
        ) from None
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK) or os.statvfs(place).f_flag & os.ST_RDONLY:
        raise SettingError(f"{FOLDER}={place}: cannot be written; give this user read and write permission")
    return folder
