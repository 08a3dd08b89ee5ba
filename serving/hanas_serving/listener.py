"""A socket that listens, and what happens when there are no descriptors for those who come.

The event loop's own server gives up its socket then, and leaves clients unanswered for good.
"""

import asyncio
import logging
import math
import socket
from collections.abc import Callable

_log = logging.getLogger("hanas.serving")

_MOST_ACCEPTED = 32
"""In one turn of the event loop."""
_PAUSE_SECONDS = 0.1
_SILENCE_SECONDS = 60.0
"""Between two lines in the log about the same."""


class Listener:
    """Accepts connections, some in each turn of the event loop."""

    def __init__(
        self, bound: socket.socket, make: Callable[[], asyncio.Protocol], make_room: Callable[[], object]
    ) -> None:
        """Prepare to accept at ``bound``, which listens. ``make_room`` frees descriptors if it can."""
        self._loop = asyncio.get_running_loop()
        self._socket = bound
        self._make, self._make_room = make, make_room
        self._coming: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._told_at = -math.inf
        """When a lack of descriptors was logged."""

    def start(self) -> None:
        """Begin to accept."""
        self._pause = None
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket.fileno(), self._accept)

    async def close(self) -> None:
        """Accept no more, and close the socket. What was accepted has its connection then."""
        if self._pause is None:
            self._loop.remove_reader(self._socket.fileno())
        else:
            self._pause.cancel()
        self._socket.close()
        await asyncio.gather(*self._coming)

    def _accept(self) -> None:
        for _ in range(_MOST_ACCEPTED):
            try:
                client, _address = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as error:
                self._wait(error)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._connect(client))
            self._coming.add(task)
            task.add_done_callback(self._coming.discard)

    async def _connect(self, client: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, client)
        except OSError:  # it is gone already
            client.close()

    def _wait(self, error: OSError) -> None:
        """Leave those who come in the kernel's queue for a moment."""
        if self._loop.time() - self._told_at > _SILENCE_SECONDS:
            self._told_at = self._loop.time()
            _log.error("no connection can be accepted: %s; allow this process more open files", error.strerror)
        self._make_room()
        self._loop.remove_reader(self._socket.fileno())
        self._pause = self._loop.call_later(_PAUSE_SECONDS, self.start)
