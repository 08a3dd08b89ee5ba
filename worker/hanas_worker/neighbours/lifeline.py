"""An idle connection to the main, which the kernel closes at once when the main's process dies.

A backup then probes at once instead of waiting for silence. It is a hint only: a machine that loses its power closes
nothing, and a proxy or a firewall may close a connection to a main that works.
"""

import asyncio
import contextlib
from collections.abc import Callable

from hanas_serving.runtime import Outbound
from hanas_worker.neighbours.keepalives import LIFELINE_PATH, lifeline_headers

IDLE_SECONDS = 24 * 3600
"""The main leaves a connection open for so long after its answer."""


class Lifeline:
    """Holds one connection at a time."""

    def __init__(self, outbound: Outbound, member: str, patience: float) -> None:
        """Connect as ``member``. ``patience``: seconds to connect in, and between two connections."""
        self._outbound = outbound
        self._member = member
        self._patience = patience
        self._task: asyncio.Task[None] | None = None

    def hold(self, url: str, key: Callable[[], str | None], on_closed: Callable[[], None]) -> asyncio.Task[None]:
        """Stay connected to ``url``, to nobody else; ``on_closed`` is called whenever that ends. Returns the task.

        ``key``: returns the link key of the process there, None while it is not known.
        """
        self.let_go()
        self._task = asyncio.create_task(self._hold(url, key, on_closed))
        return self._task

    def let_go(self) -> None:
        """Close the connection, if there is one."""
        if self._task is not None:
            self._task.cancel()

    async def _hold(self, url: str, key: Callable[[], str | None], on_closed: Callable[[], None]) -> None:
        while True:
            if (present := key()) is not None:
                headers = lifeline_headers(self._member, present)
                with contextlib.suppress(OSError):
                    await self._outbound.until_closed(url + LIFELINE_PATH, self._patience, headers)
                    on_closed()
            await asyncio.sleep(self._patience)
