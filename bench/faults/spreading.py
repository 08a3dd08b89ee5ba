"""Clients of a cluster whose workers all serve: calls go to any of them, and what those see that live is told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import httpx

from hanas_client.asynchronous import AsyncClient
from hanas_client.calls import Value, Written

_REST_SECONDS = 0.02
_PATIENCE_SECONDS = 30.0


class Keys(Protocol):
    """What the clients of a campaign ask for."""

    async def put(self, key: str, value: bytes) -> Written:
        """Write a key."""

    async def get(self, key: str) -> Value:
        """Read a key."""

    async def delete(self, key: str) -> None:
        """Delete a key."""


class Spread:
    """Several clients, each of which stays at a worker of its own choice. A `Keys`."""

    def __init__(self, clients: Sequence[AsyncClient]) -> None:
        """Use one of ``clients`` for each call."""
        self._clients = clients

    async def put(self, key: str, value: bytes) -> Written:
        """Write a key."""
        return await random.choice(self._clients).put(key, value)

    async def get(self, key: str) -> Value:
        """Read a key."""
        return await random.choice(self._clients).get(key)

    async def delete(self, key: str) -> None:
        """Delete a key."""
        await random.choice(self._clients).delete(key)


class Seen(NamedTuple):
    """What a client of workers that lived has seen."""

    pause: float
    """The longest time that a request took, seconds."""
    errors: int


class Survivors:
    """A writer at each worker, which knows that one only and repeats nothing."""

    def __init__(self, urls: Mapping[str, str], http: httpx.AsyncClient) -> None:
        """``urls``: of the workers, by their names."""
        self._urls = urls
        self._http = http
        self._calls: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in urls}
        """Begin and end of each request, and whether it was done."""
        self._more = asyncio.Event()

    @contextlib.asynccontextmanager
    async def writing(self) -> AsyncIterator[Survivors]:
        """Write until the end."""
        tasks = [asyncio.create_task(self._write(name)) for name in self._urls]
        try:
            yield self
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, name: str) -> None:
        url, number = f"{self._urls[name]}/v1/kv/survivor/{name}", 0
        while True:
            number, began = number + 1, time.monotonic()
            try:
                answer = await self._http.put(url, content=str(number).encode(), timeout=_PATIENCE_SECONDS)
                done = answer.is_success
            except httpx.HTTPError:
                done = False
            self._calls[name].append((began, time.monotonic(), done))
            self._more.set()
            await asyncio.sleep(_REST_SECONDS)

    async def seen(self, names: Sequence[str], since: float) -> Seen:
        """Return what the clients of ``names`` saw from ``since`` (monotonic seconds) on, and forget it."""
        now = time.monotonic()
        for name in names:
            while not self._calls[name] or self._calls[name][-1][1] < now:
                self._more.clear()
                await self._more.wait()  # the request that is under way belongs to it
        calls = [call for name in names for call in self._calls[name] if call[1] >= since]
        for each in self._calls.values():
            each.clear()
        pause = max((end - begin for begin, end, _ in calls), default=0.0)
        return Seen(round(pause, 3), sum(not done for _, _, done in calls))
