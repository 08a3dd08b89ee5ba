"""A watch of the asyncio client, which goes on over broken streams and takeovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Self

import httpx

from hanas_client import transport
from hanas_client.calls import Call, Reply
from hanas_client.errors import BadAnswer
from hanas_client.watching import SILENCE_SECONDS, Changes, Cursor

BACKOFF_START_SECONDS = 0.02
BACKOFF_CAP_SECONDS = 0.25


class Watch:
    """The changes of keys, revision by revision: each one once, in order, over takeovers too.

    Iterate over it; as a context manager it is open, and misses nothing from then on, when the block begins. A call
    that is cancelled loses nothing. It raises Compacted if the next changes are forgotten, and Unavailable if no worker
    could be asked within the client's deadline; a new watch may begin at `revision` + 1.
    """

    def __init__(
        self, cursor: Cursor, connect: Callable[[Call], Awaitable[httpx.Response]], *, progress: bool = False
    ) -> None:
        """Go on from the cursor, with streams that `connect` returns."""
        self._cursor, self._connect, self._progress = cursor, connect, progress
        self._response: httpx.Response | None = None
        self._chunks: AsyncIterator[bytes]
        self._ready: Iterator[Changes] = iter(())
        self._pause = 0.0

    @property
    def revision(self) -> int | None:
        """The revision up to which everything was returned; None before the watch is open."""
        return self._cursor.revision

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Changes:
        while True:
            for changes in self._ready:
                self._pause = 0.0
                if changes.changes or self._progress:
                    return changes
            self._ready = iter(())
            await self._open()
            if (chunk := await self._chunk()) is not None:
                self._ready = self._cursor.feed(chunk)

    async def close(self) -> None:
        """End the stream."""
        response, self._response = self._response, None
        if response is not None:
            await response.aclose()

    async def _open(self) -> None:
        if self._response is not None:
            return
        if self._pause:
            await asyncio.sleep(self._pause)
        self._pause = min(max(2 * self._pause, BACKOFF_START_SECONDS), BACKOFF_CAP_SECONDS)
        self._response = await self._connect(self._cursor.call())
        self._chunks = self._response.aiter_raw()
        try:
            self._cursor.begin(Reply(200, dict(self._response.headers)))
        except BadAnswer:
            await self.close()
            raise

    async def _chunk(self) -> bytes | None:
        """Return the next piece of the stream; None if it has ended."""
        chunk: bytes | None = None
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                chunk = await anext(self._chunks, None)
        except (TimeoutError, *transport.FAILURES):
            pass
        finally:
            if chunk is None:  # ended, broken, silent, or this call is cancelled: the next one begins a new stream
                await self.close()
        return chunk
