"""The body of a request that may be large, within a budget of memory."""

import asyncio
from collections.abc import Callable
from typing import Self

from starlette.types import Receive

from hanas_serving.answers import Disconnected
from hanas_serving.budget import SMALL_BYTES, Budget, Hold
from hanas_serving.problems import Problem


class Body:
    """One body; what it takes is held until the end of its context."""

    def __init__(self, memory: Budget) -> None:
        """Hold nothing yet."""
        self._memory = memory
        self._hold = Hold(memory, self._lose, lambda: self._size)
        self._size = 0
        """Bytes that have come."""
        self._limit = asyncio.timeout(None)

    async def read(
        self, receive: Receive, announced: int | None, most: int, too_large: Callable[[int], Exception]
    ) -> bytes:
        """Return the whole body. ``announced``: its length, if it was.

        Raises Disconnected; ``too_large`` of its size so far beyond ``most`` bytes; NoMemory; Problem 408 if it came
        so slowly that others got its memory.
        """
        content, more = bytearray(), True
        try:
            async with self._limit:
                if announced is not None and announced > SMALL_BYTES:
                    await self._memory.wait(self._hold, announced)
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Disconnected
                    content += message.get("body", b"")
                    more = message.get("more_body", False)
                    self._size = len(content)
                    if self._size > most:
                        raise too_large(self._size)
                    if self._size > self._hold.size:
                        self._hold.resize(self._size)
                        if self._size > SMALL_BYTES:  # in chunks, without an end in sight
                            await self._memory.wait(self._hold, most)
        except TimeoutError:
            detail = "the body came too slowly, and others need its memory (HANAS_MEMORY); nothing was done: try again"
            raise Problem(408, detail) from None
        self._hold.lose = None
        self._hold.resize(self._size)
        return bytes(content)

    def __enter__(self) -> Self:
        """Hold nothing yet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go: the body is used no more."""
        self._hold.release()

    def _lose(self) -> None:
        self._limit.reschedule(asyncio.get_running_loop().time())
