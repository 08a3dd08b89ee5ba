"""The file with the keys that encrypt what lies in the folder, which is read again while a worker runs.

A file counts when two looks in a row have read the same, as those of `hanas_serving.credentials` do. A key that was
once there stays in force until the process ends, to read what is encrypted with it.
"""

import asyncio
import logging
from collections.abc import Mapping

from hanas_core.volume import encryption
from hanas_core.volume.encryption import NO_KEYS, Keys
from hanas_core.volume.errors import FolderError
from hanas_core.volume.folder import Folder
from hanas_serving import settings
from hanas_serving.credentials import ADVICE
from hanas_serving.lanes import Lane, StartThread
from hanas_serving.rereading import LOOK_SECONDS, PATIENCE_SECONDS, Reread
from hanas_serving.settings import SettingError

KEY_FILE = "HANAS_ENCRYPTION_KEY_FILE"
_log = logging.getLogger("hanas.worker")


class KeyFile:
    """The file of one process."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Read it; without a name there are no keys. Raises SettingError."""
        self._environment = environment
        lines = settings.secrets(environment, KEY_FILE)
        keys = _parsed(environment, lines) if lines else NO_KEYS
        self._file = Reread(KEY_FILE, keys, lambda _: "the keys")

    @property
    def keys(self) -> Keys:
        """Those of the file, as they count now."""
        return self._file.present

    async def keep(self, start: StartThread, folder: Folder) -> None:
        """Look at the file until cancelled, in a thread that ``start`` starts, and give the keys to ``folder``."""
        if not self._environment.get(KEY_FILE):
            return
        lane = Lane("encryption key", start)
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.take(await self._look(lane), folder)

    def take(self, seen: Keys | str, folder: Folder) -> None:
        """Take note of what a look gave: keys, or what is wrong with the file."""
        former = self._file.present
        keys = self._file.settled(seen)
        if keys is None:
            return
        gone = sorted(former.ids - keys.ids)
        if gone:
            _log.warning(
                "%s: the file has no more the key %s, which stays in force until this worker ends: put it back unless "
                "`hanas_encryption_segments` is 0 for it at every worker",
                KEY_FILE,
                ", ".join(gone),
            )
        folder.keys = keys.beside(folder.keys)
        _log.info("%s: the file has changed; new segments are written with %s", KEY_FILE, keys.current or "no key")

    async def _look(self, lane: Lane) -> Keys | str:
        try:
            return await lane.run(_read(self._environment), PATIENCE_SECONDS)
        except SettingError as error:
            return str(error)
        except FolderError:  # of the lane: its thread has not returned
            return f"{KEY_FILE}={self._environment[KEY_FILE]}: the file cannot be read: it does not answer"


async def _read(environment: Mapping[str, str]) -> Keys:
    return _parsed(environment, settings.lines_of(environment, KEY_FILE))


def _parsed(environment: Mapping[str, str], lines: tuple[str, ...]) -> Keys:
    try:
        return encryption.parse(lines)
    except ValueError as error:
        raise SettingError(f"{KEY_FILE}={environment[KEY_FILE]}: {error}. {ADVICE}") from None
