"""The interface of a measured system: three nodes, one of them the leader."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

TRY_SECONDS = 0.25
"""The time-out of one try of a write, the same for every system."""


class System(Protocol):
    """One cluster. After `start`, `kill_leader`, `write` and `restore` are called again and again."""

    name: str
    settings: str
    """Version, and the settings that differ from the defaults."""

    async def start(self, directory: Path) -> None:
        """Start three nodes and wait until they accept writes."""
        ...

    async def kill_leader(self) -> None:
        """SIGKILL the leader's process."""
        ...

    async def write(self, key: str) -> bool:
        """Try one durable write at the presumed leader; return whether it was acknowledged."""
        ...

    async def restore(self) -> None:
        """Restart the killed node and wait until all three are in sync."""
        ...

    async def stop(self) -> None:
        """End every process."""
        ...


class Node:
    """One process of a cluster."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start nothing yet."""
        self._command = command
        self._log = log
        self._environment = {**os.environ, **(environment or {})}
        self.process: asyncio.subprocess.Process | None = None

    @property
    def runs(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.returncode is None

    async def start(self) -> None:
        """Start the process; its output is appended to its log."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )

    async def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        if self.process is not None and self.runs:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()
