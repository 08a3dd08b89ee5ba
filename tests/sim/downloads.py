"""Answers that come in parts, for as long as a connection lasts: to a client that may be slow, gone, or cut off."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, MutableMapping
from typing import Any

from tests.sim.world import ProcessLoop, World

_WINDOW_BYTES = 900
"""So much is under way before a server waits for its client."""
_LIVES_SECONDS = 6.0
"""Mean time until the network drops a connection, seconds."""
_GIVES_UP_SECONDS = 2.0
"""Mean time until a server notices that its client is out of reach, seconds."""


class Download:
    """One such answer, and the connection that it comes over."""

    def __init__(
        self,
        world: World,
        client: ProcessLoop,
        server: ProcessLoop,
        passes: Callable[[str, str], bool],
        latency: Callable[[], float],
    ) -> None:
        self.server = server
        self.client = client
        self.status = 0
        self.headers: dict[str, str] = {}
        self.ended = False
        """There will be no more parts."""
        self._world, self._passes, self._latency = world, passes, latency
        self._parts: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._under_way = 0
        self._arrives = 0.0
        self._stuck = False
        """The network lost something, and nothing comes any more."""
        self._gone = server.create_future()
        self._room = server.create_future()
        world.after(world.random.expovariate(1 / _LIVES_SECONDS), self._drop)

    # ------------------------------------------------------------------ the client's side

    async def begun(self) -> None:
        """Wait for the head of the answer, or the end."""
        while not self.status and not self.ended:
            self._news.clear()
            await self._news.wait()

    async def next(self, timeout: float) -> bytes | None:
        """Return the next part, None at the end. Raises TimeoutError."""
        async with asyncio.timeout(timeout):
            while not self._parts and not self.ended:
                self._news.clear()
                await self._news.wait()
        if not self._parts:
            return None
        part = self._parts.popleft()
        self._under_way -= len(part)
        if self._under_way <= _WINDOW_BYTES:
            self._tell(lambda: None if self._room.done() else self._room.set_result(None), 0.0)
        return part

    async def whole(self, timeout: float) -> bytes:
        """Return all of it. Raises TimeoutError."""
        parts = []
        while (part := await self.next(timeout)) is not None:
            parts.append(part)
        return b"".join(parts)

    def close(self) -> None:
        """Hang up; the server learns of it if it can be reached, else later."""
        self.ended = True
        passes = self._passes(self.client.name, self.server.name)
        self._tell(self._leave, 0.0 if passes else self._world.random.expovariate(1 / _GIVES_UP_SECONDS))

    def _tell(self, what: Callable[[], None], later: float) -> None:
        def arrive() -> None:
            if self.server.alive:
                self.server.call_soon(what)

        self._world.after(self._latency() + later, arrive)

    # ------------------------------------------------------------------ the server's side

    async def receive(self) -> dict[str, Any]:
        """Return the end of the request, as ASGI does."""
        await asyncio.shield(self._gone)
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Send what ASGI sends, when the client has taken most of what is under way."""
        if message["type"] == "http.response.start":
            headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._post(lambda: self._begin(message["status"], headers))
            return
        while self._under_way > _WINDOW_BYTES and not self._gone.done():
            self._room = self.server.create_future()
            await asyncio.wait([self._room, self._gone], return_when=asyncio.FIRST_COMPLETED)
        body = message.get("body", b"")
        if body:
            self._under_way += len(body)
            self._post(lambda: self._parts.append(body))
        if not message.get("more_body", False):
            self._post(self._end)

    def _post(self, what: Callable[[], None]) -> None:
        """Have something arrive at the client behind everything before it."""
        if self._stuck or not self._passes(self.server.name, self.client.name):
            self._stuck = True
            return
        self._arrives = max(self._arrives, self._world.now + self._latency())
        self._world.at(self._arrives, lambda: self._arrive(what))

    def _arrive(self, what: Callable[[], None]) -> None:
        def take() -> None:
            if not self.ended:
                what()
                self._news.set()

        if self.client.alive:
            self.client.call_soon(take)

    # ------------------------------------------------------------------ what becomes of the connection

    def hang_up(self) -> None:
        """Close the connection behind what is under way, as the kernel of a dead process does."""
        self._post(self._end)

    def _drop(self) -> None:
        self._post(self._end)
        self._tell(self._leave, 0.0)

    def _leave(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)

    def _begin(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers = status, headers

    def _end(self) -> None:
        self.ended = True
