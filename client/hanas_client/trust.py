"""What a client trusts and shows over TLS, from files that are read again when they have changed."""

from __future__ import annotations

import contextlib
import time

from hanas_client import transport
from hanas_serving.settings import SettingError
from hanas_serving.tls_files import TlsFiles, calling, load

LOOK_SECONDS = 1.0
"""Between two looks at the files."""
_Stamps = tuple[tuple[int, int, int], ...]


class Trust:
    """The files of one client, and the context of its connections."""

    def __init__(self, files: TlsFiles) -> None:
        """Read ``files``. Raises ValueError if one cannot be used."""
        self._files = files
        self._stamps = self._look()
        self._looked_at = time.monotonic()
        self.context = transport.trust(files)

    def refresh(self) -> None:
        """Look whether the files have changed, at most once in `LOOK_SECONDS`. New connections begin with new ones.

        Files that cannot be used change nothing. An authority that is trusted stays so as long as the client lives.
        """
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        stamps = self._look()
        if stamps == self._stamps:
            return
        with contextlib.suppress(SettingError, OSError):  # OSError: also one of ssl
            calling(self._files)  # all of them, before anything changes
            load(self.context, self._files)
            self._stamps = stamps

    def _look(self) -> _Stamps | None:
        """Return what shows that a file has changed; None if one cannot be looked at."""
        try:
            found = [path.stat() for path in self._files.variables().values()]
        except OSError:
            return None
        return tuple((one.st_mtime_ns, one.st_ino, one.st_size) for one in found)
