"""Clients that write all the time and remember what was acknowledged: what a drill must not lose."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from hanas_client.asynchronous import AsyncClient
from hanas_client.errors import HanasError
from hanas_lab.acknowledgements import Acknowledgements, epoch_of


@dataclass(slots=True)
class Load(Acknowledgements):
    """`writers` tasks that each write one new key after the other. Use it as an asynchronous context manager.

    What is acknowledged goes into `acknowledged` (key to value and version); a write that ended otherwise is only
    noted in `failed`, since nobody may rely on it. Each writer rests for `rest` seconds between two writes.
    """

    client: AsyncClient
    prefix: str = "load"
    writers: int = 2
    rest: float = 0.0
    acknowledged: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    slowest: float = 0.0
    """The longest that one write took, with all its retries, seconds."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(self.writers)]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def missing(self) -> list[str]:
        """Return the acknowledged keys that are gone or hold another version than the acknowledged one."""
        acknowledged = dict(self.acknowledged)
        present = {entry.key: entry.version async for entry in self.client.list(f"{self.prefix}/")}
        return [key for key, (_, version) in acknowledged.items() if present.get(key) != version]

    async def changed(self) -> list[str]:
        """Read every acknowledged key; return those whose value is not the one that was written."""
        return [
            key for key, (value, _) in list(self.acknowledged.items()) if (await self.client.get(key)).value != value
        ]

    def epochs(self) -> list[int]:
        """The epochs in which something was acknowledged, in order."""
        return sorted({epoch_of(version) for _, version in self.acknowledged.values()})

    async def _write(self, writer: int) -> None:
        number = 0
        while True:
            number += 1
            key, value = f"{self.prefix}/{writer}/{number:06d}", f"value {number} of writer {writer}".encode()
            begun = time.monotonic()
            try:
                written = await self.client.put(key, value)
            except HanasError as error:
                self.failed.append(f"{key}: {error}")
                continue
            now = time.monotonic()
            self.slowest = max(self.slowest, now - begun)
            self.acknowledged[key] = (value, written.version)
            await self._acknowledge(written.version, now)
            await asyncio.sleep(self.rest)
