"""Closing files on a thread of its own.

On a network file system a close may wait for the server for as long as any other call (NFSv4 gives the server its open
back). A file that is merely dropped is closed by whichever thread drops the last reference, perhaps the event loop's.
"""

import os
import threading
from contextlib import suppress
from queue import SimpleQueue

_MOST_WAITING = 64
"""So many dropped files may wait to be closed before the opening of more waits for that, too: descriptors are few."""


class Closer:
    """Closes descriptors one after the other. Its thread is a daemon: one that hangs keeps no process from ending."""

    def __init__(self) -> None:
        """Wait for the first `start`."""
        self._dropped: SimpleQueue[int] = SimpleQueue()
        self._turn = threading.Condition()
        """Held to start the thread, and to wait for it; never where a file is dropped."""
        self._started = False

    def start(self) -> None:
        """Start the thread unless it runs. A finalizer must not do that: it may have interrupted the start of one."""
        with self._turn:
            if not self._started:
                self._started = True
                threading.Thread(target=self._work, name="folder-close", daemon=True).start()

    def drop(self, descriptor: int) -> None:
        """Have ``descriptor`` closed soon; its errors concern nobody. Never waits, also in a finalizer."""
        self._dropped.put(descriptor)

    def admit(self) -> None:
        """Wait while too many files wait to be closed. For threads that may hang."""
        if self._dropped.qsize() >= _MOST_WAITING:
            with self._turn:
                self._turn.wait_for(lambda: self._dropped.qsize() < _MOST_WAITING)

    def _work(self) -> None:
        while True:
            descriptor = self._dropped.get()
            with suppress(OSError):
                os.close(descriptor)
            with self._turn:
                self._turn.notify_all()


CLOSER = Closer()
"""That of this process."""
