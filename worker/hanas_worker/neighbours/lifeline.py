"""An idle connection to the main, which the kernel closes at once when the main's process dies.

A backup need not wait for the silence then, and probes immediately. It is a hint and no more: a machine that loses its
power closes nothing, and a proxy or a firewall may close what is well.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from hanas_serving import principals
from hanas_worker.neighbours.keepalives import LIFELINE_PATH, MEMBER_HEADER

IDLE_SECONDS = 24 * 3600
"""The main leaves a connection open for so long after its answer."""
_ANSWER = b"HTTP/1.1 204 "


class Lifeline:
    """Holds one connection at a time."""

    def __init__(self, member: str, secrets: tuple[str, ...], patience: float) -> None:
        """``patience``: seconds to connect in, and between two connections."""
        headers = {MEMBER_HEADER: member, **principals.bearer(secrets)}
        self._headers = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._patience = patience
        self._holding: asyncio.Task[None] | None = None

    def hold(self, url: str, on_closed: Callable[[], None]) -> asyncio.Task[None]:
        """Stay connected to ``url``, to nobody else; ``on_closed`` is called whenever that ends. Returns the task."""
        self.let_go()
        self._holding = asyncio.create_task(self._hold(url, on_closed))
        return self._holding

    def let_go(self) -> None:
        """Be connected to nobody."""
        if self._holding is not None:
            self._holding.cancel()

    async def _hold(self, url: str, on_closed: Callable[[], None]) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError):
                await self._until_closed(url)
                on_closed()
            await asyncio.sleep(self._patience)

    async def _until_closed(self, url: str) -> None:
        """Return when a connection that was made is closed. Raises OSError or EOFError if none can be made."""
        parts = urlsplit(url)
        async with contextlib.AsyncExitStack() as stack:
            async with asyncio.timeout(self._patience):
                address = await _address(parts.hostname or "", parts.port or 80)
                reader, writer = await asyncio.open_connection(*address)
                stack.callback(writer.close)
                writer.write(f"GET {LIFELINE_PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\n{self._headers}\r\n".encode())
                answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(_ANSWER):
                raise ConnectionError(f"{url}: {answer[:40]!r}")
            with contextlib.suppress(OSError):
                await reader.read(1)  # nothing more is ever said


async def _address(host: str, port: int) -> tuple[str, int]:
    """Resolve a name. Raises OSError. A search that is given up on goes on, and nobody is told how it ends."""
    searching = asyncio.ensure_future(asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM))
    searching.add_done_callback(_look_at)
    found = await asyncio.shield(searching)
    return str(found[0][4][0]), port


def _look_at(search: asyncio.Future[Any]) -> None:
    if not search.cancelled():
        search.exception()
