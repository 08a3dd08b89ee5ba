"""Clients that write all the time and record the acknowledged writes, which a drill must not lose."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Self

from hanas_client.asynchronous import AsyncClient
from hanas_client.errors import HanasError
from hanas_lab.acknowledgements import Acknowledgements
from hanas_lab.linearizable import version_of


@dataclass(slots=True)
class Writers(Acknowledgements):
    """`writers` tasks that each write one new key after the other. Use it as an asynchronous context manager.

    `acknowledged` holds the acknowledged writes (key to value and version), `failed` the messages of all others. Each
    writer waits `rest` seconds between two writes.
    """

    client: AsyncClient
    prefix: str = "load"
    writers: int = 2
    rest: float = 0.0
    acknowledged: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """The longest time of one write with all its attempts, seconds."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(self.writers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def missing(self) -> list[str]:
        """Return the acknowledged keys that are missing or have another version."""
        acknowledged = dict(self.acknowledged)
        present = {entry.key: entry.version async for entry in self.client.list(f"{self.prefix}/")}
        return [key for key, (_, version) in acknowledged.items() if present.get(key) != version]

    async def changed(self) -> list[str]:
        """Read every acknowledged key; return those with another value."""
        return [
            key for key, (value, _) in list(self.acknowledged.items()) if (await self.client.get(key)).value != value
        ]

    def epochs(self) -> list[int]:
        """Return the epochs of the acknowledged writes, in order."""
        return sorted({version_of(version)[0] for _, version in self.acknowledged.values()})

    async def _write(self, writer: int) -> None:
        number = 0
        while True:
            number += 1
            key, value = f"{self.prefix}/{writer}/{number:06d}", f"value {number} of writer {writer}".encode()
            started = time.monotonic()
            try:
                written = await self.client.put(key, value)
            except HanasError as error:
                self.failed.append(f"{key}: {error}")
                continue
            now = time.monotonic()
            self.slowest = max(self.slowest, now - started)
            self.acknowledged[key] = (value, written.version)
            await self._acknowledge(written.version, now)
            await asyncio.sleep(self.rest)
